// The task systems that `npm run bench -- tasks` compares, behind what it asks of each: many no-op tasks put there, worked off by one process
// with 16 at once, and one enqueued after the other. Each as its documentation recommends for throughput.

import { Queue, Worker } from "bullmq";
import { Logger, type WorkerUtils, makeWorkerUtils, run } from "graphile-worker";
import { PgBoss } from "pg-boss";
import pg from "pg";
import { pino } from "pino";
import { Type } from "typebox";
import { type Database, createDatabase, sql } from "../../src/database/index.ts";
import { createTasks, redisTaskStore, task } from "../../src/tasks/index.ts";
import type { TestRedis } from "../../test/harness/redis.ts";

export const concurrency = 16;

export interface TaskSystem extends AsyncDisposable {
  readonly name: string;
  /** Puts no-op tasks there, in bulk. Nobody works yet. */
  fill(tasks: number): Promise<void>;
  /** Works until `tasks` have ended, and returns how many seconds that took. */
  drain(tasks: number): Promise<number>;
  /** Enqueues one. */
  enqueueOne(): Promise<void>;
  /** Removes what was enqueued. */
  empty(): Promise<void>;
}

const countdown = (count: number) => {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { promise, one: () => void (--count === 0 && resolve()) };
};

const seconds = async (work: () => Promise<void>): Promise<number> => {
  const startedMs = performance.now();
  await work();
  return (performance.now() - startedMs) / 1_000;
};

/** The kit on PostgreSQL. `keep`: how long what has completed can be asked for. */
export async function millrace(url: string, keep: "0s" | "1h"): Promise<TaskSystem & { readonly database: Database }> {
  const database = await createDatabase({ url, applicationName: "bench millrace", pool: { size: concurrency } });
  let counter = countdown(Infinity);
  const noop = task("noop", { input: Type.Object({ n: Type.Integer() }), keep }, () => counter.one());
  const options = { database, tasks: [noop], concurrency, logger: pino({ level: "silent" }) };
  const idle = await createTasks(options);
  return {
    name: keep === "0s" ? "millrace" : "millrace, results kept 1 h",
    database,
    async fill(tasks) {
      for (let i = 0; i < tasks; i += 10_000) {
        await idle.enqueueMany(
          noop,
          Array.from({ length: Math.min(10_000, tasks - i) }, (_, n) => ({ n })),
        );
      }
    },
    async drain(tasks) {
      counter = countdown(tasks);
      await using working = await createTasks(options);
      const took = await seconds(async () => {
        await working.start();
        await counter.promise;
      });
      return took;
    },
    enqueueOne: async () => void (await idle.enqueue(noop, { n: 1 })),
    async empty() {
      await database.query(sql`truncate millrace.tasks, millrace.finished_tasks`);
    },
    async [Symbol.asyncDispose]() {
      await idle.close();
      await database.close();
    },
  };
}

/** The kit on Redis. */
export async function millraceOnRedis(redis: TestRedis, keep: "0s" | "1h"): Promise<TaskSystem> {
  const prefix = `bench-${keep}:`;
  const store = redisTaskStore({ url: redis.url, prefix, timeout: "20s" });
  let counter = countdown(Infinity);
  const noop = task("noop", { input: Type.Object({ n: Type.Integer() }), keep }, () => counter.one());
  const options = { store, tasks: [noop], concurrency, logger: pino({ level: "silent" }) };
  const idle = await createTasks(options);
  return {
    name: keep === "0s" ? "millrace on Redis" : "millrace on Redis, results kept 1 h",
    async fill(tasks) {
      for (let i = 0; i < tasks; i += 5_000) {
        await idle.enqueueMany(
          noop,
          Array.from({ length: Math.min(5_000, tasks - i) }, (_, n) => ({ n })),
        );
      }
    },
    async drain(tasks) {
      counter = countdown(tasks);
      await using working = await createTasks(options);
      return await seconds(async () => {
        await working.start();
        await counter.promise;
      });
    },
    enqueueOne: async () => void (await idle.enqueue(noop, { n: 1 })),
    async empty() {
      // Only its own keys: the server is shared with others.
      const script = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('UNLINK', key) end";
      await redis.command("eval", script, 0, `${prefix}*`);
    },
    async [Symbol.asyncDispose]() {
      await idle.close();
      await store.close();
    },
  };
}

