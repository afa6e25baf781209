// The shared store on real memcached servers, one and three: leases, fencing, faults; and on servers that talk nonsense.

import assert from "node:assert/strict";
import { type AddressInfo, type Socket, createServer } from "node:net";
import { after, before, suite, test } from "node:test";
import { type Store, memcachedStore, withBreaker } from "../../src/cache/index.ts";
import { storeContract } from "../../src/testing/index.ts";
import { type TestMemcached, testMemcached } from "../harness/memcached.ts";
import { eventually } from "../harness/patience.ts";

const minute = { ttlMs: 60_000 };
const lease = { leaseMs: 60_000 };
const unavailable = { code: "MILLRACE_CACHE_STORE_UNAVAILABLE", retryable: true };
const bytesOf = (text: string) => Buffer.from(text);

async function tokenOf(store: Store, key: string, options: { leaseMs: number; not?: string } = lease): Promise<string> {
  const claim = await store.claim(key, options);
  assert.equal(claim.kind, "lease");
  return claim.kind === "lease" ? claim.token : "";
}

const patient = (server: TestMemcached) => memcachedStore({ url: server.address, timeout: "20s", silenceTimeout: "20s" });
const works = (store: Store) =>
  store.get("k").then(
    () => true,
    () => false,
  );

const storeOn = (started: readonly TestMemcached[]) =>
  started.length === 1
    ? patient(started[0]!)
    : memcachedStore({ servers: started.map(({ address }) => address), timeout: "20s", silenceTimeout: "20s" });

async function servers(count: number) {
  const started = await Promise.all(Array.from({ length: count }, () => testMemcached()));
  const store = storeOn(started);
  return {
    started,
    store,
    async [Symbol.asyncDispose]() {
      await store.close();
      for (const server of started) await server[Symbol.asyncDispose]();
    },
  };
}

for (const count of [1, 3]) {
  suite(`the contract on memcached, servers: ${count}`, () => {
    let all: Awaited<ReturnType<typeof servers>>;
    before(async () => (all = await servers(count)));
    after(() => all[Symbol.asyncDispose]());
    storeContract(`memcached (${count})`, async () => storeOn(all.started), { refusesFromBytes: 2 ** 20 - 1023 });
  });

  suite(`a memcached store on ${count} server${count > 1 ? "s" : ""}`, () => {
    test("one of many claims gets the lease; the others hear that it is given, and then the value", async () => {
      await using all = await servers(count);
      const claims = await Promise.all(Array.from({ length: 200 }, () => all.store.claim("k", lease)));
      assert.equal(claims.filter(({ kind }) => kind === "lease").length, 1);
      assert.equal(claims.filter(({ kind }) => kind === "busy").length, 199);
      const { token } = claims.find((claim) => claim.kind === "lease")!;
      assert.equal(await all.store.get("k"), undefined); // the stub of the lease is no value
      assert.equal(await all.store.set("k", bytesOf("filled"), { ...minute, token }), true);
      const claim = await all.store.claim("k", lease);
      assert.equal(claim.kind === "value" && Buffer.from(claim.stored.bytes).toString(), "filled");
    });

    test("of many who cannot use a value one refreshes it", async () => {
      await using all = await servers(count);
      await all.store.set("k", bytesOf("old"), minute);
      const { version } = (await all.store.get("k"))!;
      const claims = await Promise.all(Array.from({ length: 100 }, () => all.store.claim("k", { ...lease, not: version })));
      assert.equal(claims.filter(({ kind }) => kind === "lease").length, 1);
      assert.equal(claims.filter(({ kind }) => kind === "busy").length, 99);
    });

    test("refuses what is too large, by its own limit and by the server's, and the connection goes on", async () => {
      await using all = await servers(count);
      await using bold = memcachedStore({
        servers: all.started.map(({ address }) => address),
        maxBytes: 4 * 2 ** 20,
        timeout: "20s",
        silenceTimeout: "20s",
        connections: 1,
      });
      for (const store of [all.store, bold]) {
        const token = await tokenOf(store, "k");
        assert.equal(await store.set("k", new Uint8Array(2 ** 20), { ...minute, token }), false);
        assert.equal(await store.set("k", bytesOf("fits"), { ...minute, token: await tokenOf(store, "k") }), true);
        await store.delete("k");
      }
    });

    test("flush_all at any moment is a miss, and a lease that was flushed is lost", async () => {
      await using all = await servers(count);
      await all.store.set("k", bytesOf("v"), minute);
      const token = await tokenOf(all.store, "other");
      // It works at the next tick of the server's clock.
      await eventually("flushed", async () => {
        for (const server of all.started) await server.line("flush_all");
        return (await all.store.get("k")) === undefined;
      });
      assert.equal(await all.store.set("other", bytesOf("late"), { ...minute, token }), false);
    });
  });
}

