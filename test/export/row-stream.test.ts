// Rows one by one through a server-side cursor.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type pg from "pg";
import { Deadline, runInContext } from "../../src/concurrency/index.ts";
import { type Database, createDatabase, sql } from "../../src/database/index.ts";
import { type TestDatabase, testDatabase } from "../harness/postgres.ts";
import { sessionsRunning, until, untilFree } from "./running.ts";

let created: TestDatabase;
let db: Database;
/** Looks at the server while `db` has its only connection in use. */
let observer: Database;

before(async () => {
  created = await testDatabase();
  observer = await createDatabase({ url: created.url });
  db = await createDatabase({ url: created.url, pool: { size: 1, overflow: 0, acquireTimeout: "5s" } });
});

after(async () => {
  await db.close();
  await observer.close();
  await created[Symbol.asyncDispose]();
});

const numbers = (count: number) => sql<{ i: number }>`/* numbers */ select generate_series(1, ${count}::int) as i`;

/** The pool's only connection can be had, and works. */
async function assertPoolFree(): Promise<void> {
  const lease = await db.pool.lease();
  try {
    assert.equal((await lease.client.query<{ one: number }>("select 1 as one")).rows[0]!.one, 1);
  } finally {
    lease.release();
  }
}

test("all rows come in order, whatever the batch size", async () => {
  for (const [count, batchSize] of [
    [0, 10],
    [1, 1],
    [10, 10],
    [11, 10],
    [25, 7],
    [3_000, 500],
  ] as const) {
    const seen: number[] = [];
    for await (const { i } of db.stream(numbers(count), { batchSize })) seen.push(i);
    assert.deepEqual(
      seen,
      Array.from({ length: count }, (_, i) => i + 1),
    );
  }
  await assertPoolFree();
});

// #region early-break
test("leaving the loop early closes the cursor and frees the connection", async () => {
  let sum = 0;
  for await (const { i } of db.stream(numbers(100_000_000), { batchSize: 100 })) {
    sum += i;
    if (sum > 1_000) break;
  }
  await untilFree(observer, "numbers");
  await assertPoolFree();
});
// #endregion

test("what the loop has not asked for stays on the server", async () => {
  let fetched = 0;
  const counted = sql<{ i: number; at: string }>`select i, nextval('fetched')::text as at from generate_series(1, 100000) as i`;
  await db.query(sql`create sequence fetched`);
  for await (const _ of db.stream(counted, { batchSize: 10 })) if (++fetched === 25) break;
  assert.deepEqual(await db.one(sql`select last_value::int as value from fetched`), { value: 30 });
});

test("an error of the loop's body is thrown, and the connection is free", async () => {
  const error = new Error("from the body");
  await assert.rejects(
    async () => {
      for await (const _ of db.stream(numbers(1_000), { batchSize: 10 })) throw error;
    },
    (thrown) => thrown === error,
  );
  await assertPoolFree();
});

test("an error of the statement is thrown, at its start and midway, and the connection is free", async () => {
  const read = async (statement: Parameters<typeof db.stream>[0]) => {
    let rows = 0;
    try {
      for await (const _ of db.stream(statement, { batchSize: 10 })) rows++;
    } catch (error) {
      return { rows, code: (error as pg.DatabaseError).code };
    }
    return { rows, code: undefined };
  };
  assert.deepEqual(await read(sql`select nonsense`), { rows: 0, code: "42703" });
  assert.deepEqual(await read(sql`select 1 / (35 - i) as a from generate_series(1, 100) as i`), { rows: 30, code: "22012" });
  await assertPoolFree();
});

test("an abort cancels a running fetch and is the loop's error", async () => {
  const controller = new AbortController();
  const reason = new Error("no longer wanted");
  const loop = (async () => {
    for await (const _ of db.stream(sql`/* sleeping */ select pg_sleep(60)`, { signal: controller.signal }));
  })();
  const rejected = assert.rejects(loop, (error) => error === reason);
  await until("it runs", async () => (await sessionsRunning(observer, "sleeping")).length === 1);
  controller.abort(reason);
  await rejected;
  await untilFree(observer, "sleeping");
  await assertPoolFree();
});

test("a deadline that passes while the body is busy frees the connection at once", async () => {
  using deadline = new Deadline({});
  const reason = new Error("too late");
  await assert.rejects(
    runInContext({ requestId: "r", deadline }, async () => {
      for await (const { i } of db.stream(numbers(1_000), { batchSize: 2 })) {
        if (i > 1) continue;
        deadline.abort(reason);
        const lease = await db.pool.lease(undefined);
        lease.release();
      }
    }),
    (error) => error === reason,
  );
  await assertPoolFree();
});

test("a connection lost between two fetches is the loop's error, and the pool opens another", async () => {
  await assert.rejects(async () => {
    for await (const { i } of db.stream(numbers(1_000), { batchSize: 10 })) {
      if (i !== 5) continue;
      const [session] = await sessionsRunning(observer, "numbers");
      await observer.query(sql`select pg_terminate_backend(${session!.pid})`);
    }
  }, /terminat|57P01|EPIPE|ECONNRESET/);
  await assertPoolFree();
});

test("rows can come as arrays", async () => {
  const rows: unknown[] = [];
  for await (const row of db.stream(sql`select 1 as a, 'x' as b`, { rowMode: "array" })) rows.push(row);
  assert.deepEqual(rows, [[1, "x"]]);
});
