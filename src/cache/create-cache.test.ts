// An entry's life in one process: what is served, what is filled, who waits for whom, and what ends it.

import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { suite, test } from "node:test";
import { Deadline, currentContext, runInContext, traceOf } from "../concurrency/index.ts";
import { type ManualClock, type MillraceError, createManualClock } from "../core/index.ts";
import type { Cache, CachePolicy, FillTools, Outcome } from "./cache.ts";
import { type CacheOptions, cacheCheckChannel, createCache, createLocalLedger, memoryStore } from "./index.ts";

/** No early refreshes and ttls as they are written, unless a test is about them. */
const exact = { random: () => 0.5, earlyRefresh: 0 } as const satisfies CacheOptions;

const cacheWith = (options: CacheOptions = {}): { cache: Cache; clock: ManualClock } => {
  const clock = createManualClock();
  return { cache: createCache({ ...exact, clock, ...options }), clock };
};

/** A fill that ends when the test says so. */
class Gate<Value> {
  readonly calls: { readonly tools: FillTools; resolve(value: Value): void; reject(error: unknown): void }[] = [];
  readonly fill = (tools: FillTools): Promise<Value> => {
    const { promise, resolve, reject } = Promise.withResolvers<Value>();
    this.calls.push({ tools, resolve, reject });
    return promise;
  };
}

const read = async <Value>(cache: Cache, key: string, policy: CachePolicy, fill: () => Value): Promise<Outcome<Value>> =>
  cache.read(key, policy, fill);

