// From a transaction of PostgreSQL to Redis: a task is there if and only if it committed, once, whatever dies in between.

import assert from "node:assert/strict";
import { once } from "node:events";
import { randomUUID } from "node:crypto";
import { after, before, suite, test } from "node:test";
import pg from "pg";
import { pino } from "pino";
import { Type } from "typebox";
import { type Database, createDatabase, sql } from "../../src/database/index.ts";
import { type NewTask, type TaskStore, createTasks, redisTaskStore, task, taskOutboxChannel } from "../../src/tasks/index.ts";
import { eventually } from "../harness/patience.ts";
import { testDatabase } from "../harness/postgres.ts";
import { readyProcess } from "../harness/ready-process.ts";
import { type TestRedis, testRedis } from "../harness/redis.ts";

const minute = 60_000;
const newTask = (more: Partial<NewTask> = {}): NewTask => ({
  id: randomUUID(),
  queue: "q",
  name: "grind",
  input: "null",
  priority: 2,
  ...more,
});

suite("the outbox of a Redis task store", () => {
  let server: TestRedis;
  let scratch: AsyncDisposable & { readonly url: string };
  let database: Database;
  let stores = 0;
  before(async () => {
    server = await testRedis();
    scratch = await testDatabase();
    database = await createDatabase({ url: scratch.url, applicationName: "outbox under test" });
  });
  after(async () => {
    await database.close();
    await scratch[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  });

  /** A store with keys of its own that never looks by itself, unless told otherwise. */
  const storeOf = (more: object = {}): TaskStore =>
    redisTaskStore({ url: server.url, outbox: database, timeout: "20s", sweepInterval: "1h", prefix: `s${++stores}:`, ...more });
  const take = (store: TaskStore, limit = 1_000) => store.fetch([{ queue: "q", limit }], { worker: "w", leaseMs: minute });
  const rowsLeft = async (): Promise<number> =>
    (await database.one(sql<{ n: number }>`select count(*)::int as n from millrace.task_outbox`)).n;
  const relayed = async (store: TaskStore, wanted: number) => {
    const ids: string[] = [];
    await eventually("the tasks are there", async () => {
      for (const { id } of await take(store)) ids.push(id);
      return ids.length >= wanted;
    });
    return ids;
  };

  test("relays after the commit without looking again and again, in the order of the rows, and leaves nothing", async () => {
    await using store = storeOf();
    await Promise.all([store.setup(), store.setup()]);
    const tasks = Array.from({ length: 1_200 }, () => newTask());
    await database.transaction(async (tx) => {
      for (const task of tasks.slice(0, 100)) await store.enqueue({ tasks: [task] }, { in: tx });
      await store.enqueue({ tasks: tasks.slice(100) }, { in: tx });
      assert.deepEqual(await take(store), []);
    });
    assert.deepEqual(
      await relayed(store, tasks.length),
      tasks.map(({ id }) => id),
    );
    await eventually("no row is left", async () => (await rowsLeft()) === 0);
    await eventually("nothing is remembered", async () => (await server.command("exists", `s${stores}:{tasks}:o`)) === 0);
  });

  test("relays nothing of what was rolled back, a savepoint or the whole", async () => {
    await using store = storeOf();
    await store.setup();
    const [kept, dropped] = [newTask(), newTask()];
    await database.transaction(async (tx) => {
      await store.enqueue({ tasks: [kept] }, { in: tx });
      await assert.rejects(
        tx.transaction(async (nested) => {
          await store.enqueue({ tasks: [dropped] }, { in: nested });
          throw new Error("back");
        }),
      );
    });
    assert.deepEqual(await relayed(store, 1), [kept.id]);
    assert.equal(await store.show(dropped.id), undefined);
  });

  for (const [when, what] of [
    ["after-commit", "right after its commit"],
    ["after-relay", "after Redis has taken the task and before the row is deleted"],
  ] as const) {
    test(`loses nothing and makes nothing twice when the process is killed ${what}`, async () => {
      await using store = redisTaskStore({ url: server.url, outbox: database, timeout: "20s", sweepInterval: "100ms" });
      const ids = [randomUUID(), randomUUID()];
      await store.setup();
      await store.close(); // nobody relays until the process is dead
      {
        await using run = await readyProcess(
          new URL("fixtures/outbox-process.ts", import.meta.url),
          when,
          scratch.url,
          server.url,
          ...ids,
        );
        if (run.child.signalCode === null) await once(run.child, "exit");
        assert.equal(run.child.signalCode, "SIGKILL");
      }
      assert.equal(await rowsLeft(), 2);
      await using other = redisTaskStore({ url: server.url, outbox: database, timeout: "20s", sweepInterval: "100ms" });
      if (when === "after-relay") {
        // They are through and gone before anybody relays again: only what Redis remembers of the rows keeps them from coming back.
        const taken = await take(other);
        assert.deepEqual(
          taken.map(({ id }) => id),
          ids,
        );
        await other.settle(taken.map((task) => ({ kind: "complete", task, keepMs: 0 })));
        const outbox = taskOutboxChannel.next(({ rows }) => rows === 2, AbortSignal.timeout(20_000));
        await other.setup();
        await outbox;
      } else {
        await other.setup();
        assert.deepEqual(await relayed(other, 2), ids);
      }
      await eventually("no row is left", async () => (await rowsLeft()) === 0);
      assert.deepEqual(await take(other), []);
    });
  }

  test("has nothing of a process that was killed before its commit", async () => {
    const id = randomUUID();
    await using run = await readyProcess(
      new URL("fixtures/outbox-process.ts", import.meta.url),
      "before-commit",
      scratch.url,
      server.url,
      id,
    );
    if (run.child.signalCode === null) await once(run.child, "exit");
    assert.equal(await rowsLeft(), 0);
    await using store = redisTaskStore({ url: server.url, outbox: database, timeout: "20s" });
    assert.equal(await store.show(id), undefined);
  });

  test("lets transactions commit while Redis is away, and relays when it is back", async () => {
    await using own = await testRedis();
    await using store = storeOf({ url: own.url, sweepInterval: "50ms", timeout: "2s" });
    await store.setup();
    await own.kill();
    const failed = taskOutboxChannel.next(({ error }) => error !== undefined, AbortSignal.timeout(20_000));
    const task = newTask({ unique: { key: "u", until: "finished" } });
    await database.transaction(async (tx) => {
      const [outcome] = await store.enqueue({ tasks: [task] }, { in: tx });
      assert.deepEqual(outcome, { id: task.id, accepted: true });
    });
    await failed;
    assert.equal(await rowsLeft(), 1);
    await own.start();
    await eventually("the task is there", async () => {
      const claimed = await take(store).catch(() => []);
      return claimed[0]?.id === task.id;
    });
    await eventually("no row is left", async () => (await rowsLeft()) === 0);
  });

  test("lets many processes relay at once: every task once", async () => {
    const prefix = `shared${++stores}:`;
    const several = Array.from({ length: 4 }, () => storeOf({ prefix, sweepInterval: "20ms" }));
    try {
      await Promise.all(several.map((store) => store.setup()));
      const tasks = Array.from({ length: 200 }, () => newTask());
      await Promise.all(
        tasks.map((task, i) =>
          database.transaction(async (tx) => {
            await several[i % 4]!.enqueue({ tasks: [task] }, { in: tx });
          }),
        ),
      );
      const ids = await relayed(several[0]!, tasks.length);
      assert.deepEqual(ids.toSorted(), tasks.map(({ id }) => id).toSorted());
      await eventually("no row is left", async () => (await rowsLeft()) === 0);
      assert.deepEqual(await take(several[0]!), []);
    } finally {
      await Promise.all(several.map((store) => store.close()));
    }
  });

  test("takes the transaction of a pg client, and relays it at its next look", async () => {
    await using store = storeOf({ sweepInterval: "50ms" });
    await store.setup();
    const client = new pg.Client(scratch.url);
    await client.connect();
    try {
      for (const end of ["rollback", "commit"]) {
        const task = newTask({ name: end });
        await client.query("begin");
        await store.enqueue({ tasks: [task] }, { in: client });
        await client.query(end);
        if (end === "commit") assert.deepEqual(await relayed(store, 1), [task.id]);
      }
    } finally {
      await client.end();
    }
  });

  test("counts a delay from when the task was enqueued", async () => {
    await using store = storeOf();
    await store.setup();
    const tasks = [newTask({ delayMs: 50 }), newTask({ delayMs: minute }), newTask({ atMs: 1_000_000_000_000 })];
    await database.transaction(async (tx) => {
      await store.enqueue({ tasks }, { in: tx });
      await tx.query(sql`select pg_sleep(0.2)`);
    });
    const ids = await relayed(store, 2);
    assert.deepEqual(ids, [tasks[2]!.id, tasks[0]!.id], "the delay was over when it was relayed, and the longer due comes first");
    const record = await store.show(tasks[1]!.id);
    const shorter = record!.dueAtMs - record!.enqueuedAtMs;
    assert.ok(shorter < minute - 150 && shorter > minute - 30_000, `${shorter} ms`);
  });

  test("judges unique keys in the transaction by what is known, and when it is relayed for good", async () => {
    await using store = storeOf();
    await store.setup();
    const unique = { key: "u", until: "finished" } as const;
    const [first, second, third] = [newTask({ unique }), newTask({ unique }), newTask({ unique })];
    await database.transaction(async (tx) => {
      const outcomes = await store.enqueue({ tasks: [first, second] }, { in: tx });
      assert.deepEqual(outcomes, [
        { id: first.id, accepted: true },
        { id: first.id, accepted: false },
      ]);
    });
    assert.deepEqual(await relayed(store, 1), [first.id]);
    await database.transaction(async (tx) => {
      assert.deepEqual(await store.enqueue({ tasks: [third] }, { in: tx }), [{ id: first.id, accepted: false }]);
    });
    assert.equal(await rowsLeft(), 0);
    assert.equal(await store.show(third.id), undefined);
  });

  test("is what a task goes through that is enqueued in a transaction and runs from Redis", async () => {
    await using store = storeOf();
    const ran = Promise.withResolvers<number>();
    const count = task("count", { input: Type.Object({ n: Type.Integer() }) }, ({ input }) => ran.resolve(input.n));
    await using tasks = await createTasks({ database, store, tasks: [count], logger: pino({ level: "silent" }) });
    await tasks.start();
    await database.transaction(async (tx) => {
      await count.enqueue({ n: 7 }, { in: tx });
    });
    assert.equal(await ran.promise, 7);
  });

  test("is needed for enqueueing in a transaction, and says so", async () => {
    await using store = storeOf({ outbox: undefined });
    await database.transaction(async (tx) => {
      await assert.rejects(store.enqueue({ tasks: [newTask()] }, { in: tx }), { code: "MILLRACE_TASKS_OUTBOX_MISSING" });
    });
  });
});
