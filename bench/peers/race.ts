// One process of the race scenario: a cache of some library in front of one row of PostgreSQL. The scenario says when to read, when to
// invalidate, and when a fill that has read the row may go on.

import { createRequire } from "node:module";
import pg from "pg";

export interface RaceOptions {
  readonly peer: string;
  readonly databaseUrl: string;
  /** Undefined: one process, memory alone. */
  readonly redisUrl: string | undefined;
}

/** What every library must do, by its own means. */
interface RaceCache {
  /** The value under the key, by `fill` if there is none. */
  get(fill: () => Promise<number>): Promise<number | undefined>;
  /** What its documentation says to call after a write. Undefined: nobody needs to. */
  readonly invalidate?: () => Promise<unknown>;
}

export type ToRacer =
  | { readonly kind: "get"; readonly call: number; /** The fill waits after its query until "go on". */ readonly held: boolean }
  | { readonly kind: "go on" }
  | { readonly kind: "invalidate"; readonly call: number };

export type FromRacer =
  | { readonly kind: "ready" }
  | { readonly kind: "has read" }
  | {
      readonly kind: "answer";
      readonly call: number;
      readonly value: number | undefined;
      /** Whether a fill ran for it. */
      readonly filled: boolean;
    };

const key = "row:1";
const ttlMs = 60_000;

/** By name: how it is made, in one process and in several. */
const caches: Record<string, (options: RaceOptions) => Promise<RaceCache>> = {
  async bentocache({ redisUrl }) {
    const { BentoCache, bentostore } = await import("bentocache");
    const { memoryDriver } = await import("bentocache/drivers/memory");
    const { redisDriver, redisBusDriver } = await import("bentocache/drivers/redis");
    let store = bentostore().useL1Layer(memoryDriver({ maxSize: "10mb" }));
    if (redisUrl) {
      const { hostname: host, port } = new URL(redisUrl);
      const connection = { host, port: Number(port) };
      store = store.useL2Layer(redisDriver({ connection })).useBus(redisBusDriver({ connection }));
    }
    const bento = new BentoCache({ default: "rows", stores: { rows: store } });
    return {
      get: (fill) => bento.getOrSet({ key, factory: fill, ttl: ttlMs }),
      invalidate: () => bento.delete({ key }),
    };
  },
  async cacheable({ redisUrl }) {
    const { Cacheable } = await import("cacheable");
    const { createKeyv } = await import("@keyv/redis");
    const { createQified } = await import("@qified/redis");
    const cache = redisUrl
      ? new Cacheable({ secondary: createKeyv(redisUrl), sync: { qified: createQified({ uri: redisUrl }) }, ttl: ttlMs })
      : new Cacheable({ ttl: ttlMs });
    return {
      get: (fill) => cache.getOrSet(key, fill, { ttl: ttlMs }),
      invalidate: () => cache.delete(key),
    };
  },
  async "cache-manager"({ redisUrl }) {
    const { createCache } = await import("cache-manager");
    const { createKeyv, Keyv } = await import("@keyv/redis");
    const cache = createCache({ stores: redisUrl ? [new Keyv(), createKeyv(redisUrl)] : [new Keyv()], ttl: ttlMs });
    return { get: (fill) => cache.wrap(key, fill, ttlMs), invalidate: () => cache.del(key) };
  },
  async cachified({ redisUrl }) {
    const { cachified } = await import("@epic-web/cachified");
    const cache = redisUrl ? await redisForCachified(redisUrl) : new Map();
    return {
      get: (fill) => cachified<number>({ key, cache, getFreshValue: fill, ttl: ttlMs }),
      invalidate: async () => cache.delete(key),
    };
  },
  async "async-cache-dedupe"({ redisUrl }) {
    const { createCache } = createRequire(import.meta.url)("async-cache-dedupe") as typeof import("async-cache-dedupe");
    const { Redis } = await import("ioredis");
    let next: () => Promise<number> = () => Promise.reject(new Error("no fill"));
    const cache = createCache({
      ttl: ttlMs / 1_000,
      storage: redisUrl
        ? { type: "redis", options: { client: new Redis(redisUrl), invalidation: { referencesTTL: ttlMs / 1_000 } } }
        : { type: "memory", options: { invalidation: true } },
    }).define("row", { references: () => [key] }, () => next());
    return {
      get(fill) {
        next = fill;
        return (cache as unknown as { row(id: number): Promise<number> }).row(1);
      },
      invalidate: () => cache.invalidateAll(key),
    };
  },
  /** Ours without the change feed: told by hand, like the others. One process. */
  async "millrace, told by hand"() {
    const { createCache } = await import("../../src/cache/index.ts");
    const cache = createCache();
    return {
      get: (fill) => cache.get(key, { ttl: "1m", depends: [key] }, fill),
      invalidate: () => cache.invalidate(key),
    };
  },
};

/** What people write: the adapter of cachified's documentation over their Redis. */
async function redisForCachified(url: string) {
  const { Redis } = await import("ioredis");
  const client = new Redis(url);
  return {
    async get(name: string) {
      const text = await client.get(name);
      return text === null ? null : JSON.parse(text);
    },
    set: (name: string, value: unknown) => client.set(name, JSON.stringify(value), "PX", ttlMs),
    delete: (name: string) => client.del(name),
  };
}

/** Ours with the feed: the fill's query goes through the kit's pool, and nobody invalidates. */
async function watched({ databaseUrl, redisUrl }: RaceOptions) {
  const { createCache, redisStore } = await import("../../src/cache/index.ts");
  const { createDatabase, sql } = await import("../../src/database/index.ts");
  const { createFreshness } = await import("../../src/freshness/index.ts");
  const database = await createDatabase({ url: databaseUrl, cursorSecret: "race race race race race race race race" });
  const freshness = await createFreshness({ database, allowUnboundedSlot: true });
  const cache = createCache({ ledger: freshness.ledger, ...(redisUrl && { store: redisStore({ url: redisUrl }) }) });
  await freshness.ready();
  const read = async (): Promise<number> => (await database.one<{ v: number }>(sql`select v from race where id = ${1}`)).v;
  const ours: RaceCache = { get: (fill) => cache.get(key, { ttl: "1m" }, fill) };
  return { cache: ours, read };
}

async function others(options: RaceOptions) {
  const pool = new pg.Pool({ connectionString: options.databaseUrl, max: 2 });
  const read = async (): Promise<number> => (await pool.query<{ v: number }>("select v from race where id = 1")).rows[0]!.v;
  return { cache: await caches[options.peer]!(options), read };
}

const options = JSON.parse(process.argv[2]!) as RaceOptions;
process.once("disconnect", () => process.exit());
const { cache, read } = options.peer === "millrace" ? await watched(options) : await others(options);
const say = (message: FromRacer): void => void process.send!(message);

let goOn = (): void => {};
process.on("message", (message: ToRacer) => void answer(message));

async function answer(message: ToRacer): Promise<void> {
  if (message.kind === "go on") {
    goOn();
    return;
  }
  if (message.kind === "invalidate") {
    await cache.invalidate?.();
    say({ kind: "answer", call: message.call, value: undefined, filled: false });
    return;
  }
  let filled = false;
  const value = await cache.get(async () => {
    filled = true;
    const found = await read();
    if (message.held) {
      const released = new Promise<void>((resolve) => (goOn = resolve));
      say({ kind: "has read" });
      await released;
    }
    return found;
  });
  say({ kind: "answer", call: message.call, value, filled });
}
say({ kind: "ready" });