suite("createCache", () => {
  test("a fill belongs to the request that began it in logs and traces, but not to its end", async () => {
    await using cache = createCache();
    using deadline = new Deadline({ timeoutMs: 20_000 });
    const trace = traceOf("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    const seen = await runInContext({ requestId: "req-7", deadline, principalId: "user-5", trace }, () =>
      cache.get("key", {}, () => {
        const context = currentContext()!;
        return [context.requestId, context.principalId, context.trace?.traceparent, context.deadline === deadline];
      }),
    );
    assert.deepEqual(seen, ["req-7", "user-5", trace!.traceparent, false]);
  });

  test("keeps what a fill returns, and serves it without a promise", async () => {
    await using cache = createCache();
    let fills = 0;
    const fill = () => ({ id: 42, fills: ++fills });
    assert.deepEqual(await cache.get("user:42", {}, fill), { id: 42, fills: 1 });
    const outcome = cache.read("user:42", {}, fill);
    assert.ok(!(outcome instanceof Promise));
    assert.equal(outcome.state, "hit");
    assert.equal(outcome.tier, "memory");
    assert.deepEqual(outcome.value, { id: 42, fills: 1 });
    assert.deepEqual(cache.peek("user:42")?.value, { id: 42, fills: 1 });
    assert.equal(cache.peek("user:43"), undefined);
  });

  test("makes stale a key, a tag, a beginning of keys up to a colon, or everything, with one write each", async () => {
    const { cache } = cacheWith();
    let fills = 0;
    const keys = ["user:42:profile", "user:42:orders", "user:7:profile", "city:1"];
    const stale = async () => {
      const before = fills;
      const refilled: string[] = [];
      for (const key of keys) {
        const was = fills;
        await cache.get(key, { tags: key.endsWith("orders") ? ["orders"] : [] }, () => ++fills);
        if (fills > was) refilled.push(key);
      }
      return before === fills ? [] : refilled;
    };
    assert.deepEqual(await stale(), keys);
    assert.deepEqual(await stale(), []);
    await cache.invalidate("user:42:profile");
    assert.deepEqual(await stale(), ["user:42:profile"]);
    await cache.invalidate("orders");
    assert.deepEqual(await stale(), ["user:42:orders"]);
    await cache.invalidate("user:42:*");
    assert.deepEqual(await stale(), ["user:42:profile", "user:42:orders"]);
    await cache.invalidate("user:*");
    assert.deepEqual(await stale(), ["user:42:profile", "user:42:orders", "user:7:profile"]);
    await cache.invalidate("*");
    assert.deepEqual(await stale(), keys);
    await assert.rejects(cache.invalidate("user:4*"), { code: "MILLRACE_CACHE_NAME_INVALID" });
    await assert.rejects(cache.invalidate(""), { code: "MILLRACE_CACHE_NAME_INVALID" });
  });

  test("lets an invalidation during a fill win: what the fill has read is not kept", async () => {
    const { cache } = cacheWith();
    const gate = new Gate<string>();
    const first = cache.get("k", {}, gate.fill);
    await turn();
    await cache.invalidate("k");
    gate.calls[0]!.resolve("old");
    assert.equal(await first, "old");
    assert.equal(cache.peek("k"), undefined);
    assert.equal(await cache.get("k", {}, () => "new"), "new");
    assert.equal(cache.peek("k")?.value, "new");
  });

  test("gives a caller that came after the invalidation the answer of a later fill", async () => {
    const { cache } = cacheWith();
    const gate = new Gate<string>();
    const before = cache.get("k", {}, gate.fill);
    await turn();
    const during = cache.get("k", {}, gate.fill);
    await cache.invalidate("k");
    const after = cache.get("k", {}, gate.fill);
    gate.calls[0]!.resolve("old");
    assert.equal(await before, "old");
    await turn();
    assert.equal(gate.calls.length, 2);
    gate.calls[1]!.resolve("new");
    assert.deepEqual(await Promise.all([during, after]), ["new", "new"]);
  });

  test("fills once for everybody who asks meanwhile", async () => {
    const { cache } = cacheWith();
    const gate = new Gate<string>();
    const all = Array.from({ length: 1_000 }, () => read(cache, "k", {}, gate.fill as never));
    await turn();
    assert.equal(gate.calls.length, 1);
    gate.calls[0]!.resolve("v");
    const outcomes = await Promise.all(all);
    assert.ok(outcomes.every(({ value }) => (value as unknown) === "v"));
    assert.deepEqual(Object.groupBy(outcomes, ({ state }) => state).miss?.length, 1);
    assert.equal(outcomes.filter(({ state }) => state === "joined").length, 999);
    assert.equal(cache.stats().fills, 1);
  });

  test("serves a stale answer after the soft timeout while the fill goes on, and none past `stale`", async () => {
    const { cache, clock } = cacheWith();
    const policy = { ttl: "10s", stale: "20s", softTimeout: "100ms" } as const;
    await cache.get("k", policy, () => "one");
    clock.advance(10_000);
    const gate = new Gate<string>();
    const asked = read(cache, "k", policy, gate.fill as never);
    await turn();
    clock.advance(99);
    clock.advance(1);
    const stale = await asked;
    assert.deepEqual(
      [stale.state, stale.value, stale.refusal, stale.ageMs, stale.remainingMs],
      ["stale", "one", "expired", 10_100, -100],
    );
    gate.calls[0]!.resolve("two");
    await turn();
    assert.equal(cache.peek("k")?.value, "two");
    clock.advance(30_000);
    const none = read(cache, "k", policy, gate.fill as never);
    await turn();
    clock.advance(5_000);
    gate.calls[1]!.resolve("three");
    assert.equal((await none).state, "miss");
    assert.equal(clock.pendingTimers, 0);
  });

  test("serves a stale answer when the fill fails, but never one that was written to, unless the policy says so", async () => {
    const { cache, clock } = cacheWith();
    const policy = { ttl: "10s", stale: "1m" } as const;
    const fail = (): string => {
      throw new Error("upstream is down");
    };
    await cache.get("k", policy, () => "one");
    clock.advance(10_000);
    const outcome = await read(cache, "k", policy, fail);
    assert.deepEqual([outcome.state, outcome.value, outcome.reason], ["stale", "one", "upstream is down"]);
    await cache.invalidate("k");
    await assert.rejects(cache.get("k", policy, fail), /upstream is down/);
    assert.equal((await read(cache, "k", { ...policy, staleAfterWrite: true }, fail)).value, "one");
  });

  test("gives a fill up at the hard timeout, and does not keep what it returns after it", async () => {
    const { cache, clock } = cacheWith();
    const gate = new Gate<string>();
    const asked = cache.get("k", { hardTimeout: "2s" }, gate.fill);
    await turn();
    clock.advance(2_000);
    await assert.rejects(asked, { code: "MILLRACE_CACHE_FILL_TIMEOUT" });
    assert.equal(gate.calls[0]!.tools.signal.aborted, true);
    gate.calls[0]!.resolve("late");
    await turn();
    assert.equal(cache.peek("k"), undefined);
    assert.equal(clock.pendingTimers, 0);
  });

  for (const kind of ["signal", "deadline"] as const) {
    test(`ends a caller's wait by its ${kind}, and the fill when nobody waits any more`, async () => {
      const { cache, clock } = cacheWith();
      const gate = new Gate<string>();
      const [one, two] = kind === "signal" ? [new AbortController(), new AbortController()] : [new Deadline(), new Deadline()];
      const options = (ending: AbortController | Deadline) => ({ signal: ending instanceof Deadline ? ending : ending.signal });
      const first = Promise.resolve(cache.read("k", {}, gate.fill, options(one)));
      const second = Promise.resolve(cache.read("k", {}, gate.fill, options(two)));
      await turn();
      const { signal, deadline } = gate.calls[0]!.tools;
      one.abort(new Error("left"));
      await assert.rejects(first, /left/);
      assert.deepEqual([signal.aborted, deadline.aborted], [false, false]);
      two.abort(new Error("left too"));
      await assert.rejects(second, /left too/);
      assert.deepEqual([signal.aborted, deadline.aborted], [true, true]);
      assert.equal(clock.pendingTimers, 0);
      await assert.rejects(Promise.resolve(cache.read("k", {}, gate.fill, options(two))), /left too/);
      gate.calls[0]!.resolve("nobody's");
      assert.equal(await cache.get("k", {}, () => "next"), "next");
    });
  }

  test("does not share what may not be kept: each caller fills for itself, at the same time", async () => {
    const { cache } = cacheWith();
    let fills = 0;
    const gate = new Gate<number>();
    const fill = (tools: FillTools) => {
      tools.dontKeep("it sets a cookie");
      fills++;
      return gate.fill(tools);
    };
    const all = Array.from({ length: 3 }, () => Promise.resolve(cache.read("k", {}, fill)));
    await turn();
    gate.calls[0]!.resolve(0);
    await turn();
    assert.equal(fills, 3);
    gate.calls[1]!.resolve(1);
    gate.calls[2]!.resolve(2);
    const outcomes = await Promise.all(all);
    assert.deepEqual(outcomes.map(({ value }) => value).toSorted(), [0, 1, 2]);
    assert.ok(outcomes.every(({ stored, reason }) => !stored && reason === "it sets a cookie"));
    void cache.read("k", {}, fill);
    void cache.read("k", {}, fill);
    await turn();
    assert.equal(fills, 5, "nobody waits for another's answer now");
    for (const call of gate.calls) call.resolve(9);
  });

  test("takes over what the cached answers were read from that a fill uses", async () => {
    const { cache } = cacheWith();
    let fills = 0;
    const outer = () => cache.get("inner", { tags: ["cities"] }, () => ++fills);
    const read = () => cache.get("outer", {}, async () => [await outer()]);
    assert.deepEqual(await read(), [1]);
    await cache.get("inner", { tags: ["cities"] }, () => ++fills);
    await cache.invalidate("outer");
    assert.deepEqual(await read(), [1], "a hit within a fill");
    await cache.invalidate("cities");
    assert.deepEqual(await read(), [2]);
    const unkept = await Promise.resolve(
      cache.read("third", {}, () => cache.get("loose", {}, (tools) => (tools.dontKeep("x"), 1))),
    );
    assert.deepEqual([unkept.stored, unkept.reason], [false, "x"]);
  });

  test("keeps what is made of answers no longer than the first of them, and not at all when that is over", async () => {
    const { cache, clock } = cacheWith();
    let made = 0;
    const inner = () => cache.get("inner", { ttl: "10s", stale: "1h", softTimeout: "0s" }, () => ++made);
    const outer = () => Promise.resolve(cache.read("outer", { ttl: "1h" }, async () => `made ${await inner()}`));
    await inner();
    clock.advance(4_000);
    const first = await outer();
    assert.deepEqual([first.state, first.stored, first.remainingMs], ["miss", true, 6_000]);
    clock.advance(5_999);
    assert.equal((await outer()).state, "hit");
    clock.advance(1);
    const over = await outer();
    assert.deepEqual([over.value, over.state, over.stored], ["made 1", "miss", false], "of a stale answer");
    assert.match(over.reason!, /whose time is over/);
    await turn();
    assert.equal((await outer()).value, "made 2");
    const negative = await Promise.resolve(
      cache.read("of nothing", { ttl: "1h" }, async () => [
        await cache.get("nothing", { negativeTtl: "0s" }, () => undefined),
        await cache.get("something", {}, () => 1),
      ]),
    );
    assert.deepEqual([negative.stored, cache.peek("of nothing")], [false, undefined]);
  });

  test("says of a key what is known without counting as a use, a hit or a miss", async () => {
    const { cache } = cacheWith();
    await cache.get("k", {}, () => 1);
    const before = cache.stats();
    for (let i = 0; i < 5; i++) {
      assert.equal((await cache.why("k")).verdict, "hit");
      assert.equal((await cache.why("other")).verdict, "miss");
    }
    assert.deepEqual(cache.stats(), before);
  });

  test("holds its bound under 10,000 keys that are kept, that fail and that are not kept, and one write makes all stale", async () => {
    const maxBytes = 2 ** 20;
    const { cache, clock } = cacheWith({ memory: { maxBytes } });
    for (let i = 0; i < 10_000; i++) {
      await cache.get(`kept:${i}`, {}, () => "x".repeat(500));
      await cache.get(`loose:${i}`, {}, (tools) => (tools.dontKeep(`reason ${i}`), i));
      await assert.rejects(
        cache.get(`failing:${i}`, {}, () => {
          throw new Error(`failure ${i}`);
        }),
      );
      if (i % 1_000 === 0) assert.ok(cache.stats().memory!.bytes <= maxBytes);
    }
    const { bytes, entries } = cache.stats().memory!;
    assert.ok(bytes <= maxBytes && entries > 300, `${entries} entries in ${bytes} bytes`);
    assert.match((await cache.why("failing:9999")).reason!, /failure 9999/);
    assert.equal((await cache.why("failing:0")).reason, undefined, "the oldest failures are forgotten");
    assert.match((await cache.why("loose:9999")).reason!, /reason 9999/);
    assert.equal((await cache.why("loose:0")).reason, undefined);
    const held = Array.from({ length: 10_000 }, (_, i) => `kept:${i}`).filter((key) => cache.peek(key));
    assert.equal(held.length, entries);
    await cache.invalidate("*");
    assert.deepEqual(
      held.filter((key) => cache.peek(key)),
      [],
    );
    await cache.close();
    assert.equal(clock.pendingTimers, 0);
  });

  test("asks whether an answer is admitted, with what was found out about it", async () => {
    const { cache } = cacheWith();
    const admit = ({ dependencies }: { dependencies: readonly string[] }) =>
      dependencies.length === 0 ? "it was read from nothing that is followed" : undefined;
    const outcome = await Promise.resolve(cache.read("k", {}, () => 1, { admit }));
    assert.deepEqual([outcome.stored, outcome.reason], [false, "it was read from nothing that is followed"]);
    assert.equal(cache.peek("k"), undefined);
  });

  test("keeps that there is none for a short time", async () => {
    const { cache, clock } = cacheWith();
    let fills = 0;
    const none = () => (fills++, undefined);
    for (let i = 0; i < 3; i++) assert.equal(await cache.get("k", { negativeTtl: "5s" }, none), undefined);
    assert.equal(fills, 1);
    clock.advance(5_000);
    await cache.get("k", { negativeTtl: "5s" }, none);
    assert.equal(fills, 2);
    await cache.get("n", { negativeTtl: "0s" }, none);
    await cache.get("n", { negativeTtl: "0s" }, none);
    assert.equal(fills, 4);
  });

  test("breaks off a key whose fill keeps failing, tries again later, and at once when what it had read is written", async () => {
    const ledger = createLocalLedger();
    const { cache, clock } = cacheWith({ ledger });
    let fills = 0;
    const fail = (): never => {
      fills++;
      throw new Error(`failure ${fills}`);
    };
    for (let i = 0; i < 3; i++) await assert.rejects(cache.get("k", {}, fail));
    await assert.rejects(cache.get("k", {}, fail), /failure 3/);
    assert.equal(fills, 3);
    clock.advance(500);
    await assert.rejects(cache.get("k", {}, fail), /failure 4/);
    await assert.rejects(cache.get("k", {}, fail), /failure 4/);
    await cache.invalidate("k");
    await assert.rejects(cache.get("k", {}, fail), /failure 5/);
    assert.equal(await cache.get("k", {}, () => "well"), "well");
  });

  test("returns a value of 50 MB and keeps nothing of it", async () => {
    const { cache } = cacheWith();
    const outcome = await read(cache, "k", {}, () => new Uint8Array(50_000_000));
    assert.equal(outcome.value.length, 50_000_000);
    assert.equal(outcome.stored, false);
    assert.match(outcome.reason!, /larger/);
    assert.equal(cache.stats().memory!.entries, 0);
    const text = await read(cache, "t", {}, () => ["x".repeat(50_000_000)]);
    assert.equal(text.stored, false);
  });

  test("freezes what several callers share, and does not keep what could not be stored as it is", async () => {
    const { cache } = cacheWith();
    const value = await cache.get("k", {}, () => ({ list: [{ id: 1 }] }));
    assert.throws(() => value.list.push({ id: 2 }), TypeError);
    assert.throws(() => (value.list[0]!.id = 2), TypeError);
    class Money {
      readonly cents = 5;
    }
    const outcome = await read(cache, "m", {}, () => ({ price: new Money() }));
    assert.equal(outcome.stored, false);
    assert.match(outcome.reason!, /instance of Money/);
  });

  test("refreshes early, once at a time, behind the hits", async () => {
    let random = 0.5;
    const clock = createManualClock();
    const cache = createCache({ clock, random: () => random });
    const gate = new Gate<string>();
    const policy = { ttl: "10s" } as const;
    const first = cache.get("k", policy, gate.fill);
    await turn();
    clock.advance(1_000); // the fill takes a second
    gate.calls[0]!.resolve("one");
    await first;
    clock.advance(9_000);
    random = 0.01; // drawn: 0.01 s ahead
    assert.equal(cache.peek("k")?.value, "one");
    assert.equal(await cache.get("k", policy, gate.fill), "one");
    assert.equal(gate.calls.length, 1);
    random = 0.9; // drawn: 2.3 s ahead
    for (let i = 0; i < 5; i++) assert.equal(await cache.get("k", policy, gate.fill), "one");
    await turn();
    assert.equal(gate.calls.length, 2);
    gate.calls[1]!.resolve("two");
    await turn();
    assert.equal(cache.peek("k")?.value, "two");
    assert.equal(cache.stats().refreshes, 1);
    await cache.close();
  });

  test("readNow gives what read would give at once, if nothing else is to be done", async () => {
    let drawn = 0;
    const { cache, clock } = cacheWith({ earlyRefresh: 1, random: () => drawn });
    const policy = { ttl: "10s", tags: ["t"] } as const;
    let fills = 0;
    const slow = async () => {
      clock.advance(100);
      return ++fills;
    };
    assert.equal(cache.readNow("k"), undefined);
    drawn = 0.5;
    await cache.get("k", policy, slow);
    const before = cache.stats();
    const found = cache.readNow("k");
    assert.deepEqual([found?.value, found?.state, found?.tier, found?.ageMs], [1, "hit", "memory", 0]);
    assert.equal(cache.stats().hits, before.hits + 1);
    assert.equal(cache.stats().memory!.hits, before.memory!.hits + 1);
    assert.equal(cache.readNow("k", 72), undefined, "of another codec");
    clock.advance(9_000);
    assert.equal(cache.readNow("k")?.value, 1, "near its end, and not drawn");
    assert.equal(cache.stats().refreshes, 0);
    drawn = 1 - Math.exp(-12); // drawn: 1.2 s ahead
    assert.equal(cache.readNow("k"), undefined);
    drawn = 0;
    const outcome = await cache.read("k", policy, slow);
    assert.deepEqual([outcome.value, outcome.state], [1, "hit"]);
    assert.equal(cache.stats().refreshes, 1, "read() owed it");
    await turn();
    assert.equal(cache.readNow("k")?.value, 2);
    await cache.invalidate("t");
    assert.equal(cache.readNow("k"), undefined, "written to");
    await cache.get("k", policy, slow);
    clock.advance(11_000);
    assert.equal(cache.readNow("k"), undefined, "expired");
    assert.equal(cache.stats().memory!.hits, before.memory!.hits + 5, "three by readNow(), two by read()");
    await cache.close();
    assert.equal(cache.readNow("k"), undefined);
  });

  test("a check that readNow has drawn is made by the next hit, so that the share stays what it is", async () => {
    let drawn = 0.9;
    const { cache } = cacheWith({ check: { ratio: 0.5 }, random: () => drawn });
    const policy = { tags: ["t"] };
    await cache.get("k", policy, () => "one");
    assert.equal(cache.readNow("k")?.value, "one");
    drawn = 0.1;
    assert.equal(cache.readNow("k"), undefined);
    drawn = 0.9;
    const checked = cacheCheckChannel.next(() => true, AbortSignal.timeout(10_000));
    assert.equal(await cache.get("k", policy, () => "one"), "one");
    assert.equal((await checked).result, "same");
    assert.equal(cache.readNow("k")?.value, "one");
    assert.equal(cache.stats().checked, 1);
    await cache.close();
  });

  test("makes a share of hits again, and counts what no write explains", async () => {
    const { cache } = cacheWith({ check: { ratio: 1 } });
    let source = "one";
    const policy = { tags: ["t"] };
    const next = () => cacheCheckChannel.next(() => true, AbortSignal.timeout(10_000));
    const results: string[] = [];
    const hit = async () => {
      const message = next();
      await cache.get("k", policy, () => source);
      results.push((await message).result);
    };
    await cache.get("k", policy, () => source);
    await hit();
    source = "two"; // and nobody says so
    await hit();
    const message = next();
    await cache.get("k", policy, async () => {
      await cache.invalidate("t");
      return source;
    });
    results.push((await message).result);
    assert.deepEqual(results, ["same", "mismatch", "overtaken"]);
    assert.deepEqual([cache.stats().checked, cache.stats().mismatches], [3, 1]);
    await cache.get("untagged", {}, () => 1);
    await cache.get("untagged", {}, () => 2);
    await turn();
    assert.equal(cache.stats().checked, 3, "a change that nobody could have named is no mistake");
  });

  test("goes around itself when it is closed, and leaves nothing behind", async () => {
    const { cache, clock } = cacheWith();
    const gate = new Gate<string>();
    const waiting = cache.get("k", {}, gate.fill);
    await turn();
    const closing = cache.close();
    gate.calls[0]!.resolve("v");
    assert.equal(await waiting, "v");
    await closing;
    const outcome = await read(cache, "k", {}, () => "w");
    assert.deepEqual([outcome.value, outcome.state, outcome.stored], ["w", "bypass", false]);
    assert.equal(clock.pendingTimers, 0);
  });

  test("leaves no timer, no flight and no lease when it is closed while a hundred fills run", async () => {
    const clock = createManualClock();
    const ledger = createLocalLedger();
    const store = memoryStore({ clock });
    const cache = createCache({ ...exact, clock, store, ledger });
    const gate = new Gate<string>();
    const policy = { ttl: "1s", hardTimeout: "20s" } as const;
    const leaving = new AbortController();
    const asked = Array.from({ length: 100 }, (_, i) => {
      const signal = i % 3 === 2 ? leaving.signal : undefined;
      return Promise.resolve(cache.read(`k${i}`, policy, gate.fill, { signal })).then(
        ({ value, stored }) => `${value} ${stored}`,
        (error: Error) => (error.name === "AbortError" ? error.name : (error as MillraceError).code),
      );
    });
    while (gate.calls.length < 100) await turn();
    const closing = cache.close();
    // A third ends well, a third never, and a third has callers that leave.
    for (let i = 0; i < 100; i += 3) gate.calls[i]!.resolve("v");
    leaving.abort();
    for (let i = 0; i < 20; i++) await turn();
    clock.advance(20_000);
    const results = await Promise.all(asked);
    await closing;
    for (const [i, result] of results.entries()) {
      assert.equal(result, ["v false", "MILLRACE_CACHE_FILL_TIMEOUT", "AbortError"][i % 3]);
    }
    assert.equal(clock.pendingTimers, 0);
    for (let i = 0; i < 100; i++) {
      // Nothing is kept by a cache that is closed, and every lease was given back.
      assert.equal((await store.claim(`k${i}`, { leaseMs: 1 })).kind, "lease");
    }
    assert.ok(gate.calls.every(({ tools }, i) => i % 3 === 0 || tools.signal.aborted));
  });

  test("refuses options and policies that are wrong", async () => {
    assert.throws(() => createCache({ memmory: false } as never), { code: "MILLRACE_OPTION_UNKNOWN" });
    assert.throws(() => createCache({ policy: { ttl: "5" as never } }), { code: "MILLRACE_DURATION_INVALID" });
    const { cache } = cacheWith();
    await assert.rejects(
      cache.get("k", { tll: "5s" } as never, () => 1),
      { code: "MILLRACE_OPTION_UNKNOWN" },
    );
    await assert.rejects(
      cache.get("", {}, () => 1),
      { code: "MILLRACE_CACHE_NAME_INVALID" },
    );
  });
});
