// Several caches over one store, as several processes have them: who fills, who waits, and what a store that fails costs.

import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { suite, test } from "node:test";
import { type ManualClock, createManualClock } from "../core/index.ts";
import { type Cache, type CacheOptions, type Store, createCache, createLocalLedger, memoryStore, withBreaker } from "./index.ts";

interface Cluster {
  readonly caches: readonly Cache[];
  readonly clock: ManualClock;
  readonly store: Store;
}

/** The ledger is shared, as the change feed is shared by processes. */
function clusterOf(count: number, options: CacheOptions = {}): Cluster {
  const clock = createManualClock();
  const ledger = createLocalLedger();
  const store = options.store ?? memoryStore({ clock });
  const one = () => createCache({ clock, ledger, random: () => 0.5, earlyRefresh: 0, ...options, store });
  return { caches: Array.from({ length: count }, one), clock, store };
}

/** Lets everything happen that is not a matter of time, moving the clock by 5 ms when that is not enough. */
async function until(clock: ManualClock, isDone: () => boolean): Promise<void> {
  for (let i = 0; i < 5_000 && !isDone(); i++) {
    for (let turns = 0; turns < 5; turns++) await turn();
    if (!isDone()) clock.advance(5);
  }
  assert.ok(isDone(), "it happens");
}

async function settledBy<Value>(clock: ManualClock, promise: Promise<Value>): Promise<Value> {
  let isDone = false;
  const done = promise.finally(() => (isDone = true));
  done.catch(() => {});
  await until(clock, () => isDone);
  return done;
}

