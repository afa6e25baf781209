// How late the event loop is while processor work of about 10 ms per task is done: on the loop itself, and on a pool whose queue is
// never empty. A timer that should fire every 5 ms says how late it was.

import { createHistogram } from "node:perf_hooks";
import { availableParallelism } from "node:os";
import { createWorkerPool, workerModule } from "../../src/concurrency/index.ts";
import { collatz } from "../peers/hash.worker.ts";
import { printTable } from "../harness/rounds.ts";
import type { BenchOptions } from "../harness/options.ts";

const module = workerModule<typeof import("../peers/hash.worker.ts")>(new URL("../peers/hash.worker.ts", import.meta.url));
const upTo = 20_000;
const everyMs = 5;

/** Runs `work` again and again from `inFlight` lines for some seconds; the lag of the loop meanwhile, and tasks per second. */
async function measure(seconds: number, inFlight: number, work: (() => Promise<unknown>) | undefined) {
  const lag = createHistogram();
  let dueMs = performance.now() + everyMs;
  const timer = setInterval(() => {
    const nowMs = performance.now();
    lag.record(Math.max(1, Math.round((nowMs - dueMs) * 1000)));
    dueMs = nowMs + everyMs;
  }, everyMs);
  const endMs = performance.now() + seconds * 1000;
  let tasks = 0;
  const line = async (): Promise<void> => {
    while (performance.now() < endMs) {
      if (work) {
        await work();
        tasks++;
      }
      await new Promise((resolve) => (work ? setImmediate(resolve) : setTimeout(resolve, 50)));
    }
  };
  await Promise.all(Array.from({ length: inFlight }, line));
  clearInterval(timer);
  return { tasksPerSecond: tasks / seconds, p50: lag.percentile(50) / 1000, p99: lag.percentile(99) / 1000, max: lag.max / 1000 };
}

export async function run({ rounds = 3, seconds }: BenchOptions): Promise<unknown> {
  await using small = createWorkerPool({ threads: 1, maxQueue: 64 });
  await using full = createWorkerPool({ threads: availableParallelism(), maxQueue: 64 });
  for (const pool of [small, full]) await Promise.all([1, 2, 3].map(() => pool.run(module, "collatz", upTo)));
  const candidates = [
    { name: "nothing to do", inFlight: 1, work: undefined },
    { name: "on the event loop", inFlight: 1, work: async () => collatz(upTo) },
    { name: "pool of 1 thread, 16 in flight", inFlight: 16, work: () => small.run(module, "collatz", upTo) },
    {
      name: `pool of ${availableParallelism()} threads, 16 in flight`,
      inFlight: 16,
      work: () => full.run(module, "collatz", upTo),
    },
  ];
  const results = new Map<string, Awaited<ReturnType<typeof measure>>[]>(candidates.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const { name, inFlight, work } of candidates) results.get(name)!.push(await measure(seconds, inFlight, work));
  }
  const middle = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!;
  printTable(
    ["", "tasks/s", "loop late by, ms: p50", "p99", "max"],
    [...results].map(([name, all]) => [
      name,
      middle(all.map(({ tasksPerSecond }) => tasksPerSecond)).toFixed(0),
      middle(all.map(({ p50 }) => p50)).toFixed(2),
      middle(all.map(({ p99 }) => p99)).toFixed(2),
      Math.max(...all.map(({ max }) => max)).toFixed(1),
    ]),
  );
  return Object.fromEntries(results);
}
