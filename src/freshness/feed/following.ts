// Following tables on first use: what this process wants to be followed, and the transactions that see to it. Any process does this;
// the registry's rows reach everybody through the log.

import type { Clock, Timer } from "../../core/index.ts";
import { advisoryLockClass, advisoryLocks } from "../../database/index.ts";
import type { TableName } from "../feed.ts";
import { readFeedRow } from "./kit-tables.ts";
import { quoteTable } from "./quote.ts";
import type { Session } from "./session.ts";
import type { Source, SourceKind } from "./source.ts";

/** Long enough for ordinary transactions to end, short enough that those who queue behind the waiting lock do not notice. */
const lockTimeoutMs = 300;

/** Pauses between attempts at a table that is in use: doubled each time, from the first to the last. */
const firstRetryMs = 250;
const lastRetryMs = 30_000;

/** Failed attempts after which people are told. */
const quietAttempts = 5;

/** A refusal is looked at again when it is this old: its reason may have been removed. */
const refusalMs = 60_000;

/** SQLSTATEs after which the same may succeed: lock_not_available, deadlock_detected, serialization_failure, object_in_use. */
const passing = new Set(["55P03", "40P01", "40001", "55006"]);

interface Wish {
  readonly table: TableName;
  /** Asked for. */
  readonly columns: Set<string>;
  /** Already in the registry; undefined: not even the table. */
  done: Set<string> | undefined;
  attempts: number;
  dueMs: number;
  refusal: string | undefined;
}

export interface FollowingParts {
  readonly clock: Clock;
  connect(purpose: string): Promise<Session>;
  source(kind: SourceKind): Source;
}

export class Following {
  readonly #parts: FollowingParts;
  readonly #wishes = new Map<number, Wish>();
  #working: Promise<void> | undefined;
  #timer: Timer | undefined;
  #ready = false;
  #closed = false;

  constructor(parts: FollowingParts) {
    this.#parts = parts;
  }

  /** Asks for `table` and `columns`. Costs a look-up when they were asked for before. */
  want(table: TableName, columns: readonly string[]): void {
    let wish = this.#wishes.get(table.oid);
    if (wish === undefined || wish.table.name !== table.name || wish.table.schema !== table.schema) {
      wish = { table, columns: new Set(), done: undefined, attempts: 0, dueMs: 0, refusal: undefined };
      this.#wishes.set(table.oid, wish);
    }
    for (const column of columns) {
      if (wish.columns.has(column)) continue;
      wish.columns.add(column);
      wish.dueMs = 0;
    }
    if (isOpen(wish)) this.#schedule();
  }

  refusalOf(table: TableName): string | undefined {
    return this.#wishes.get(table.oid)?.refusal;
  }

  /** The registry may be another one, or tables may have changed: everything is looked at again. */
  reset(): void {
    this.#ready = true;
    for (const wish of this.#wishes.values()) {
      wish.done = undefined;
      wish.dueMs = 0;
      wish.attempts = 0;
    }
    this.#schedule();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.clear();
    await this.#working;
  }

