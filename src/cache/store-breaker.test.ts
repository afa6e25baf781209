// The breaker before a shared store, against stores whose answers the test holds in its hand.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { createManualClock } from "../core/index.ts";
import { type StoreBreakerMessage, storeBreakerChannel } from "./channels.ts";
import { withBreaker } from "./store-breaker.ts";
import type { Claim, Store, Stored } from "./store.ts";

/** A store that answers when the test says so. */
function heldStore() {
  const calls: { readonly operation: string; readonly answer: (value?: unknown) => void; readonly fail: (error: Error) => void }[] =
    [];
  const hold = (operation: string): Promise<never> => {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    calls.push({ operation, answer: resolve, fail: reject });
    return promise as Promise<never>;
  };
  const store: Store = {
    name: "held",
    get: (key): Promise<Stored | undefined> => hold(`get ${key}`),
    claim: (key): Promise<Claim> => hold(`claim ${key}`),
    set: (key): Promise<boolean> => hold(`set ${key}`),
    release: (key, token): Promise<void> => hold(`release ${key} ${token}`),
    delete: (key): Promise<void> => hold(`delete ${key}`),
    close: async () => {},
    [Symbol.asyncDispose]: async () => {},
  };
  return { store, calls };
}

/** Lets everything run that waits for nothing but its turn: promises, and the look at the sockets after a timer. */
const settle = () => new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve)));

const options = { timeout: "25ms", openFor: "500ms", maxOpenFor: "10s" } as const;
const unavailable = { code: "MILLRACE_CACHE_STORE_UNAVAILABLE" };

/** How a promise has ended, as soon as it has. */
function outcome(promise: Promise<unknown>) {
  const seen = { ended: false, failed: false, value: undefined as unknown };
  promise.then(
    (value) => Object.assign(seen, { ended: true, value }),
    (value: unknown) => Object.assign(seen, { ended: true, failed: true, value }),
  );
  return seen;
}

