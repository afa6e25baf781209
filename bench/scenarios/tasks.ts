// Background tasks. What is measured and what it does not show: findings.md#tasks.

import pg from "pg";
import { pino } from "pino";
import { Type } from "typebox";
import { createDatabase, queryChannel, sql } from "../../src/database/index.ts";
import { createTasks, task } from "../../src/tasks/index.ts";
import { testRedis } from "../../test/harness/redis.ts";
import { benchDatabase } from "../harness/database.ts";
import type { BenchOptions } from "../harness/options.ts";
import { type Samples, interleave, median, printComparison, printTable } from "../harness/rounds.ts";
import { type TaskSystem, bullmq, concurrency, graphile, millrace, millraceOnRedis, pgBoss } from "../peers/task-systems.ts";

const baselines = ["BullMQ", "graphile-worker"];

export async function run({ rounds = 3, operations = 20_000, rows = 1_000_000, only }: BenchOptions): Promise<unknown> {
  const wants = (part: string) => !only || only.includes(part);
  const results: Record<string, unknown> = {};
  if (wants("throughput") || wants("enqueue") || wants("enqueue-cpu")) {
    await using stack = new AsyncDisposableStack();
    const servers = [await benchDatabase([]), await benchDatabase([]), await benchDatabase([]), await benchDatabase([])];
    for (const server of servers) stack.use(server);
    const redis = stack.use(await testRedis());
    const systems: TaskSystem[] = [
      stack.use(await millrace(servers[0]!.url, "0s")),
      stack.use(await millrace(servers[1]!.url, "1h")),
      stack.use(await millraceOnRedis(redis, "0s")),
      stack.use(await millraceOnRedis(redis, "1h")),
      stack.use(await bullmq(redis.url)),
      stack.use(await graphile(servers[2]!.url)),
      stack.use(await pgBoss(servers[3]!.url)),
    ];
    if (wants("throughput")) results["throughput"] = await throughput(systems, operations, rounds);
    if (wants("enqueue")) results["enqueue"] = await enqueues(systems, rounds, "durable");
    if (wants("enqueue-cpu")) {
      for (const { url } of servers) await withoutWaiting(url);
      results["enqueueCpu"] = await enqueues(systems, rounds, "not waiting for the disk");
    }
  }
  if (wants("transaction")) results["transaction"] = await inTransactions(rounds);
  if (wants("backlog")) results["backlog"] = await backlog(operations, rows);
  if (wants("wake-up")) results["wakeUp"] = await wakeUp();
  if (wants("notify")) results["notify"] = await notify(rounds);
  return results;
}

/** No-op tasks per second, one process, 16 at once, from a queue that was filled before. */
async function throughput(systems: readonly TaskSystem[], tasks: number, rounds: number): Promise<readonly Samples[]> {
  const samples = await interleave(
    systems.map((system) => ({
      name: system.name,
      async measure() {
        await system.fill(tasks);
        const took = await system.drain(tasks);
        await system.empty();
        return tasks / took;
      },
    })),
    rounds,
  );
  printComparison("no-op tasks/s", samples, baselines);
  return samples;
}

/** From now on commits do not wait for the disk: what is left is what an enqueue costs, as inside of a transaction of somebody else's. */
async function withoutWaiting(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query("alter system set synchronous_commit = off");
  await client.query("select pg_reload_conf()");
  await client.end();
}

/** Tasks enqueued one at a time by each of so many callers. */
async function enqueues(systems: readonly TaskSystem[], rounds: number, how: string): Promise<Record<string, readonly Samples[]>> {
  const results: Record<string, readonly Samples[]> = {};
  for (const callers of [1, 16, 64]) results[`by ${callers}`] = await enqueuesBy(callers, systems, rounds, how);
  return results;
}

async function enqueuesBy(
  callers: number,
  systems: readonly TaskSystem[],
  rounds: number,
  how: string,
): Promise<readonly Samples[]> {
  const perRound = callers === 1 ? 1_000 : 4_000;
  const samples = await interleave(
    systems.map((system) => ({
      name: system.name,
      async measure() {
        let left = perRound;
        const startedMs = performance.now();
        await Promise.all(
          Array.from({ length: callers }, async () => {
            while (left-- > 0) await system.enqueueOne();
          }),
        );
        const took = performance.now() - startedMs;
        await system.empty();
        return (perRound * 1_000) / took;
      },
    })),
    rounds,
  );
  console.log("");
  printComparison(`enqueued one by one/s by ${callers} callers, ${how}`, samples, [
    ...baselines,
    "pg-boss, fetch and complete by 100",
  ]);
  return samples;
}

