// What may happen to the Redis that processes share, under the whole stack. Redis says nothing about freshness, so nothing that becomes of it
// may make an answer old: neither while it is away nor by what it still, or again, holds afterwards. Without a memory tier every answer
// is the store's or a fill's.

import assert from "node:assert/strict";
import { test } from "node:test";
import pg from "pg";
import { createCache, redisStore } from "millrace/cache";
import { createDatabase, sql } from "millrace/database";
import { createFreshness } from "millrace/freshness";
import { eventually } from "../harness/patience.ts";
import { testDatabase } from "../harness/postgres.ts";
import { type TestRedis, testRedis } from "../harness/redis.ts";
import { startProxy } from "./schedules/proxy.ts";

const boundMs = 1_000;
const keys = ["a", "b", "c"];

async function openProcess(url: string, redisUrl: string) {
  const database = await createDatabase({ url });
  const freshness = await createFreshness({ database, bound: `${boundMs}ms` });
  const store = redisStore({ url: redisUrl });
  const cache = createCache({ ledger: freshness.ledger, store, memory: false });
  await freshness.ready();
  const read = async (key: string) =>
    cache.read(
      key,
      { ttl: "10m", stale: "10m" },
      async () => (await database.one(sql<{ n: number }>`select sum(v)::int as n from items`)).n,
    );
  return {
    read,
    async [Symbol.asyncDispose]() {
      await cache.close();
      await store.close();
      await freshness.close();
      await database.close();
    },
  };
}

interface World extends AsyncDisposable {
  readonly redis: TestRedis;
  /** Where connections to Redis lead: to another server from the next connection on. */
  leadTo(redis: TestRedis): void;
  cut(): void;
  /** Another program writes; returns when it is committed. */
  write(): Promise<void>;
  /** Each process reads each key, often: never an error, never what was overwritten longer ago than the bound. */
  readAll(): Promise<void>;
  /** Until both processes get every answer from the store again. */
  shared(): Promise<void>;
}

async function openWorld(): Promise<World> {
  const stack = new AsyncDisposableStack();
  const scratch = stack.use(await testDatabase());
  const redis = stack.use(await testRedis());
  const target = { host: "127.0.0.1", port: redis.port };
  const relay = stack.use(await startProxy(target));
  const client = new pg.Client(scratch.url);
  await client.connect();
  stack.defer(() => client.end());
  await client.query("create table items (id int primary key, v int not null); insert into items values (1, 0), (2, 0)");
  const redisUrl = `redis://127.0.0.1:${relay.port}`;
  const processes = [
    stack.use(await openProcess(scratch.url, redisUrl)),
    stack.use(await openProcess(scratch.url, redisUrl)),
  ] as const;
  /** When each value was committed, by the value. */
  const committedAtMs = [performance.now()];
  const readAll = async (): Promise<void> => {
    for (const { read } of processes) {
      for (const key of keys) {
        const askedAtMs = performance.now();
        const { value, state, tier } = await read(key);
        const successorAtMs = committedAtMs[value + 1];
        if (successorAtMs === undefined) continue;
        const overdueMs = askedAtMs - boundMs - successorAtMs;
        assert.ok(overdueMs <= 0, `${value} (${state}, ${tier}) was overwritten ${(overdueMs + boundMs).toFixed(0)} ms before`);
      }
    }
  };
  return {
    redis,
    leadTo: ({ port }) => void (target.port = port),
    cut: () => {
      relay.cut();
      relay.restore();
    },
    async write() {
      await client.query("update items set v = v + 1 where id = 1");
      committedAtMs.push(performance.now());
    },
    readAll,
    shared: () =>
      eventually("both processes have their answers from the store", async () => {
        await readAll();
        const found = await Promise.all(processes.flatMap(({ read }) => keys.map(async (key) => read(key))));
        return found.every(({ state, tier, value }) => state === "hit" && tier === "store" && value === committedAtMs.length - 1);
      }).then(() => undefined),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Writes and reads for longer than the bound. */
async function goOn(world: World): Promise<void> {
  const untilMs = performance.now() + 1.5 * boundMs;
  while (performance.now() < untilMs) {
    await world.write();
    await world.readAll();
  }
}

test("Redis is killed, and comes back empty", async () => {
  await using world = await openWorld();
  await world.shared();
  await world.redis.kill();
  await goOn(world);
  await world.redis.start();
  await world.shared();
  await world.write();
  await world.shared();
});

test("Redis is stopped, and goes on with all that it held", async () => {
  await using world = await openWorld();
  await world.shared();
  await world.redis.pause();
  await goOn(world);
  world.redis.resume();
  await world.shared();
});

test("Redis is flushed again and again", async () => {
  await using world = await openWorld();
  await world.shared();
  for (let i = 0; i < 10; i++) {
    await world.redis.command("flushall");
    await world.write();
    await world.readAll();
  }
  await world.shared();
});

test("Redis fails over to a replica that has missed the last writes: what it still holds is not served", async () => {
  await using replica = await testRedis();
  await using world = await openWorld();
  await world.shared();
  await replica.command("replicaof", "127.0.0.1", world.redis.port);
  await eventually("the replica has everything", async () => {
    const keysOf = async (redis: TestRedis) => Number(await redis.command("dbsize"));
    return (
      (await keysOf(replica)) >= keys.length && String(await replica.command("info", "replication")).includes("link_status:up")
    );
  });
  // From here on the replica hears nothing: its entries are of before these writes.
  await replica.command("replicaof", "no", "one");
  for (let i = 0; i < 3; i++) {
    await world.write();
    await world.shared();
  }
  await world.redis.kill();
  world.leadTo(replica);
  world.cut();
  await goOn(world);
  await world.shared();
});
