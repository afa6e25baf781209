// The server of the tasks goes away: whoever enqueues is told, workers wait for it, and what was taken from them meanwhile does not count.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { createDatabase, sql } from "millrace/database";
import { MillraceError } from "millrace/core";
import { createTasks, task, taskWorkerChannel } from "millrace/tasks";
import { testServer } from "../harness/postgres.ts";
import { nextEnd, silent } from "./service.ts";

const pool = { connectTimeout: "2s", acquireTimeout: "2s" } as const;

suite("while the store is away", () => {
  test("enqueueing says so, leaves nothing half-done, and works again when it is back; workers go on by themselves", async () => {
    await using server = await testServer({ durable: false });
    await using database = await createDatabase({ url: server.url, pool });
    await database.query(sql`create table users (name text)`);
    const greet = task("greet", {}, () => {});
    await using tasks = await createTasks({ database, tasks: [greet], logger: silent });
    await tasks.start();
    const first = nextEnd("greet");
    await greet.enqueue(undefined, { in: database });
    await first;

    const lost = taskWorkerChannel.next(({ state }) => state === "store-lost", AbortSignal.timeout(30_000));
    await server.stop();
    await assert.rejects(greet.enqueue(undefined, { in: database }), { code: "MILLRACE_TASKS_STORE_UNAVAILABLE", retryable: true });
    await assert.rejects(
      database.transaction(async (tx) => {
        await tx.query(sql`insert into users values ('half')`);
        await greet.enqueue(undefined, { in: tx });
      }),
      (error) => error instanceof MillraceError && error.retryable,
    );
    await lost;
    const back = taskWorkerChannel.next(({ state }) => state === "store-back", AbortSignal.timeout(30_000));
    await server.start();
    await back;
    assert.deepEqual(await database.many(sql`select * from users`), []);
    assert.deepEqual(
      (await tasks.store.list({ limit: 10 })).filter(({ state }) => state !== "completed"),
      [],
    );
    const again = nextEnd("greet");
    await greet.enqueue(undefined, { in: database });
    assert.equal((await again).outcome, "completed");
  });

  test("a task whose lease cannot be prolonged is stopped here, before another has it, and what it brings is fenced", async () => {
    await using server = await testServer({ durable: false });
    await using database = await createDatabase({ url: server.url, pool });
    const attempts: number[] = [];
    const started = Promise.withResolvers<void>();
    const aborted = Promise.withResolvers<unknown>();
    const long = task("long", {}, async ({ attempt, signal }) => {
      attempts.push(attempt);
      if (attempt > 1) return;
      started.resolve();
      await new Promise((_, reject) =>
        signal.addEventListener("abort", () => {
          aborted.resolve(signal.reason);
          reject(signal.reason as Error);
        }),
      );
    });
    await using tasks = await createTasks({ database, tasks: [long], lease: "1s", logger: silent });
    await tasks.start();
    const first = nextEnd("long");
    await long.enqueue(undefined, { in: database });
    await started.promise;
    await server.stop();
    assert.equal(((await aborted.promise) as { code: string }).code, "MILLRACE_TASKS_LEASE_LOST");
    assert.equal((await first).outcome, "fenced");
    const second = nextEnd("long");
    await server.start();
    const end = await second;
    assert.deepEqual([end.outcome, end.attempt, attempts], ["completed", 2, [1, 2]]);
  });

  test("createTasks() does not wait for it, and the workers begin when it is there", async () => {
    await using server = await testServer({ durable: false });
    await server.stop();
    await using database = await createDatabase({ url: server.url, pool });
    const greet = task("greet", {}, () => {});
    await using tasks = await createTasks({ database, tasks: [greet], logger: silent });
    await tasks.start();
    const lost = taskWorkerChannel.next(({ state }) => state === "store-lost", AbortSignal.timeout(30_000));
    await lost;
    const back = taskWorkerChannel.next(({ state }) => state === "store-back", AbortSignal.timeout(30_000));
    await server.start();
    await back;
    const ended = nextEnd("greet");
    await greet.enqueue(undefined, { in: database });
    assert.equal((await ended).outcome, "completed");
  });
});
