// The memory tier: what stays in it, what a hit costs, and how often the versions invalidate by mistake. In process.

import {
  type MemoryTier,
  type Versions,
  createMemoryTier,
  createVersions,
  entryOverheadBytes,
  hashDependencies,
} from "../../src/cache/index.ts";
import type { BenchOptions } from "../harness/options.ts";
import { type Samples, interleave, median, printTable } from "../harness/rounds.ts";

/** The same "random" numbers in every run (Lehmer's generator), from 0 to 1. */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
}

/** Numbers below `keys`, the first most often: the n-th as often as 1/n^alpha. */
function zipf(keys: number, alpha: number, seed: number): () => number {
  const upTo = new Float64Array(keys);
  let sum = 0;
  for (let i = 0; i < keys; i++) upTo[i] = sum += 1 / (i + 1) ** alpha;
  const random = randomNumbers(seed);
  return () => {
    const wanted = random() * sum;
    let low = 0;
    let high = keys - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (upTo[middle]! < wanted) low = middle + 1;
      else high = middle;
    }
    return low;
  };
}

const keys = 100_000;

/** Requests by number of key. Numbers from `keys` on are asked for once. */
const traces: Record<string, (requests: number) => Uint32Array> = {
  "Zipf 0.8": (requests) => Uint32Array.from({ length: requests }, zipf(keys, 0.8, 1)),
  "Zipf 1.0": (requests) => Uint32Array.from({ length: requests }, zipf(keys, 1, 2)),
  "Zipf 1.2": (requests) => Uint32Array.from({ length: requests }, zipf(keys, 1.2, 3)),
  "Zipf 1.0, popularity shifts": (requests) => {
    const next = zipf(keys, 1, 4);
    return Uint32Array.from({ length: requests }, (_, i) => (next() + Math.floor((i * 20) / requests) * 500) % keys);
  },
  "Zipf 1.0, 20 % scans": (requests) => {
    const next = zipf(keys, 1, 5);
    let once = keys;
    return Uint32Array.from({ length: requests }, (_, i) => (i % 50_000 < 10_000 ? once++ : next()));
  },
  "Zipf 1.0, every 3rd key once": (requests) => {
    const next = zipf(keys, 1, 6);
    let once = keys;
    return Uint32Array.from({ length: requests }, (_, i) => (i % 3 === 0 ? once++ : next()));
  },
  // S3-FIFO's known weak point: keys that come a second time, after they left the small queue, and never again.
  "Zipf 1.0, half of it keys twice, 1,500 apart": (requests) => {
    const next = zipf(keys, 1, 10);
    return Uint32Array.from({ length: requests }, (_, i) => {
      if (i % 2 === 0) return next();
      const at = i >> 2;
      return keys + (i % 4 === 1 ? at : Math.max(0, at - 1_500));
    });
  },
  "loop of 20,000": (requests) => Uint32Array.from({ length: requests }, (_, i) => i % 20_000),
  "Zipf 1.0, half of it a loop of 20,000": (requests) => {
    const next = zipf(keys, 1, 7);
    return Uint32Array.from({ length: requests }, (_, i) => (i % 2 === 0 ? next() : keys + ((i >> 1) % 20_000)));
  },
};

const sizes = [100, 1_000, 10_000];

interface Cache {
  get(key: string): number | undefined;
  set(key: string, value: number): unknown;
}

type CacheOf = (entries: number) => Cache;

const keyOf = (i: number) => `key:${String(i).padStart(8, "0")}`;

const tierOf = (entries: number): MemoryTier<number> =>
  createMemoryTier<number>({ maxBytes: entries * (entryOverheadBytes + keyOf(0).length * 2), maxEntryRatio: 1, sizeOf: () => 0 });

async function peers(): Promise<Record<string, CacheOf>> {
  try {
    const { LRUCache } = await import("lru-cache");
    return { "lru-cache": (entries) => new LRUCache<string, number>({ max: entries }) };
  } catch {
    console.log("lru-cache is left out: it is not installed.");
    return {};
  }
}

const names = new Map<number, string>();

/** The share of requests that hit; a miss is filled. */
function hitRatio(cache: Cache, trace: Uint32Array): number {
  let hits = 0;
  for (const i of trace) {
    let key = names.get(i);
    if (key === undefined) names.set(i, (key = keyOf(i)));
    if (cache.get(key) === undefined) cache.set(key, i);
    else hits++;
  }
  return hits / trace.length;
}

function compareHits(caches: Record<string, CacheOf>, requests: number): unknown {
  const rows: string[][] = [];
  const results: Record<string, number>[] = [];
  for (const [trace, make] of Object.entries(traces)) {
    const sequence = make(requests);
    names.clear();
    for (const size of sizes) {
      const found = Object.values(caches).map((create) => 100 * hitRatio(create(size), sequence));
      const [ours, peer] = found as [number, number | undefined];
      rows.push([
        trace,
        String(size),
        ...found.map((ratio) => ratio.toFixed(2)),
        peer === undefined ? "–" : (ours - peer >= 0 ? "+" : "") + (ours - peer).toFixed(2),
      ]);
      results.push({ size, ...Object.fromEntries(Object.keys(caches).map((name, i) => [name, found[i]!])) });
    }
  }
  printTable([`${requests} requests, % hits`, "entries", ...Object.keys(caches), "points"], rows);
  return { traces: Object.keys(traces), results };
}

