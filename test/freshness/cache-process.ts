// What one process of a service has: a pool, the feed, and a cache over a Redis that it shares with the others. As a test has it in its own
// process, or in one that it can kill.

import { setTimeout as sleep } from "node:timers/promises";
import { type Cache, createCache, redisStore } from "millrace/cache";
import { type Database, createDatabase, sql } from "millrace/database";
import { type FeedHistoryMessage, type FreshnessOptions, createFreshness, feedHistoryChannel } from "millrace/freshness";
import { boundMs } from "./feed-recorder.ts";

export const schema = `
  create table reports (id int primary key, city_id int not null);
  insert into reports select n, 1 + n % 3 from generate_series(1, 30) n`;

export const countOf = (database: Database, city: number) => async () =>
  (await database.one(sql<{ n: number }>`select count(*)::int as n from reports where city_id = ${city}`)).n;

export interface CacheProcess extends AsyncDisposable {
  readonly cache: Cache;
  readonly database: Database;
  readonly freshness: Awaited<ReturnType<typeof createFreshness>>;
  /** One read of how many reports a city has. */
  read(city: number): ReturnType<Cache["read"]>;
  /** Reads until the answers of all cities are kept: the first read of a table only makes the feed follow it. */
  warm(): Promise<void>;
}

/** @param historyTaken waits, before anything is read, until a history was taken over (or was of no use) */
export async function openCacheProcess(
  url: string,
  redis: string,
  options: Partial<FreshnessOptions> = {},
  historyTaken = false,
): Promise<CacheProcess & { readonly history: FeedHistoryMessage | undefined }> {
  const message = historyTaken ? feedHistoryChannel.next(() => true, AbortSignal.timeout(boundMs)) : undefined;
  const database = await createDatabase({ url });
  const freshness = await createFreshness({ database, history: true, ...options });
  const store = redisStore({ url: redis, timeout: "10s" });
  const cache = createCache({ ledger: freshness.ledger, store });
  await freshness.ready();
  const history = await message;
  const read = (city: number) => cache.read(`reports of ${city}`, { ttl: "10m" }, countOf(database, city));
  return {
    cache,
    database,
    freshness,
    history,
    read,
    async warm() {
      const endMs = performance.now() + boundMs;
      for (const city of [1, 2, 3]) {
        for (let hits = 0; ;) {
          const { state, reason, refusal } = await read(city);
          if (state === "hit") {
            if ((await cache.why(`reports of ${city}`)).tiers.includes("store")) break;
            // The store may have refused it, for a lease that was given to somebody else: it is filled again.
            if (++hits % 50 === 0) await cache.invalidate(`reports of ${city}`);
          }
          if (performance.now() > endMs) throw new Error(`City ${city} is not kept: ${reason ?? refusal ?? state}`);
          await sleep(10);
        }
      }
    },
    async [Symbol.asyncDispose]() {
      await cache.close();
      await store.close();
      await freshness.close();
      await database.close();
    },
  };
}
