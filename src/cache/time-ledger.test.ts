// Caches of several processes that have a store and nothing else in common: what one has fetched is everybody's until its time is over.

import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { suite, test } from "node:test";
import { type ManualClock, createManualClock } from "../core/index.ts";
import { type Cache, type CachePolicy, createCache, createLocalLedger, createTimeLedger, memoryStore } from "./index.ts";

const minuteMs = 60_000;
const policy: CachePolicy = { ttl: "10m", stale: "6h" };

/** Caches as processes have them: each with a ledger of its own. */
function processes(count: number, namespaces: readonly string[] = []) {
  const clock = createManualClock();
  const store = memoryStore({ clock });
  const one = (_: unknown, index: number) =>
    createCache({
      name: "forecasts",
      clock,
      store,
      random: () => 0.5,
      earlyRefresh: 0,
      ledger: createTimeLedger({ namespace: namespaces[index] ?? "meteo 1" }),
    });
  return { clock, store, caches: Array.from({ length: count }, one) };
}

/** The value or the failure, with the clock moved by 5 ms at a time for as long as it takes. */
async function settled<Value>(clock: ManualClock, promise: Value | Promise<Value>): Promise<Value> {
  let isDone = false;
  const done = Promise.resolve(promise).finally(() => (isDone = true));
  done.catch(() => {});
  for (let i = 0; i < 5_000 && !isDone; i++) {
    for (let turns = 0; turns < 5; turns++) await turn();
    if (!isDone) clock.advance(5);
  }
  assert.ok(isDone, "it happens");
  return done;
}

/** What is fetched, numbered. */
function source() {
  const api = { fetched: 0, isDown: false };
  const fetchOne = () => {
    if (api.isDown) throw new Error("the API is down");
    return `forecast ${++api.fetched}`;
  };
  return { api, fetchOne };
}

suite("a ledger of time alone", () => {
  test("one process fetches, the others serve it with its true age", async () => {
    const { caches, clock } = processes(2);
    const [a, b] = caches as [Cache, Cache];
    const { api, fetchOne } = source();
    assert.equal(await settled(clock, a.get("k", policy, fetchOne)), "forecast 1");
    clock.advance(5 * minuteMs);
    const found = await settled(clock, b.read("k", policy, fetchOne));
    assert.deepEqual([found.state, found.tier, found.value, api.fetched], ["hit", "store", "forecast 1", 1]);
    assert.ok(found.ageMs >= 5 * minuteMs && found.ageMs < 5 * minuteMs + 1_000, String(found.ageMs));
  });

  test("when the API fails a process serves what another one has fetched, as stale, until it is too old", async () => {
    const { caches, clock } = processes(2);
    const [a, b] = caches as [Cache, Cache];
    const { api, fetchOne } = source();
    await settled(clock, a.get("k", policy, fetchOne));
    api.isDown = true;
    clock.advance(60 * minuteMs);
    const old = await settled(clock, b.read("k", policy, fetchOne));
    assert.deepEqual([old.state, old.value, old.reason], ["stale", "forecast 1", "the API is down"]);
    assert.ok(old.ageMs >= 60 * minuteMs, String(old.ageMs));
    clock.advance(6 * 60 * minuteMs);
    await assert.rejects(settled(clock, b.read("k", policy, fetchOne)), /the API is down/);
  });

  test("another namespace finds nothing of before", async () => {
    const { caches, clock } = processes(2, ["meteo 1", "meteo 2"]);
    const [a, b] = caches as [Cache, Cache];
    const { fetchOne } = source();
    await settled(clock, a.get("k", policy, fetchOne));
    assert.equal(await settled(clock, b.get("k", policy, fetchOne)), "forecast 2");
  });

  test("nothing can be invalidated, and that is said", async () => {
    const { caches, clock } = processes(1);
    await assert.rejects(settled(clock, caches[0]!.invalidate("k")), { code: "MILLRACE_CACHE_TIME_ONLY" });
    for (const options of [{}, { namespace: "" }]) {
      assert.throws(() => createTimeLedger(options as { namespace: string }), { code: "MILLRACE_OPTION_INVALID" });
    }
  });

  test("an answer of another cache that is made of one is kept, and lasts no longer", async () => {
    const { caches, clock } = processes(1);
    const { fetchOne } = source();
    const pages = createCache({ clock, random: () => 0.5, earlyRefresh: 0, ledger: createLocalLedger() });
    await settled(clock, caches[0]!.get("k", policy, fetchOne));
    clock.advance(8 * minuteMs);
    const page = () => pages.read("page", { ttl: "1h" }, async () => `page of ${await caches[0]!.get("k", policy, fetchOne)}`);
    const made = await settled(clock, page());
    assert.deepEqual([made.value, made.stored], ["page of forecast 1", true]);
    assert.ok(made.remainingMs > 0 && made.remainingMs <= 2 * minuteMs, String(made.remainingMs));
    assert.equal((await settled(clock, page())).state, "hit");
  });
});

