// Groups and the database: what a failing child ends, and what its siblings share.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { Deadline, group, runInContext, timeout } from "../../src/concurrency/index.ts";
import { cancelChannel, createDatabase, defineLoader, sql } from "../../src/database/index.ts";
import { testDatabase } from "../harness/postgres.ts";

suite("statements in a group", () => {
  test("are cancelled on the server when a sibling fails", async () => {
    await using server = await testDatabase();
    await using database = await createDatabase({ url: server.url });
    await database.one(sql`select 1 as warm`);
    const cancelled = cancelChannel.next(undefined, AbortSignal.timeout(30_000));
    const mistake = new Error("the other failed");
    const running = Promise.withResolvers<void>();
    const result = group((tasks) => {
      void tasks.start(() => database.many(sql`select pg_sleep(60)`));
      void tasks.start(async () => {
        await running.promise;
        throw mistake;
      });
    });
    // The statement runs on the server before the sibling fails.
    const asleep = sql<{
      n: number;
    }>`select count(*)::int as n from pg_stat_activity where query like 'select pg_sleep(60)%' and state = 'active'`;
    const endMs = performance.now() + 30_000;
    while ((await database.one(asleep)).n === 0) assert.ok(performance.now() < endMs);
    running.resolve();
    await assert.rejects(result, (error) => error === mistake);
    await cancelled;
  });

  test("end with a timeout around them", async () => {
    await using server = await testDatabase();
    await using database = await createDatabase({ url: server.url });
    await database.one(sql`select 1 as warm`);
    await assert.rejects(
      timeout("200ms", () => database.many(sql`select pg_sleep(60)`)),
      { code: "MILLRACE_DEADLINE_EXCEEDED" },
    );
  });

  test("share the loaders of their request: one batch for all children, remembered after the group", async () => {
    await using server = await testDatabase();
    await using database = await createDatabase({ url: server.url });
    const batches: number[][] = [];
    const squares = defineLoader("squares", async (keys: number[], db) => {
      batches.push(keys);
      const rows = await db.many(sql<{ n: number; square: number }>`select n, n * n as square from unnest(${keys}::int[]) as n`);
      return new Map(rows.map(({ n, square }) => [n, square]));
    });
    using deadline = new Deadline();
    await runInContext({ requestId: "req-7", deadline }, async () => {
      const found = await group((tasks) => Promise.all([2, 3, 4].map((n) => tasks.start(() => squares.load(database, n)))));
      assert.deepEqual(found, [4, 9, 16]);
      assert.equal(await squares.load(database, 3), 9);
    });
    assert.deepEqual(batches, [[2, 3, 4]]);
  });
});
