// The shared store on real Redis servers: leases, fencing, faults.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, suite, test } from "node:test";
import { Redis } from "ioredis";
import { type Store, redisStore, storeBreakerChannel, withBreaker } from "../../src/cache/index.ts";
import { taggedKey } from "../../src/redis/index.ts";
import { storeContract } from "../../src/testing/index.ts";
import { eventually } from "../harness/patience.ts";
import { type TestRedis, testRedis, testRedisCluster } from "../harness/redis.ts";

const minute = { ttlMs: 60_000 };
const lease = { leaseMs: 60_000 };
const unavailable = { code: "MILLRACE_CACHE_STORE_UNAVAILABLE", retryable: true };
const valueKeyOf = (key: string): string => `${taggedKey("millrace:", key)}:v`;
const bytesOf = (text: string) => Buffer.from(text);

async function tokenOf(store: Store, key: string, options: { leaseMs: number; not?: string } = lease): Promise<string> {
  const claim = await store.claim(key, options);
  assert.equal(claim.kind, "lease");
  return claim.kind === "lease" ? claim.token : "";
}

/** A store without a hurry: the machine that runs tests may be slow. */
const patient = (server: TestRedis) => redisStore({ url: server.url, timeout: "20s" });

suite("the contract on Redis", () => {
  let server: TestRedis;
  before(async () => (server = await testRedis()));
  after(() => server[Symbol.asyncDispose]());
  storeContract("Redis", async () => patient(server), { briefMs: 200, refusesFromBytes: 8 * 2 ** 20 + 1 });
});