suite("memcached servers that fail", () => {
  test("a dead server is an error under the contract's code, and one that returns is used again", async () => {
    await using server = await testMemcached();
    await using store = patient(server);
    await store.set("k", bytesOf("v"), minute);
    await server.kill();
    await assert.rejects(store.get("k"), unavailable);
    await assert.rejects(store.claim("k", lease), unavailable);
    await assert.rejects(store.set("k", bytesOf("v"), minute), unavailable);
    await server.start();
    await eventually("it is used again", () => works(store));
    assert.equal(await store.get("k"), undefined);
  });

  test("behind a breaker: stopped with SIGSTOP it fails once, and resumed it comes back", async () => {
    await using server = await testMemcached();
    await using store = withBreaker(patient(server), { timeout: "200ms", openFor: "20ms", maxOpenFor: "50ms" });
    assert.equal(await works(store), true);
    await server.pause();
    await Promise.all(Array.from({ length: 100 }, (_, i) => assert.rejects(store.claim(`k${i}`, lease), unavailable)));
    assert.ok(store.errors >= 1 && store.errors <= 3, `${store.errors} errors of 100 calls`);
    server.resume();
    await eventually("it is used again", () => works(store));
    // The leases that it gave when nobody waited any more were given back.
    await eventually("no lease is left", async () => (await store.claim("k99", lease)).kind === "lease");
  });

  test("of three, one that is away costs its own keys and no others", async () => {
    await using all = await servers(3);
    const keys = Array.from({ length: 60 }, (_, i) => `key-${i}`);
    for (const key of keys) await all.store.set(key, bytesOf(key), minute);
    const holding = await Promise.all(all.started.map((server) => server.line("stats").then(() => server)));
    assert.equal(holding.length, 3);
    await all.started[1]!.kill();
    let found: string[] = [];
    await eventually("its keys are missing and none fails", async () => {
      const got = await Promise.allSettled(keys.map((key) => all.store.get(key)));
      if (got.some(({ status }) => status === "rejected")) return false;
      found = keys.filter((_, i) => (got[i] as PromiseFulfilledResult<unknown>).value !== undefined);
      return found.length < keys.length;
    });
    assert.ok(found.length >= 20, `${found.length} of 60 are still there`);
    const missing = keys.find((key) => !found.includes(key))!;
    assert.equal((await all.store.claim(missing, lease)).kind, "lease");
    assert.equal(await all.store.set(missing, bytesOf("v"), { ...minute, token: "n1" }), false);
    await all.started[0]!.kill();
    await all.started[2]!.kill();
    await eventually("the whole store is away", async () => {
      const got = await Promise.allSettled(keys.map((key) => all.store.get(key)));
      return got.every(({ status }) => status === "rejected");
    });
  });

  test("nonsense from a server ends the connection and fails who waits; the process and the store go on", async () => {
    const answers = [
      "HTTP/1.1 400 Bad Request\r\n\r\n",
      "VA 5 c1 f1 Ox\r\nab",
      "EN Owrong\r\n",
      "\0\r\n",
      "VA 999999999 O1\r\n",
      "",
    ];
    let connections = 0;
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      const answer = answers[connections++ % answers.length]!;
      socket.on("error", () => {});
      socket.on("data", () => socket.end(answer));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    await using store = memcachedStore({
      url: `127.0.0.1:${(server.address() as AddressInfo).port}`,
      connections: 1,
      timeout: "20s",
    });
    const refusedAtOnce = new Set<string>();
    await eventually("every answer was given", async () => {
      const error = await store.get("k").then(
        () => assert.fail("it was taken for an answer"),
        (failure: Error) => failure,
      );
      assert.equal((error as { code?: string }).code, unavailable.code);
      refusedAtOnce.add(error.message);
      return connections >= answers.length;
    });
    assert.ok(refusedAtOnce.size >= 4, [...refusedAtOnce].join("\n"));
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
});