suite("freshFor", () => {
  test("what lasts long enough is served; what ends sooner is made anew for all processes, once", async () => {
    const { caches, clock } = processes(3);
    const [a, b, c] = caches as [Cache, Cache, Cache];
    const { api, fetchOne } = source();
    for (const cache of caches) await settled(clock, cache.get("k", policy, fetchOne));
    clock.advance(3 * minuteMs);
    assert.equal((await settled(clock, a.read("k", policy, fetchOne, { freshFor: "6m" }))).state, "hit");
    clock.advance(2 * minuteMs);
    const renewed = await settled(clock, a.read("k", policy, fetchOne, { freshFor: "6m" }));
    assert.deepEqual([renewed.state, renewed.value], ["miss", "forecast 2"]);
    // Its own copy ends too soon, and the store has a better one.
    const found = await settled(clock, b.read("k", policy, fetchOne, { freshFor: "6m" }));
    assert.deepEqual([found.state, found.tier, found.value], ["hit", "store", "forecast 2"]);
    // Whoever does not ask for it has the old one to its end, then the new one.
    assert.equal((await settled(clock, c.read("k", policy, fetchOne))).value, "forecast 1");
    clock.advance(6 * minuteMs);
    assert.equal((await settled(clock, c.read("k", policy, fetchOne))).value, "forecast 2");
    assert.equal(api.fetched, 2);
  });

  test("what only the store has, and ends too soon, is made anew as well", async () => {
    const { caches, clock } = processes(2);
    const [a, b] = caches as [Cache, Cache];
    const { fetchOne } = source();
    await settled(clock, a.get("k", policy, fetchOne));
    clock.advance(8 * minuteMs);
    const renewed = await settled(clock, b.read("k", policy, fetchOne, { freshFor: "6m" }));
    assert.deepEqual([renewed.state, renewed.value], ["miss", "forecast 2"]);
  });

  test("it waits for a slow one, and gives the old one as stale when making it fails", async () => {
    const { caches, clock } = processes(1);
    const [cache] = caches as [Cache];
    const { api, fetchOne } = source();
    await settled(clock, cache.get("k", policy, fetchOne));
    clock.advance(8 * minuteMs);
    api.isDown = true;
    const kept = await settled(clock, cache.read("k", policy, fetchOne, { freshFor: "6m" }));
    assert.deepEqual([kept.state, kept.value, kept.reason], ["stale", "forecast 1", "the API is down"]);
    assert.equal((await settled(clock, cache.read("k", policy, fetchOne))).state, "hit", "for others it is still fresh");
    api.isDown = false;
    const slow = () =>
      new Promise<string>((resolve) => {
        clock.timer(2_000, () => resolve(fetchOne()));
      });
    assert.equal((await settled(clock, cache.read("k", policy, slow, { freshFor: "6m" }))).value, "forecast 2");
  });

  test("more than the ttl is never there: it is made anew each time, once; and what is no duration is refused", async () => {
    const { caches, clock } = processes(1);
    const [cache] = caches as [Cache];
    const { api, fetchOne } = source();
    for (const expected of [1, 2, 3]) {
      await settled(clock, cache.read("k", policy, fetchOne, { freshFor: "1h" }));
      assert.equal(api.fetched, expected);
    }
    await assert.rejects(settled(clock, cache.read("k", policy, fetchOne, { freshFor: "soon" as "1h" })), {
      code: "MILLRACE_DURATION_INVALID",
    });
    assert.equal(clock.pendingTimers, 0);
  });
});
