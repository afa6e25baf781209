// A hit in memory with five dependencies that are judged, against caches that judge nothing. In process. Over PostgreSQL's ledger with a
// feed and a pool that are made up: what a hit asks of them is nothing.

import { type Cache, createCache, createLocalLedger, hashDependencies } from "../../src/cache/index.ts";
import { systemClock } from "../../src/core/index.ts";
import type { Pool } from "../../src/database/index.ts";
import type { Feed } from "../../src/freshness/feed.ts";
import type { CatalogueKeeper } from "../../src/freshness/ledger/catalogue-keeper.ts";
import { FreshnessLedger } from "../../src/freshness/ledger/ledger.ts";
import { snapshotRule } from "../../src/freshness/ledger/rule.ts";
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

/** A ledger over PostgreSQL as if one commit after the other came in; `commit` brings the next. */
async function overFeed() {
  let number = 1_000_000; // as positions in a log are
  const ledger = new FreshnessLedger({
    pool: { run: async () => ({ rows: [["10:10:", false, "one server"]] }) } as unknown as Pool,
    catalogue: { namespace: "bench", changed: () => {}, settled: async () => {} } as unknown as CatalogueKeeper,
    boundMs: 60_000,
    sampleShareMs: 5,
    sampleTimeoutMs: 1_000,
    versions: {},
    rule: snapshotRule,
    clock: systemClock,
  });
  const feed = { mark: async () => number, follow: () => {}, refusalOf: () => undefined } as unknown as Feed;
  ledger.onRestart({ generation: 1, floor: number, horizon: 0n });
  ledger.start(feed);
  ledger.onCommits([], number);
  await ledger.ready();
  const cache = createCache({ ledger });
  for (let i = 0; i < keys; i++) await cache.get(keyOf(i), { ttl: "1h", depends: dependsOf(i) }, () => valueOf(i));
  let row = 0;
  const commit = () => {
    const dependencies = hashDependencies([`public.observations`, `public.observations:id=${row++ % 100_000}`]);
    ledger.onCommits([{ number: ++number, xid: 1n, dependencies, everything: false }], number);
  };
  for (let i = 0; i < 20_000; i++) commit();
  return { cache, ledger, commit };
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
  const feed = await overFeed();
  let hits = 0;
  const policy = { ttl: "1h" } as const;
  const never = () => undefined;
  const works: Record<string, LookUp> = {
    "millrace: read, 5 dependencies": (key) => cache.read(key, policy, never),
    "millrace: peek, 5 dependencies": (key) => cache.peek(key),
    "millrace: get, 5 dependencies": (key) => cache.get(key, policy, never),
    "millrace: read, over PostgreSQL's ledger": (key) => feed.cache.read(key, policy, never),
    "millrace: the same, a commit every 100 hits": (key) => {
      if (hits++ % 100 === 0) feed.commit();
      return feed.cache.read(key, policy, never);
    },
    ...(await peers()),
  };
  let state = 1;
  // Without those that the writes have invalidated by mistake (less than 1 %).
  const fresh = Array.from({ length: keys }, (_, i) => keyOf(i)).filter((key) => cache.peek(key) && feed.cache.peek(key));
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
  await feed.cache.close();
  feed.ledger.stop();
  return samples;
}