/** BullMQ on Redis. */
export async function bullmq(redisUrl: string): Promise<TaskSystem> {
  const { hostname: host, port } = new URL(redisUrl);
  const connection = { host, port: Number(port) };
  const queue = new Queue("bench", { connection, defaultJobOptions: { removeOnComplete: true } });
  await queue.waitUntilReady();
  return {
    name: "BullMQ",
    async fill(tasks) {
      for (let i = 0; i < tasks; i += 5_000) {
        await queue.addBulk(Array.from({ length: Math.min(5_000, tasks - i) }, (_, n) => ({ name: "noop", data: { n } })));
      }
    },
    async drain(tasks) {
      const counter = countdown(tasks);
      const worker = new Worker("bench", async () => counter.one(), { connection, concurrency, autorun: false });
      await worker.waitUntilReady();
      const took = await seconds(async () => {
        void worker.run();
        await counter.promise;
      });
      await worker.close();
      return took;
    },
    enqueueOne: async () => void (await queue.add("noop", { n: 1 })),
    empty: () => queue.obliterate({ force: true }),
    [Symbol.asyncDispose]: () => queue.close(),
  };
}

/** graphile-worker with its local queue and batched completion. */
export async function graphile(url: string): Promise<TaskSystem> {
  const pool = new pg.Pool({ connectionString: url, max: concurrency + 4 });
  pool.on("error", () => {});
  const preset = {
    worker: {
      concurrentJobs: concurrency,
      localQueue: { size: 500 },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
    },
  };
  const logger = new Logger(() => () => {}); // a line per job would be what is measured
  const utils: WorkerUtils = await makeWorkerUtils({ pgPool: pool, logger });
  await utils.migrate();
  return {
    name: "graphile-worker",
    async fill(tasks) {
      for (let i = 0; i < tasks; i += 5_000) {
        await utils.addJobs(Array.from({ length: Math.min(5_000, tasks - i) }, (_, n) => ({ identifier: "noop", payload: { n } })));
      }
    },
    async drain(tasks) {
      const counter = countdown(tasks);
      let runner: { readonly stop: () => Promise<void> } | undefined;
      const took = await seconds(async () => {
        runner = await run({ preset, pgPool: pool, logger, noHandleSignals: true, taskList: { noop: async () => counter.one() } });
        await counter.promise;
      });
      await runner!.stop();
      return took;
    },
    enqueueOne: async () => void (await utils.addJob("noop", { n: 1 })),
    empty: async () => void (await pool.query("delete from graphile_worker._private_jobs")),
    async [Symbol.asyncDispose]() {
      await utils.release();
      await pool.end();
    },
  };
}

/** pg-boss, fetched and completed in batches by hand, which is faster than its work(). */
export async function pgBoss(url: string): Promise<TaskSystem> {
  const boss = new PgBoss({ connectionString: url, max: concurrency, supervise: false, schedule: false });
  boss.on("error", () => {});
  await boss.start();
  await boss.createQueue("noop");
  return {
    name: "pg-boss, fetch and complete by 100",
    async fill(tasks) {
      for (let i = 0; i < tasks; i += 5_000) {
        await boss.insert(
          "noop",
          Array.from({ length: Math.min(5_000, tasks - i) }, (_, n) => ({ data: { n } })),
        );
      }
    },
    async drain(tasks) {
      let left = tasks;
      return await seconds(async () => {
        while (left > 0) {
          const jobs = await boss.fetch("noop", { batchSize: 100 });
          await boss.complete(
            "noop",
            jobs.map(({ id }) => id),
          );
          left -= jobs.length;
        }
      });
    },
    enqueueOne: async () => void (await boss.send("noop", { n: 1 })),
    empty: async () => void (await boss.deleteAllJobs("noop")),
    [Symbol.asyncDispose]: () => boss.stop({ graceful: false }),
  };
}