suite("caches that share a store", () => {
  test("fill once for 10,000 requests of one key in three of them", async () => {
    const { caches, clock } = clusterOf(3);
    let fills = 0;
    const { promise: gate, resolve: open } = Promise.withResolvers<void>();
    const fill = async () => {
      fills++;
      await gate;
      return { answer: 42 };
    };
    const asked = Promise.all(Array.from({ length: 10_000 }, (_, i) => caches[i % 3]!.get("k", {}, fill)));
    await until(clock, () => fills === 1);
    open();
    const values = await settledBy(clock, asked);
    assert.ok(values.every(({ answer }) => answer === 42));
    assert.equal(fills, 1);
    for (const cache of caches) {
      assert.deepEqual(cache.peek("k")?.value, { answer: 42 });
      await cache.close();
    }
    assert.equal(clock.pendingTimers, 0);
  });

  test("do not serve what was invalidated, through whichever of them", async () => {
    const { caches, clock } = clusterOf(2);
    const [a, b] = caches as [Cache, Cache];
    await settledBy(
      clock,
      a.get("k", { tags: ["t"] }, () => "one"),
    );
    assert.equal(
      await settledBy(
        clock,
        b.get("k", {}, () => "never"),
      ),
      "one",
    );
    await b.invalidate("t");
    assert.equal(a.peek("k"), undefined);
    assert.equal(
      await settledBy(
        clock,
        a.get("k", {}, () => "two"),
      ),
      "two",
    );
    assert.equal(
      await settledBy(
        clock,
        b.get("k", {}, () => "never"),
      ),
      "two",
    );
  });

  test("fill at most twice when the one that fills dies", async () => {
    const { caches, clock } = clusterOf(3, { lease: "5s" });
    const [dead, b, c] = caches as [Cache, Cache, Cache];
    let fills = 0;
    void dead.get("k", { hardTimeout: "1h" }, () => {
      fills++;
      return new Promise<string>(() => {});
    });
    await until(clock, () => fills === 1);
    const others = Promise.all(
      [b, c].map((cache) =>
        cache.get("k", {}, () => {
          fills++;
          return "alive";
        }),
      ),
    );
    assert.deepEqual(await settledBy(clock, others), ["alive", "alive"]);
    assert.equal(fills, 2);
  });

  test("pass the lease on at once when a fill fails or may not be kept", async () => {
    const { caches, clock } = clusterOf(2);
    const [a, b] = caches as [Cache, Cache];
    const before = clock.monotonic();
    await assert.rejects(
      settledBy(
        clock,
        a.get("k", {}, () => Promise.reject(new Error("no"))),
      ),
      /no/,
    );
    assert.equal(
      await settledBy(
        clock,
        b.get("k", {}, (tools) => (tools.dontKeep("private"), 1)),
      ),
      1,
    );
    assert.equal(
      await settledBy(
        clock,
        a.get("k", {}, () => 2),
      ),
      2,
    );
    assert.ok(clock.monotonic() - before < 1_000);
  });

  test("find in the store what memory has lost, with its age, and values that are no JSON", async () => {
    const { caches, clock } = clusterOf(2, { memory: false });
    const [a, b] = caches as [Cache, Cache];
    const value = { at: new Date(7), list: new Map([[1, 2n]]) };
    await settledBy(
      clock,
      a.get("k", { ttl: "1m" }, () => value),
    );
    await settledBy(
      clock,
      a.get("n", { ttl: "1m" }, () => null),
    );
    clock.advance(10_000);
    const found = await settledBy(clock, Promise.resolve(b.read("k", {}, () => value)));
    assert.deepEqual([found.state, found.tier, found.value], ["hit", "store", value]);
    assert.ok(found.ageMs >= 10_000 && found.ageMs < 11_000, `${found.ageMs}`);
    const why = await settledBy(clock, b.why("k"));
    assert.deepEqual([why.tiers, why.verdict, why.dependencies], [["store"], "hit", ["k", "*"]]);
    clock.advance(60_000);
    assert.equal((await settledBy(clock, b.why("k"))).verdict, "stale");
    await settledBy(
      clock,
      a.get("k", { ttl: "1m" }, () => value),
    );
    await until(clock, () => clock.pendingTimers === 0); // it is written behind the caller
    await a.invalidate("k");
    assert.match((await settledBy(clock, b.why("k"))).reason!, /was written/);
  });

  test("take whatever else is found in the store for nothing", async () => {
    const { caches, clock, store } = clusterOf(2);
    const [a, b] = caches as [Cache, Cache];
    const keys: string[] = [];
    const spy = store.set.bind(store);
    store.set = (key, bytes, options) => {
      keys.push(key);
      return spy(key, bytes, options);
    };
    await settledBy(
      clock,
      a.get("k", {}, () => "one"),
    );
    await until(clock, () => keys.length === 1);
    for (const junk of [Buffer.from("junk"), Buffer.alloc(0), (await store.get(keys[0]!))!.bytes.fill(2, 3, 4)]) {
      await spy(keys[0]!, junk, { ttlMs: 60_000 });
      assert.equal(
        await settledBy(
          clock,
          b.get("k", {}, () => "refilled"),
        ),
        "refilled",
      );
      await b.invalidate("k");
    }
  });

  test("go on without a store that fails or does not answer: it costs one short wait, and no caller an error", async () => {
    for (const how of ["fails", "hangs"]) {
      let calls = 0;
      const call = <Result>(): Promise<Result> => {
        calls++;
        return how === "fails" ? Promise.reject(new Error("ECONNREFUSED")) : new Promise<Result>(() => {});
      };
      const store: Store = {
        name: "broken",
        get: () => call(),
        claim: () => call(),
        set: () => call(),
        release: () => call(),
        delete: () => call(),
        close: async () => {},
        [Symbol.asyncDispose]: async () => {},
      };
      const { caches, clock } = clusterOf(1, { store });
      const before = clock.monotonic();
      for (let i = 0; i < 20; i++)
        assert.equal(
          await settledBy(
            clock,
            caches[0]!.get(`k${i}`, {}, () => i),
          ),
          i,
        );
      assert.ok(clock.monotonic() - before < 500, `${clock.monotonic() - before} ms for all of them`);
      assert.ok(calls < 5, `${calls} calls`);
      assert.equal(caches[0]!.stats().store?.state, "open");
      assert.equal(
        await settledBy(
          clock,
          caches[0]!.get("k3", {}, () => -1),
        ),
        3,
        "memory goes on",
      );
    }
  });

  test("wait for a store that is far away as long as its own breaker does", async () => {
    const clock = createManualClock();
    const far = memoryStore({ clock });
    const claim = far.claim.bind(far);
    far.claim = (...question) =>
      new Promise((resolve) => {
        clock.timer(80, () => resolve(claim(...question)));
      });
    const { caches } = clusterOf(1, { clock, store: withBreaker(far, { timeout: "200ms", clock }) });
    const outcome = await settledBy(clock, Promise.resolve(caches[0]!.read("k", {}, () => 1)));
    assert.deepEqual([outcome.value, caches[0]!.stats().store], [1, { name: "memory", state: "closed", errors: 0 }]);
  });

  test("say that an answer is stored only when a tier has it, also when memory has none of it", async () => {
    for (const memory of [false, { maxBytes: 65_536 }] as const) {
      const { caches, clock, store } = clusterOf(1, { memory });
      const [cache] = caches as [Cache];
      const fill = () => "x".repeat(50_000); // more than such a memory takes
      const read = (key: string) => settledBy(clock, Promise.resolve(cache.read(key, { ttl: "1h" }, fill)));
      const taken = await read("k");
      assert.deepEqual([taken.state, taken.stored, taken.reason], ["miss", true, undefined]);
      const found = await read("k");
      assert.deepEqual([found.state, found.tier], ["hit", "store"]);
      store.set = async () => false; // full, or the lease was lost
      const refused = await read("other");
      assert.deepEqual([refused.state, refused.stored], ["miss", false]);
      assert.match(refused.reason!, /neither memory nor the store/);
      assert.match((await settledBy(clock, cache.why("other"))).reason!, /neither memory nor the store/);
      store.set = async () => {
        throw new Error("ECONNRESET");
      };
      assert.equal((await read("third")).stored, false);
    }
  });

  test("need a ledger that they share", () => {
    assert.throws(() => createCache({ store: memoryStore() }), { code: "MILLRACE_CACHE_LEDGER_MISSING" });
  });
});
