// Keeps what is known of the database's catalogue no older than what the feed has said of it. While it is being read again, nothing new is
// kept: a view may have become another.

import { createHash } from "node:crypto";
import type { Clock } from "../../core/index.ts";
import { type Pool, unobserved } from "../../database/index.ts";
import { type StatementPlan, type StatementPlans, createStatementPlans, loadCatalogue } from "../dependencies/index.ts";
import { parseSnapshot, sees } from "./snapshot.ts";

/** After a reading that failed, or that was too early to see the change that it was for. */
const againMs = 50;

export interface CatalogueKeeperOptions {
  readonly pool: Pool;
  /** Where the database is, without password: answers of another one are never found. */
  readonly url: string;
  readonly clock: Clock;
}

export class CatalogueKeeper {
  readonly #options: CatalogueKeeperOptions;
  #plans: StatementPlans | undefined;
  #namespace = "";
  /** DDL up to this transaction must be visible to the reading that counts. */
  #mustSee = 0;
  /** Grows with every change, so that a reading that began before it does not count. */
  #changes = 0;
  #reading: Promise<void> | undefined;
  #closed = false;

  constructor(options: CatalogueKeeperOptions) {
    this.#options = options;
  }

  /** Part of every key. Empty until the catalogue has been read once. */
  get namespace(): string {
    return this.#namespace;
  }

  /** What a statement reads and writes; undefined while the catalogue is being read. */
  planOf(text: string): StatementPlan | undefined {
    return this.#plans?.planOf(text);
  }

  /** DDL was committed by the transaction `xid`, or (undefined) may have been. */
  changed(xid: number | undefined): void {
    this.#plans = undefined;
    this.#changes++;
    if (xid !== undefined && xid > this.#mustSee) this.#mustSee = xid;
    this.#reading ??= this.#readUntilCurrent().finally(() => {
      this.#reading = undefined;
    });
  }

  /** Resolves when no reading is under way. */
  async settled(): Promise<void> {
    await this.#reading;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#reading;
  }

  async #readUntilCurrent(): Promise<void> {
    while (!this.#closed && this.#plans === undefined) {
      const changes = this.#changes;
      const isCurrent = await this.#read().catch(() => false); // the pool's own errors say why
      if (isCurrent && changes === this.#changes) return;
      this.#plans = undefined;
      if (!isCurrent) await new Promise<void>((resolve) => this.#options.clock.timer(againMs, resolve));
    }
  }

  /** Reads once, and says whether everything that must be seen was. */
  async #read(): Promise<boolean> {
    const { pool, url } = this.#options;
    const source = { query: (text: string, values: unknown[]) => pool.run(text, values, { pipeline: false }) };
    const catalogue = await unobserved(() => loadCatalogue(source));
    const { rows } = await unobserved(() =>
      pool.run("select current_user::text, current_setting('search_path'), current_setting('in_hot_standby') = 'on'", [], {
        rowMode: "array",
      }),
    );
    const [user, path, standby] = rows[0] as unknown as [string, string, boolean];
    const snapshot = parseSnapshot(catalogue.snapshot, standby);
    if (this.#mustSee > 0 && !sees(snapshot, this.#mustSee)) return false;
    const plans = await createStatementPlans(catalogue);
    this.#namespace = createHash("sha256")
      .update(JSON.stringify([url, user, path]))
      .digest("base64url")
      .slice(0, 16);
    this.#plans = plans;
    return true;
  }
}
