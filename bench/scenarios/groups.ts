// What structure costs: three small asynchronous calls per operation, bare, limited, and in a group; and what a million groups with
// deadlines leave behind.

import { setImmediate } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import pLimit from "p-limit";
import { type Deadline, group, timeout } from "../../src/concurrency/index.ts";
import { type Clock, systemClock } from "../../src/core/index.ts";
import { type Samples, interleave, median, printTable } from "../harness/rounds.ts";
import type { BenchOptions } from "../harness/options.ts";

const call = async (n: number): Promise<number> => n;
const limiter = pLimit(10);

const works: Record<string, () => Promise<unknown>> = {
  "Promise.all": () => Promise.all([call(1), call(2), call(3)]),
  "Promise.all + AbortSignal.timeout(30 s)": () => {
    const signal = AbortSignal.timeout(30_000);
    return Promise.all([1, 2, 3].map((n) => (signal.throwIfAborted(), call(n))));
  },
  "p-limit(10), one for all": () => Promise.all([1, 2, 3].map((n) => limiter(() => call(n)))),
  "p-limit(10), one each": () => {
    const own = pLimit(10);
    return Promise.all([1, 2, 3].map((n) => own(() => call(n))));
  },
  group: () => group((tasks) => Promise.all([tasks.start(() => call(1)), tasks.start(() => call(2)), tasks.start(() => call(3))])),
  "group, deadline 30 s": () =>
    group((tasks) => Promise.all([tasks.start(() => call(1)), tasks.start(() => call(2)), tasks.start(() => call(3))]), {
      deadline: "30s",
    }),
  "group, limit 2": () =>
    group((tasks) => Promise.all([tasks.start(() => call(1)), tasks.start(() => call(2)), tasks.start(() => call(3))]), {
      limit: 2,
    }),
  "timeout 30 s": () => timeout("30s", () => Promise.all([call(1), call(2), call(3)])),
};

const slice = 20_000;

/** The machine's clock, which counts the timers that are neither cleared nor due. */
let timers = 0;
const countingClock: Clock = {
  ...systemClock,
  timer(delayMs, callback, keepAlive) {
    timers++;
    let pending = true;
    const ended = () => {
      if (pending) timers--;
      pending = false;
    };
    const timer = systemClock.timer(delayMs, () => (ended(), callback()), keepAlive);
    const clear = () => (ended(), timer.clear());
    return { clear, [Symbol.dispose]: clear };
  },
};

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Bytes of heap when everything that can go has gone. */
async function heapBytes(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    collect();
    await setImmediate();
  }
  return process.memoryUsage().heapUsed;
}

/** Groups with deadlines, one after the other, every seventh of which fails, with a listener and a signal in each. */
async function many(count: number): Promise<void> {
  const child = (deadline: Deadline) => {
    deadline.onAbort(() => {});
    return deadline.signal.aborted ? 0 : 1;
  };
  for (let i = 0; i < count; i++) {
    await group(
      (tasks) => {
        void tasks.start(child);
        if (i % 7 === 0) void tasks.start(() => Promise.reject(new Error("x")));
      },
      { deadline: "30s", clock: countingClock },
    ).catch(() => {});
  }
}

export async function run({ rounds = 7, rows = 1_000_000, only }: BenchOptions): Promise<unknown> {
  const candidates = Object.entries(works)
    .filter(([name]) => !only || only.includes(name))
    .map(([name, work]) => ({
      name,
      async measure() {
        const startedMs = performance.now();
        for (let i = 0; i < slice; i++) await work();
        return ((performance.now() - startedMs) * 1000) / slice;
      },
    }));
  for (const candidate of candidates) await candidate.measure();
  const samples: Samples[] = await interleave(candidates, rounds);
  const bare = samples.find(({ name }) => name === "Promise.all");
  printTable(
    ["three calls", "µs: min", "median", "max", "µs more than Promise.all"],
    samples.map(({ name, values }) => [
      name,
      Math.min(...values).toFixed(2),
      median(values).toFixed(2),
      Math.max(...values).toFixed(2),
      bare ? median(values.map((value, round) => value - bare.values[round]!)).toFixed(2) : "–",
    ]),
  );

  await many(20_000);
  const before = { timers, heap: await heapBytes() };
  const startedMs = performance.now();
  await many(rows);
  const seconds = (performance.now() - startedMs) / 1000;
  const after = { timers, heap: await heapBytes() };
  const grown = (after.heap - before.heap) / 1024;
  console.log(
    `\n${rows.toLocaleString("en")} groups with a deadline in ${seconds.toFixed(1)} s: timers ${before.timers} → ${after.timers}, ` +
      `heap ${grown >= 0 ? "+" : ""}${grown.toFixed(0)} KB`,
  );
  return { micros: samples, before, after, groups: rows };
}