/** What enqueueing in a transaction adds to it: BEGIN, an insert of the user's, COMMIT; with and without a task. */
async function inTransactions(rounds: number): Promise<readonly Samples[]> {
  await using server = await benchDatabase(["create table orders (id bigint generated always as identity, note text)"]);
  await using database = await createDatabase({ url: server.url });
  const ship = task("ship", { input: Type.Object({ n: Type.Integer() }) }, () => {});
  await using tasks = await createTasks({ database, tasks: [ship], logger: pino({ level: "silent" }) });
  const perRound = 3_000;
  const candidate = (name: string, withTask: boolean) => ({
    name,
    async measure() {
      let left = perRound;
      const startedMs = performance.now();
      await Promise.all(
        Array.from({ length: 8 }, async () => {
          while (left-- > 0) {
            await database.transaction(async (tx) => {
              await tx.query(sql`insert into orders (note) values (${"x"})`);
              if (withTask) await ship.enqueue({ n: left }, { in: tx });
            });
          }
        }),
      );
      return (perRound * 1_000) / (performance.now() - startedMs);
    },
  });
  const samples = await interleave([candidate("an insert", false), candidate("an insert and a task", true)], rounds);
  console.log("");
  printComparison("transactions/s", samples, ["an insert"]);
  void tasks;
  return samples;
}

/** The same work in front of a backlog that the statistics know nothing of. */
async function backlog(tasks: number, rows: number): Promise<unknown> {
  await using server = await benchDatabase([]);
  await using system = await millrace(server.url, "0s");
  const { database } = system;
  await database.query(sql`alter table millrace.tasks set (autovacuum_enabled = false)`);
  await database.query(sql`analyze millrace.tasks`); // it is empty
  const measure = async () => {
    await system.fill(tasks);
    return tasks / (await system.drain(tasks));
  };
  await measure();
  const empty = [await measure(), await measure()];
  process.stderr.write("a backlog …");
  // Of the same queue and name, less urgent, half of it not due for an hour.
  await database.query(sql`
    insert into millrace.tasks (id, queue, name, input, priority, due_at)
    select gen_random_uuid(), 'default', 'noop', '{"n":1}', 3, now() + (i % 2) * interval '1 hour' from generate_series(1, ${rows}::int) i`);
  process.stderr.write("\r\x1b[K");
  const full = [await measure(), await measure()];
  const single = async () => {
    const startedMs = performance.now();
    for (let i = 0; i < 1_000; i++) await system.enqueueOne();
    return 1_000_000 / (performance.now() - startedMs);
  };
  const share = median(full) / median(empty);
  console.log("");
  printTable(
    ["no-op tasks/s", "median"],
    [
      ["an empty queue", median(empty).toFixed(0)],
      [`behind ${rows} that wait, statistics of an empty table`, median(full).toFixed(0)],
      ["share", share.toFixed(2)],
    ],
  );
  return { empty, full, share, singleEnqueues: await single() };
}

/** From COMMIT to the handler, of a worker that is idle; and what an idle worker asks the server. */
async function wakeUp(): Promise<unknown> {
  await using server = await benchDatabase([]);
  await using database = await createDatabase({ url: server.url });
  await using workers = await createDatabase({ url: server.url });
  let started = Promise.withResolvers<number>();
  const options = { concurrency, logger: pino({ level: "silent" }) };
  const tick = task("tick", { keep: "0s" }, () => started.resolve(performance.now()));
  await using enqueuing = await createTasks({ database, tasks: [tick], ...options });
  await using working = await createTasks({ database: workers, tasks: [tick], ...options });
  await working.start();
  const waits: number[] = [];
  for (let i = 0; i < 200; i++) {
    started = Promise.withResolvers<number>();
    await database.transaction((tx) => tick.enqueue(undefined, { in: tx }));
    const committedMs = performance.now();
    waits.push((await started.promise) - committedMs);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
  void enqueuing;
  let statements = 0;
  {
    using _watch = queryChannel.subscribe(() => void statements++);
    await new Promise((resolve) => setTimeout(resolve, 5_000));
  }
  const sorted = waits.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.floor(sorted.length * share)]!;
  console.log("");
  printTable(
    ["from commit to handler, ms", "p50", "p90", "p99"],
    [["an idle worker", at(0.5).toFixed(2), at(0.9).toFixed(2), at(0.99).toFixed(2)]],
  );
  console.log(`An idle worker sends ${(statements / 5).toFixed(1)} statements a second.`);
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), idleStatementsPerSecond: statements / 5 };
}

/** Why NOTIFY is not in the transaction: commits of 16 connections, each of an insert, with and without. */
async function notify(rounds: number): Promise<readonly Samples[]> {
  await using server = await benchDatabase(["create table notes (id bigint generated always as identity, note text)"]);
  const pool = new pg.Pool({ connectionString: server.url, max: 16 });
  const candidate = (name: string, withNotify: boolean) => ({
    name,
    async measure() {
      let left = 4_000;
      const startedMs = performance.now();
      await Promise.all(
        Array.from({ length: 16 }, async () => {
          const client = await pool.connect();
          while (left-- > 0) {
            await client.query("begin");
            await client.query({ name: "insert", text: "insert into notes (note) values ($1)", values: ["x"] });
            if (withNotify) await client.query({ name: "notify", text: "select pg_notify('notes', $1)", values: [String(left)] });
            else await client.query({ name: "nothing", text: "select $1::text", values: [String(left)] });
            await client.query("commit");
          }
          client.release();
        }),
      );
      return 4_000_000 / (performance.now() - startedMs);
    },
  });
  const samples = await interleave([candidate("without", false), candidate("with NOTIFY", true)], rounds);
  await pool.end();
  console.log("");
  printComparison("commits/s on 16 connections", samples, ["without"]);
  return samples;
}