suite("a breaker before a store", () => {
  test("passes answers through, and leaves no timer behind", async () => {
    const clock = createManualClock();
    const { store, calls } = heldStore();
    const breaker = withBreaker(store, { ...options, clock });
    const got = breaker.get("a");
    await settle();
    calls[0]!.answer({ version: "1", bytes: new Uint8Array([1]) });
    assert.deepEqual(await got, { version: "1", bytes: new Uint8Array([1]) });
    assert.equal(clock.pendingTimers, 0);
    assert.deepEqual([breaker.state, breaker.errors, breaker.name], ["closed", 0, "held"]);
  });

  test("a stopped store costs one timeout once, shared by all who wait, and nothing after", async () => {
    const clock = createManualClock();
    const { store, calls } = heldStore();
    const breaker = withBreaker(store, { ...options, clock });
    const first = outcome(breaker.get("a"));
    clock.advance(20);
    const second = outcome(breaker.get("b"));
    clock.advance(4);
    await settle();
    assert.deepEqual([first.ended, second.ended], [false, false]);
    clock.advance(1);
    await settle();
    // The second has waited for 5 ms, not for a timeout of its own.
    assert.deepEqual([first.failed, second.failed], [true, true]);
    const asked = calls.length;
    for (let i = 0; i < 1_000; i++) await assert.rejects(breaker.claim(`key ${i}`, { leaseMs: 1_000 }), unavailable);
    assert.equal(calls.length, asked); // none of them reached the store
    assert.equal(clock.pendingTimers, 0); // and none waits
    assert.equal(breaker.errors, 1);
  });

  test("probes once, in the background, and closes when the probe is answered", async () => {
    const clock = createManualClock();
    const { store, calls } = heldStore();
    const breaker = withBreaker(store, { ...options, clock });
    const states: StoreBreakerMessage["state"][] = [];
    using _subscription = storeBreakerChannel.subscribe(({ state }) => states.push(state));
    const failed = assert.rejects(breaker.get("a"), /connection refused/);
    await settle();
    calls[0]!.fail(new Error("connection refused"));
    await failed;
    clock.advance(374); // less than 500 ms with the largest jitter
    await assert.rejects(breaker.get("a"), unavailable);
    assert.equal(calls.length, 1);
    clock.advance(252);
    // Many come at once: all are refused at once, and one probe is on its way.
    await Promise.all(Array.from({ length: 100 }, () => assert.rejects(breaker.get("a"), unavailable)));
    await settle();
    assert.deepEqual(
      calls.slice(1).map(({ operation }) => operation),
      ["get millrace probe"],
    );
    assert.equal(breaker.state, "half-open");
    calls[1]!.answer(undefined);
    await settle();
    assert.deepEqual(states, ["open", "half-open", "closed"]);
    const got = breaker.get("a");
    await settle();
    calls[2]!.answer(undefined);
    assert.equal(await got, undefined);
  });

  test("waits longer after every probe that fails, up to the bound; and starts anew after a good while", async () => {
    const clock = createManualClock();
    const { store, calls } = heldStore();
    const breaker = withBreaker(store, { ...options, clock });
    const pauses: number[] = [];
    using _subscription = storeBreakerChannel.subscribe(({ openForMs }) => openForMs !== undefined && pauses.push(openForMs));
    const failNext = async (call: Promise<unknown>) => {
      const refused = assert.rejects(call);
      await settle();
      calls.at(-1)!.fail(new Error("down"));
      await settle();
      await refused;
    };
    await failNext(breaker.get("a"));
    for (let i = 0; i < 7; i++) {
      clock.advance(12_500);
      await failNext(breaker.get("a"));
    }
    for (const [i, pause] of pauses.entries()) {
      const fullMs = Math.min(10_000, 500 * 2 ** i);
      assert.ok(pause >= fullMs * 0.75 && pause <= fullMs * 1.25, `pause ${i} of ${pause} ms`);
    }
    assert.equal(pauses.length, 8);
    clock.advance(12_500);
    await assert.rejects(breaker.get("a"), unavailable);
    await settle();
    calls.at(-1)!.answer(undefined);
    await settle();
    assert.equal(breaker.state, "closed");
    clock.advance(10_000);
    await failNext(breaker.get("a"));
    assert.ok(pauses.at(-1)! <= 625);
  });

  test("a lease that arrives after its asker has gone is given back", async () => {
    const clock = createManualClock();
    const { store, calls } = heldStore();
    const breaker = withBreaker(store, { ...options, clock });
    const refused = assert.rejects(breaker.claim("a", { leaseMs: 1_000 }), unavailable);
    await settle();
    clock.advance(25);
    await refused;
    calls[0]!.answer({ kind: "lease", token: "t" });
    await settle();
    assert.equal(calls[1]!.operation, "release a t");
  });

  test("an answer that is here but unread because the process was busy is not a timeout", async () => {
    const clock = createManualClock();
    const { store, calls } = heldStore();
    const breaker = withBreaker(store, { ...options, clock });
    const got = breaker.get("a");
    await settle();
    clock.advance(25); // the timer fires before the socket is read …
    calls[0]!.answer(undefined); // … where the answer lies
    assert.equal(await got, undefined);
    assert.equal(breaker.state, "closed");
  });

  test("a large value may take longer to write", async () => {
    const clock = createManualClock();
    const { store, calls } = heldStore();
    const breaker = withBreaker(store, { ...options, clock });
    const kept = breaker.set("a", new Uint8Array(1024 * 1024), { ttlMs: 1_000 });
    await settle();
    clock.advance(120); // 25 ms, and 102 ms for the bytes
    await settle();
    assert.equal(breaker.state, "closed");
    calls[0]!.answer(true);
    assert.equal(await kept, true);
  });

  test("a store that throws is a store that fails", async () => {
    const { store } = heldStore();
    const breaker = withBreaker({
      ...store,
      get: () => {
        throw new Error("thrown");
      },
    });
    await assert.rejects(breaker.get("a"), /thrown/);
    assert.equal(breaker.state, "open");
  });
});