/**
 * Nanoseconds of this thread per look-up that hits, with keys and dependencies spread over 100,000 entries as Zipf 1.0 spreads
 * them.
 */
async function compareHitCost(caches: Record<string, CacheOf>, rounds: number): Promise<unknown> {
  const lookUps = 500_000;
  const cached = Array.from({ length: keys }, (_, i) => keyOf(i));
  const next = zipf(keys, 1, 8);
  const asked = Array.from({ length: lookUps }, () => cached[next()]!);
  const versions = createVersions(1);
  const written = hashDependencies(Array.from({ length: 60_000 }, (_, i) => `public.observations:id=${i}`));
  for (let i = 0; i < written.length; i += 2) versions.bump(written[i]!, written[i + 1]!, i + 1);

  interface Answer {
    readonly generation: number;
    readonly upTo: number;
    readonly dependencies: Uint32Array;
  }
  const answers = createMemoryTier<Answer>({ maxBytes: 2 ** 30, sizeOf: () => 64 });
  for (const [i, key] of cached.entries()) {
    const depends = ["city_id", "user_id", "station_id", "id", "tenant_id"].map((column) => `public.reports:${column}=${i}`);
    answers.set(key, { generation: 1, upTo: 10, dependencies: hashDependencies(depends) });
  }
  const quiet = createVersions(1);
  const serve = (checked: Versions) => () => {
    let served = 0;
    for (const key of asked) {
      const answer = answers.get(key);
      if (answer && checked.mayServe(answer.generation, answer.upTo, answer.dependencies)) served++;
    }
    return served;
  };
  const works: Record<string, () => number> = {
    "millrace: get and 5 dependencies, 60,000 writes since": serve(versions),
    "millrace: get and 5 dependencies, no write since": serve(quiet),
  };
  const plain: Record<string, CacheOf> = { ...caches, Map: () => new Map<string, number>() };
  for (const [name, create] of Object.entries(plain)) {
    const cache = create(keys * 2);
    for (const [i, key] of cached.entries()) cache.set(key, i);
    works[name === "millrace" ? "millrace: get" : `${name}: get`] = () => {
      let served = 0;
      for (const key of asked) if (cache.get(key) !== undefined) served++;
      return served;
    };
  }
  for (const work of Object.values(works)) work(); // compiled code
  const samples: Samples[] = await interleave(
    Object.entries(works).map(([name, work]) => ({
      name,
      async measure() {
        const before = process.threadCpuUsage(); // not the clock: other work on the machine would count
        const served = work();
        const { user, system } = process.threadCpuUsage(before);
        const nanos = ((user + system) * 1000) / lookUps;
        if (served < lookUps * 0.98) throw new Error(`${name} served only ${served} of ${lookUps}.`);
        return nanos;
      },
    })),
    rounds,
  );
  printTable(
    ["ns per hit", "min", "median", "max"],
    samples.map(({ name, values }) => [
      name,
      Math.min(...values).toFixed(0),
      median(values).toFixed(0),
      Math.max(...values).toFixed(0),
    ]),
  );
  return samples;
}

/**
 * Of dependencies that nobody wrote, the share that looks written after so many seconds of 1,000 writes a second, three
 * dependencies each.
 */
function falseInvalidations(): unknown {
  const shapes = [
    { slots: 2 ** 20, rows: 2 },
    { slots: 2 ** 19, rows: 4 },
    { slots: 2 ** 22, rows: 4 },
  ];
  const seconds = [10, 30, 60, 120, 300];
  const untouched = hashDependencies(Array.from({ length: 50_000 }, (_, i) => `public.cities:id=${i}`));
  const rows: string[][] = [];
  for (const spread of ["all different", "Zipf 1.0 of a million"]) {
    for (const { slots, rows: perDependency } of shapes) {
      const versions = createVersions(1, { slots, rows: perDependency });
      const next = spread === "all different" ? undefined : zipf(1_000_000, 1, 9);
      let sequence = 0;
      const rates = seconds.map((until) => {
        while (sequence < until * 1_000) {
          sequence++;
          const row = next ? next() : sequence;
          const touched = hashDependencies(["id", "city_id", "user_id"].map((column) => `public.reports:${column}=${row}`));
          for (let i = 0; i < touched.length; i += 2) versions.bump(touched[i]!, touched[i + 1]!, sequence);
        }
        let mistakes = 0;
        for (let i = 0; i < untouched.length; i += 2) {
          if (!versions.mayServe(1, 0, untouched.subarray(i, i + 2))) mistakes++;
        }
        return (200 * mistakes) / untouched.length;
      });
      rows.push([
        `${spread}, ${perDependency} × 2^${Math.log2(slots)} (${(slots * perDependency * 4) / 2 ** 20} MiB)`,
        ...rates.map((rate) => `${rate.toFixed(2)} %`),
      ]);
    }
  }
  printTable(["invalidated by mistake, per dependency", ...seconds.map((each) => `${each} s`)], rows);
  return { seconds, rows };
}

/**
 * Hit ratios against peers, the cost of a hit, and mistakes of the versions. `--rows` sets the requests of a trace (default
 * 1,000,000).
 */
export async function run({ rounds = 7, rows: requests = 1_000_000 }: BenchOptions): Promise<unknown> {
  const caches: Record<string, CacheOf> = { millrace: tierOf, ...(await peers()) };
  const hits = compareHits(caches, requests);
  console.log();
  const nanos = await compareHitCost(caches, rounds);
  console.log();
  return { hits, nanos, mistakes: falseInvalidations() };
}
