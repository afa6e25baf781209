// The source of the change feed where wal_level cannot be changed: statement triggers write an append-only log in the writer's own
// transaction, and the elected process reads it by comparing snapshots. See docs/change-feed.md.

import { freshnessErrors } from "../../errors.ts";
import type { TableName } from "../../feed.ts";
import type { Session } from "../session.ts";
import type { Batch, Continuity, Source, SourceSetup, SourceStatus } from "../source.ts";
import { beginAnew, reasonToBeginAnew } from "./continuity.ts";
import { Pause, relay } from "./relay.ts";
import { changeKinds, ddlStatements, installStatements } from "./schema.ts";
import { statusOfTriggers } from "./status.ts";
import { watchAgain, watchTable } from "./watching.ts";

const unusable = (problem: string) => freshnessErrors.create("MILLRACE_FEED_SOURCE_UNUSABLE", { source: "triggers", problem });

/** Whether the log table and its functions are there. */
export async function hasLogTable(session: Session): Promise<boolean> {
  const [row] = await session.query<{ present: boolean }>(
    `select to_regclass('millrace.changes') is not null and to_regclass('millrace.watched') is not null
       and to_regprocedure('millrace.watch(oid, text[])') is not null as present`,
  );
  return row!.present;
}

class TriggersSource implements Source {
  readonly kind = "triggers";
  readonly #setup: SourceSetup;
  readonly #pause: Pause;

  constructor(setup: SourceSetup) {
    this.#setup = setup;
    this.#pause = new Pause(setup.clock);
  }

  async install(tx: Session): Promise<void> {
    // Even where the index exists, CREATE INDEX would wait for every transaction that has written, and all writers would queue behind it.
    const [row] = await tx.query<{ indexed: boolean }>("select to_regclass('millrace.changes_xid') is not null as indexed");
    for (const statement of installStatements) {
      if (!row!.indexed || !/^\s*create index\b/i.test(statement)) await tx.query(statement);
    }
    await tx.query("savepoint millrace_ddl");
    try {
      for (const statement of ddlStatements) await tx.query(statement);
      await tx.query("release savepoint millrace_ddl");
    } catch (error) {
      // Only superusers, and what hosted PostgreSQL has in their place, may create event triggers; without them the catalogue is polled.
      if ((error as { readonly code?: unknown }).code !== "42501") throw error;
      await tx.query("rollback to savepoint millrace_ddl");
    }
  }

  status(session: Session): Promise<SourceStatus> {
    return statusOfTriggers(session);
  }

  async prepare(session: Session): Promise<Continuity> {
    const [server] = await session.query<{ standby: boolean }>("select pg_is_in_recovery() as standby");
    if (server!.standby) throw unusable("this server is a standby; let the feed's URL name the primary.");
    if (!(await hasLogTable(session))) throw unusable("its log table is missing; run `millrace freshness setup`.");
    // First the triggers: what escaped while they were missing is covered by the row that this writes.
    await watchAgain(session);
    const reason = await reasonToBeginAnew(session);
    if (reason === undefined) return { kept: true, reason: "" };
    await beginAnew(session);
    return { kept: false, reason };
  }

  async run(publish: (batch: Batch) => Promise<void>, signal: AbortSignal): Promise<void> {
    const session = await this.#setup.connect("relay");
    try {
      // The log's rows are few and its statistics old: the index is always right, and compiling (jit) never pays.
      await session.query("select set_config('enable_seqscan', 'off', false), set_config('jit', 'off', false)");
      const upkeep = await this.#setup.connect("relay upkeep");
      try {
        await upkeep.query(
          `select set_config('enable_seqscan', 'off', false), set_config('jit', 'off', false),
                  set_config('synchronous_commit', 'off', false)`,
        );
        await relay({ setup: this.#setup, session, upkeep, pause: this.#pause, publish }, signal);
      } finally {
        await upkeep.close();
      }
    } finally {
      await session.close();
    }
  }

  followTable(tx: Session, table: TableName, columns: readonly string[]): Promise<string | undefined> {
    return watchTable(tx, table, columns);
  }

  async invalidate(session: Session, dependencies: Uint32Array): Promise<void> {
    await session.query("insert into millrace.changes (kind, relation, touched) values ($1, 0, $2::json)", [
      changeKinds.invalidate,
      JSON.stringify({ hashes: Array.from(dependencies, String) }),
    ]);
  }

  nudge(): void {
    this.#pause.nudge();
  }

  async teardown(session: Session): Promise<void> {
    // The event triggers first, so that dropping the rest is not logged. Triggers fall with their functions, each table's lock held
    // only for its own statement.
    await session.query("drop event trigger if exists millrace_log_ddl");
    await session.query("drop event trigger if exists millrace_log_drop");
    await session.query("drop function if exists millrace.log_ddl()");
    const functions = await session.query<{ place: string }>(
      `select p.oid::regprocedure::text as place from pg_proc p
       where p.pronamespace = to_regnamespace('millrace') and p.proname ~ '^log_[0-9]+$' order by p.oid`,
    );
    for (const { place } of functions) await session.query(`drop function ${place} cascade`);
    await session.query("drop function if exists millrace.watch(oid, text[])");
    await session.query("drop table if exists millrace.changes, millrace.relay, millrace.watched");
  }
}

/** Creates the source. It does nothing until its methods are called. */
export function createTriggersSource(setup: SourceSetup): Source {
  return new TriggersSource(setup);
}
