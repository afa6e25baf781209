// A hit in memory with five dependencies that are judged, against caches that judge nothing. In process.

import { type Cache, createCache, createLocalLedger } from "../../src/cache/index.ts";
import type { BenchOptions } from "../harness/options.ts";
import { interleave, median, printTable } from "../harness/rounds.ts";

const keys = 10_000;
const lookUps = 200_000;

const keyOf = (i: number) => `report:${i}`;
const valueOf = (i: number) => ({ id: i, city: "Zürich", temperature: 21.5 });
const dependsOf = (i: number) => ["city_id", "user_id", "station_id", "id", "tenant_id"].map((column) => `reports:${column}=${i}`);

/** One after the other, as awaited look-ups are; returns how many found something. */
type LookUp = (key: string) => unknown;

async function filled(): Promise<Cache> {
  const ledger = createLocalLedger({ slots: 2 ** 20 });
  const cache = createCache({ ledger });
  for (let i = 0; i < keys; i++) await cache.get(keyOf(i), { ttl: "1h", depends: dependsOf(i) }, () => valueOf(i));
  // Writes to other rows, so that the judge cannot say "nothing was written" at a glance.
  for (let i = 0; i < 20_000; i++) await ledger.invalidate([`observations:id=${i}`]);
  return cache;
}

async function peers(): Promise<Record<string, LookUp>> {
  const found: Record<string, LookUp> = {};
  const missing = (name: string) => console.log(`${name} is left out: it is not installed (npm ci --prefix bench).`);
  try {
    const { LRUCache } = await import("lru-cache");
    const cache = new LRUCache<string, object>({ max: keys * 2, ttl: 3_600_000 });
    for (let i = 0; i < keys; i++) cache.set(keyOf(i), valueOf(i));
    found["lru-cache: get (with ttl)"] = (key) => cache.get(key);
  } catch {
    missing("lru-cache");
  }
  try {
    const { createCache: createManager } = await import("cache-manager");
    const cache = createManager({ ttl: 3_600_000 });
    for (let i = 0; i < keys; i++) await cache.set(keyOf(i), valueOf(i));
    found["cache-manager: wrap"] = (key) => cache.wrap(key, () => undefined);
  } catch {
    missing("cache-manager");
  }
  try {
    const { BentoCache, bentostore } = await import("bentocache");
    const { memoryDriver } = await import("bentocache/drivers/memory");
    const cache = new BentoCache({
      default: "memory",
      stores: { memory: bentostore().useL1Layer(memoryDriver({ maxItems: keys * 2, serialize: false })) },
    });
    for (let i = 0; i < keys; i++) await cache.set({ key: keyOf(i), value: valueOf(i), ttl: "1h", tags: [] });
    found["bentocache: getOrSet"] = (key) => cache.getOrSet({ key, ttl: "1h", factory: () => undefined });
  } catch {
    missing("bentocache");
  }
  return found;
}

/** Microseconds of this thread's processor time per hit. */
export async function run({ rounds = 7, rows: count = lookUps, only }: BenchOptions): Promise<unknown> {
  const cache = await filled();
  const policy = { ttl: "1h" } as const;
  const never = () => undefined;
  const works: Record<string, LookUp> = {
    "millrace: read, 5 dependencies": (key) => cache.read(key, policy, never),
    "millrace: peek, 5 dependencies": (key) => cache.peek(key),
    "millrace: get, 5 dependencies": (key) => cache.get(key, policy, never),
    ...(await peers()),
  };
  let state = 1;
  // Without those that the writes have invalidated by mistake (less than 1 %).
  const fresh = Array.from({ length: keys }, (_, i) => keyOf(i)).filter((key) => cache.peek(key) !== undefined);
  const asked = Array.from({ length: count }, () => fresh[(state = (state * 48_271) % 2_147_483_647) % fresh.length]!);
  const candidates = Object.entries(works)
    .filter(([name]) => only === undefined || only.some((each) => name.startsWith(each)))
    .map(([name, lookUp]) => ({
      name,
      async measure() {
        let found = 0;
        const before = process.threadCpuUsage(); // not the clock: other work on the machine would count
        for (const key of asked) {
          const result = lookUp(key);
          if ((result instanceof Promise ? await result : result) !== undefined) found++;
        }
        const { user, system } = process.threadCpuUsage(before);
        if (found !== count) throw new Error(`${name} found ${found} of ${count}.`);
        return (user + system) / count;
      },
    }));
  for (const candidate of candidates) await candidate.measure(); // compiled code
  const samples = await interleave(candidates, rounds);
  const [base] = samples;
  printTable(
    ["µs per hit", "min", "median", "max", "to the first"],
    samples.map(({ name, values }) => [
      name,
      Math.min(...values).toFixed(3),
      median(values).toFixed(3),
      Math.max(...values).toFixed(3),
      `× ${median(values.map((value, round) => value / base!.values[round]!)).toFixed(2)}`,
    ]),
  );
  await cache.close();
  return samples;
}