  #schedule(): void {
    if (this.#closed || !this.#ready || this.#working !== undefined) return;
    this.#timer?.clear();
    const dueMs = Math.min(
      ...this.#wishes
        .values()
        .filter(isOpen)
        .map((wish) => wish.dueMs),
    );
    if (dueMs === Infinity) return;
    const delayMs = Math.max(0, dueMs - this.#parts.clock.monotonic());
    this.#timer = this.#parts.clock.timer(delayMs, () => {
      this.#working = this.#work().finally(() => {
        this.#working = undefined;
        this.#schedule();
      });
    });
  }

  async #work(): Promise<void> {
    const { clock } = this.#parts;
    const due = [...this.#wishes.values()].filter((wish) => isOpen(wish) && wish.dueMs <= clock.monotonic());
    let session: Session | undefined;
    try {
      session = await this.#parts.connect("following");
      for (const wish of due) if (!this.#closed) await this.#fulfil(session, wish);
    } catch {
      for (const wish of due) this.#postpone(wish, undefined); // no server: the feed itself reports it
    } finally {
      await session?.close();
    }
  }

  async #fulfil(session: Session, wish: Wish): Promise<void> {
    const columns = new Set(wish.columns);
    try {
      const refusal = await session.transaction((tx) => this.#follow(tx, wish.table, [...columns]));
      wish.refusal = refusal;
      if (refusal === undefined) wish.done = columns;
      else wish.dueMs = this.#parts.clock.monotonic() + refusalMs;
      wish.attempts = 0;
    } catch (error) {
      if (session.lost.aborted) throw error;
      if (error instanceof Refused) {
        wish.refusal = error.message;
        wish.dueMs = this.#parts.clock.monotonic() + refusalMs;
        return;
      }
      const { code, message } = error as { code?: string; message: string };
      const shown = `${wish.table.schema}.${wish.table.name}`;
      this.#postpone(
        wish,
        passing.has(code ?? "")
          ? `${shown} is in use all the time, so the short lock that begins to follow it was not granted yet. It is tried again; look for long transactions.`
          : `${shown} could not be followed: ${message}. It is tried again.`,
      );
    }
  }

  #postpone(wish: Wish, problem: string | undefined): void {
    const pauseMs = Math.min(lastRetryMs, firstRetryMs * 2 ** wish.attempts++);
    wish.dueMs = this.#parts.clock.monotonic() + pauseMs;
    if (wish.attempts >= quietAttempts) wish.refusal = problem;
  }

  /** One transaction: see docs/change-feed.md, "Following a table". Throws Refused to roll back what had begun. */
  async #follow(tx: Session, table: TableName, columns: readonly string[]): Promise<string | undefined> {
    await tx.query("select set_config('lock_timeout', $1, true), set_config('millrace.quiet', 'on', true)", [
      String(lockTimeoutMs),
    ]);
    await tx.query("select pg_advisory_xact_lock($1::int, $2::int)", [advisoryLockClass, advisoryLocks.following]);
    const row = await readFeedRow(tx);
    if (row === undefined) return "The feed is not set up. Run `millrace freshness setup`.";
    // Of before it was renamed: nobody tells of these any more.
    await tx.query("delete from millrace.followed where table_oid = $1 and (schema_name, table_name) <> ($2, $3)", [
      table.oid,
      table.schema,
      table.name,
    ]);
    const known = await tx.query<{ name: string }>("select column_name as name from millrace.followed where table_oid = $1", [
      table.oid,
    ]);
    const names = new Set(known.map((each) => each.name));
    const refusal = await refusalByKind(tx, table);
    if (refusal !== undefined) return refusal;
    const missing = ["", ...columns].filter((column) => !names.has(column));
    if (missing.length === 0) return undefined;
    await tx.query(`lock table ${quoteTable(table)} in share row exclusive mode`);
    const refused = await this.#parts.source(row.source).followTable(
      tx,
      table,
      missing.filter((column) => column !== ""),
    );
    if (refused !== undefined) throw new Refused(refused);
    await tx.query(
      `insert into millrace.followed (table_oid, schema_name, table_name, column_name)
       select $1::oid, $2, $3, name from unnest($4::text[]) as name
       on conflict (table_oid, column_name) do nothing`,
      [table.oid, table.schema, table.name, missing],
    );
    return undefined;
  }
}

/** What the source said when it refused a table. */
class Refused extends Error {}

const isOpen = (wish: Wish): boolean => wish.done === undefined || wish.columns.size > wish.done.size;

/** Tables whose writes no feed can see, or that are not what they are called any more. */
async function refusalByKind(tx: Session, table: TableName): Promise<string | undefined> {
  const [row] = await tx.query<{ kind: string; persistence: string; foreign: boolean }>(
    `select c.relkind as kind, c.relpersistence as persistence,
       exists (select from pg_partition_tree(c.oid::regclass) t join pg_catalog.pg_class p on p.oid = t.relid
                where p.relkind = 'f' or p.relpersistence <> 'p') as "foreign"
       from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where c.oid = $1 and c.relname = $2 and n.nspname = $3`,
    [table.oid, table.name, table.schema],
  );
  const shown = `${table.schema}.${table.name}`;
  if (row === undefined) return `${shown} does not exist any more under this name.`;
  if (row.persistence === "u") return `${shown} is unlogged, so its changes are in no log. Run ALTER TABLE … SET LOGGED.`;
  if (row.persistence === "t") return `${shown} is a temporary table, which only its own session sees.`;
  if (row.kind !== "r" && row.kind !== "p") return `${shown} is no table (but ${row.kind}), so its changes are in no log.`;
  if (row.foreign) return `${shown} has partitions that are foreign or unlogged, whose changes are in no log.`;
  return undefined;
}