suite("a Redis store", () => {
  test("one of many claims gets the lease, in one round trip each", async () => {
    await using server = await testRedis();
    await using one = patient(server);
    await using other = patient(server);
    const claims = await Promise.all(Array.from({ length: 200 }, (_, i) => (i % 2 ? one : other).claim("k", lease)));
    const kinds = claims.map(({ kind }) => kind);
    assert.equal(kinds.filter((kind) => kind === "lease").length, 1);
    assert.equal(kinds.filter((kind) => kind === "busy").length, 199);
    const { token } = claims.find((claim) => claim.kind === "lease")!;
    assert.equal(await other.set("k", bytesOf("filled"), { ...minute, token }), true);
    const claim = await one.claim("k", lease);
    assert.equal(claim.kind === "value" && Buffer.from(claim.stored.bytes).toString(), "filled");
    const commands = String(await server.command("info", "commandstats"));
    assert.match(commands, /cmdstat_evalsha:calls=\d+/);
    assert.doesNotMatch(commands, /cmdstat_(?:watch|multi)/);
  });

  test("lets a value live for whole milliseconds, never shorter than it was asked to", async () => {
    await using server = await testRedis();
    await using store = patient(server);
    await store.set("k", bytesOf("longer"), { ttlMs: 40_000.5 });
    const left = Number(await server.command("pttl", "millrace:{k}:v"));
    assert.ok(left > 0 && left <= 40_001, `${left}`);
  });

  test("refuses what is larger than it takes, and gives the lease back", async () => {
    await using server = await testRedis();
    await using store = redisStore({ url: server.url, maxBytes: 100, timeout: "20s" });
    const token = await tokenOf(store, "k");
    assert.equal(await store.set("k", new Uint8Array(101), { ...minute, token }), false);
    assert.equal(await store.set("k", new Uint8Array(100), { ...minute, token: await tokenOf(store, "k") }), true);
  });

  test("a server that is full and may not evict refuses a value and is not taken for dead", async () => {
    await using server = await testRedis();
    await using store = patient(server);
    const token = await tokenOf(store, "k");
    await server.command("config", "set", "maxmemory", "1mb");
    assert.equal(await store.set("k", randomBytes(1_000_000), { ...minute, token }), false);
    assert.equal(await store.set("k", randomBytes(1_000_000), minute), false);
    assert.equal(await store.get("k"), undefined);
  });

  test("eviction and FLUSHALL at any moment are misses, and a lease that was flushed is lost", async () => {
    await using server = await testRedis();
    await using store = patient(server);
    await store.set("k", bytesOf("v"), minute);
    const token = await tokenOf(store, "other");
    await server.command("flushall");
    assert.equal(await store.get("k"), undefined);
    assert.equal(await store.set("other", bytesOf("late"), { ...minute, token }), false);
    const again = await tokenOf(store, "other");
    assert.equal(await store.set("other", bytesOf("v"), { ...minute, token: again }), true);
  });

  test("works on a cluster: value and lease are in one slot, whatever the key", async () => {
    await using cluster = await testRedisCluster();
    using client = cluster.client();
    await using store = redisStore({ client, timeout: "20s" });
    await eventually("connected", () => client.status === "ready");
    const owners = new Set<TestRedis>();
    for (const key of ["", "}", "a}b", "{x}y", "plain", "1", "2", "3"]) {
      const token = await tokenOf(store, key);
      assert.equal(await store.set(key, bytesOf(key), { ...minute, token }), true);
      const claim = await store.claim(key, lease);
      assert.equal(claim.kind === "value" && Buffer.from(claim.stored.bytes).toString(), key);
      owners.add(await cluster.ownerOf(valueKeyOf(key)));
    }
    assert.equal(owners.size, 3, "the keys of this test are on all nodes");
  });

  test("a slot that moves to another node takes value and lease along; a node that dies costs its own slots", async () => {
    await using cluster = await testRedisCluster();
    using client = cluster.client();
    await using store = redisStore({ client, timeout: "20s" });
    await eventually("connected", () => client.status === "ready");
    await store.set("kept", bytesOf("v"), minute);
    const token = await tokenOf(store, "leased");
    for (const key of ["kept", "leased"]) {
      const before = await cluster.ownerOf(valueKeyOf(key));
      assert.notEqual(await cluster.moveSlotOf(valueKeyOf(key)), before);
    }
    assert.equal(Buffer.from((await store.get("kept"))!.bytes).toString(), "v");
    assert.equal((await store.claim("leased", lease)).kind, "busy");
    assert.equal(await store.set("leased", bytesOf("v"), { ...minute, token }), true);

    const dead = await cluster.ownerOf(valueKeyOf("kept"));
    await dead.kill();
    await using impatient = redisStore({ client, timeout: "200ms" });
    await assert.rejects(impatient.get("kept"), unavailable);
    for (const key of ["1", "2", "3", "4", "5", "6"]) {
      if ((await cluster.ownerOf(valueKeyOf(key))) === dead) continue;
      assert.equal(await store.set(key, bytesOf(key), minute), true);
      assert.equal(Buffer.from((await store.get(key))!.bytes).toString(), key);
    }
  });

  test("a primary that has become a replica is left, and the promoted one goes on without the lease", async () => {
    await using primary = await testRedis();
    await using replica = await testRedis();
    await replica.command("replicaof", "127.0.0.1", primary.port);
    await eventually("replicating", async () => /master_link_status:up/.test(String(await replica.command("info", "replication"))));
    await using store = patient(primary);
    await store.set("k", bytesOf("v"), minute);
    await eventually("replicated", async () => (await replica.command("exists", "millrace:{k}:v")) === 1);
    await replica.command("replicaof", "no", "one");
    await primary.command("replicaof", "127.0.0.1", replica.port);
    await assert.rejects(async () => {
      for (;;) await store.set("k", bytesOf("to a replica"), minute);
    }, unavailable);
    await using promoted = patient(replica);
    assert.equal(Buffer.from((await promoted.get("k"))!.bytes).toString(), "v");
    await tokenOf(promoted, "other");
  });

  test("a dead server is an error under the contract's code, and a server that returns is used again", async () => {
    await using server = await testRedis();
    await using store = patient(server);
    await store.set("k", bytesOf("v"), minute);
    await server.kill();
    await assert.rejects(store.get("k"), unavailable);
    await assert.rejects(store.claim("k", lease), unavailable);
    await assert.rejects(store.set("k", bytesOf("v"), minute), unavailable);
    await server.start();
    await eventually("it is used again", () =>
      store.get("k").then(
        () => true,
        () => false,
      ),
    );
    await tokenOf(store, "k");
  });

  test("a store that was never there is an error too, and does not keep anybody waiting", async () => {
    await using store = redisStore({ url: "redis://127.0.0.1:1" });
    await assert.rejects(store.get("k"), unavailable);
  });

  test("behind a breaker: stopped with SIGSTOP it fails once, resumed it comes back, and no lease is left over", async () => {
    await using server = await testRedis();
    const client = new Redis(server.port, "127.0.0.1");
    using _disconnect = { [Symbol.dispose]: () => client.disconnect() };
    await using store = withBreaker(redisStore({ client, timeout: "20s" }), {
      timeout: "200ms",
      openFor: "20ms",
      maxOpenFor: "50ms",
    });
    await eventually("connected", () =>
      store.get("k").then(
        () => true,
        () => false,
      ),
    );
    await server.pause();
    await Promise.all(Array.from({ length: 100 }, (_, i) => assert.rejects(store.claim(`k${i}`, lease), unavailable)));
    assert.notEqual(store.state, "closed");
    const errors = store.errors;
    assert.ok(errors >= 1 && errors <= 3, `${errors} errors of 100 calls`);
    const closed = storeBreakerChannel.next(({ state }) => state === "closed", AbortSignal.timeout(20_000));
    server.resume();
    await eventually("it is probed", async () => {
      await store.get("k").catch(() => {});
      return store.state === "closed";
    });
    await closed;
    // The claims of before were carried out when it went on; their leases were given back.
    await eventually("no lease is left", async () => ((await server.command("keys", "*:l")) as unknown[]).length === 0);
  });
});
