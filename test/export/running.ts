// What the server and the pool say about statements that should be gone; conditions are waited for, with a bound.

import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { type Database, sql } from "../../src/database/index.ts";

const boundMs = 5_000;

/** Waits until `condition` holds; fails when it does not within five seconds. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const startedMs = performance.now();
  while (!(await condition())) {
    assert.ok(performance.now() - startedMs < boundMs, `not within ${boundMs} ms: ${what}`);
    await pause(5);
  }
}

export interface Session {
  readonly pid: number;
  readonly state: string;
  readonly wait: string | null;
}

/** Sessions whose last statement contains `mark`, other than the one that asks. */
export const sessionsRunning = (db: Database, mark: string): Promise<Session[]> =>
  db.many<Session>(
    sql`select pid, state, wait_event as wait from pg_stat_activity where query like ${`%${mark}%`} and state <> 'idle' and pid <> pg_backend_pid()`,
  );

/** Waits until nothing marked runs on the server and the pool has every connection back. */
export async function untilFree(db: Database, mark: string): Promise<void> {
  await until(`${mark} is gone from pg_stat_activity`, async () => (await sessionsRunning(db, mark)).length === 0);
  await until("no session is left in a transaction", async () => {
    const { count } = await db.one<{ count: number }>(
      sql`select count(*)::int as count from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'`,
    );
    return count === 0;
  });
}
