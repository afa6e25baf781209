// 10,000 tasks, 20 SIGKILLs of workers and 5 cuts of all connections, on each store, and the history of every task judged. Not a measurement:
// it fails when a task was lost, settled twice, or repeated without having been in flight at a kill. docs/task-stores.md tells what happens
// in it. `--only redis` or `--only postgresql` is one of them.

import { createDatabase } from "../../src/database/index.ts";
import { testRedis } from "../../test/harness/redis.ts";
import { postgresTarget } from "../../test/tasks/kills/postgres-target.ts";
import { redisTarget } from "../../test/tasks/kills/redis-target.ts";
import { type KillRunResult, type KillTarget, runKills } from "../../test/tasks/kills/run.ts";
import { benchDatabase } from "../harness/database.ts";
import type { BenchOptions } from "../harness/options.ts";
import { printTable } from "../harness/rounds.ts";

export async function run({ operations = 10_000, only }: BenchOptions): Promise<unknown> {
  const results: KillRunResult[] = [];
  if (!only || only.includes("postgresql")) {
    await using server = await benchDatabase([]);
    await using database = await createDatabase({ url: server.url, applicationName: "kills" });
    await using target = postgresTarget(server.url, database);
    results.push(await judged(target, operations));
  }
  if (!only || only.includes("redis")) {
    await using server = await testRedis({ settings: { appendonly: "yes" } });
    await using target = redisTarget(server);
    results.push(await judged(target, operations));
  }
  return results;
}

async function judged(target: KillTarget, operations: number): Promise<KillRunResult> {
  const result = await runKills(target, {
    tasks: operations,
    workers: 3,
    kills: 20,
    cuts: 5,
    lease: "10s",
    boundMs: 900_000,
    onProgress: (text) => process.stderr.write(`\r\x1b[K${target.store}: ${text}`),
  });
  process.stderr.write("\r\x1b[K");
  const { problems, tasks, repeated, inFlightAtKills, lostLeases, seconds, kills, cuts } = result;
  printTable(
    ["store", "tasks", "kills", "cuts", "lost or twice", "repeated", "in flight at kills", "leases lost by living", "seconds"],
    [[target.store, tasks, kills, cuts, problems.length, repeated, inFlightAtKills, lostLeases, seconds.toFixed(0)].map(String)],
  );
  if (problems.length > 0) console.log(JSON.stringify(problems.slice(0, 5), undefined, 2));
  if (problems.length > 0 || repeated > inFlightAtKills) process.exitCode = 1;
  return result;
}
