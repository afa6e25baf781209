// What choosing and hedging do to the tail of latencies, in simulated worlds: no machine's noise, the same numbers every time. What each world
// is like stands beside it; bench/findings.md#upstream has what a real machine shows.

import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { suite, test } from "node:test";
import type { Clock, Timer } from "../core/index.ts";
import type { Transport, WireResponse } from "./transport.ts";
import { UpstreamClient } from "./upstream.ts";

/** Milliseconds that an answer of `replica` takes at a moment. */
type World = (replica: number, nowMs: number, random: () => number) => number;

/** Three to six milliseconds; three in a hundred take up to twice as long. */
const quick = (random: () => number): number => 3 + 3 * random() + (random() < 0.03 ? 6 * random() : 0);

const oneSlow: World = (replica, _now, random) => (replica === 2 ? 200 + 20 * random() : quick(random));
const oneSlower: World = (replica, _now, random) => (replica === 2 ? 20 + 5 * random() : quick(random));
const slowNowAndThen: World = (_replica, _now, random) => (random() < 0.01 ? 200 : quick(random));
const oneSlowNowAndThen: World = (replica, _now, random) => (replica === 2 && random() < 0.1 ? 200 : quick(random));

/** Numbers from 0 to 1 that look like chance (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Time that goes from event to event. */
class EventClock implements Clock {
  #nowMs = 0;
  readonly #pending = new Map<symbol, { readonly dueMs: number; readonly callback: () => void }>();

  now(): number {
    return this.#nowMs;
  }

  monotonic(): number {
    return this.#nowMs;
  }

  timer(delayMs: number, callback: () => void): Timer {
    const id = Symbol();
    this.#pending.set(id, { dueMs: this.#nowMs + Math.max(0, delayMs), callback });
    const clear = () => void this.#pending.delete(id);
    return { clear, [Symbol.dispose]: clear };
  }

  /** Lets the next thing happen. */
  step(): void {
    let next: symbol | undefined;
    let atMs = Infinity;
    for (const [id, { dueMs }] of this.#pending) if (dueMs < atMs) [next, atMs] = [id, dueMs];
    if (next === undefined) throw new Error("Nothing is going to happen any more.");
    const { callback } = this.#pending.get(next)!;
    this.#pending.delete(next);
    this.#nowMs = atMs;
    callback();
  }
}

interface Tail {
  readonly p99: number;
  readonly p999: number;
  /** Attempts beyond one per call. */
  readonly extraRatio: number;
  /** Attempts, by replica. */
  readonly sent: readonly number[];
}

const calls = 10_000;
const perSecond = 200;

/** Calls arrive by chance (Poisson), whatever becomes of those before. `chance`: a replica by chance and nothing else. */
async function simulate(world: World, how: "chance" | "choice" | "hedging"): Promise<Tail> {
  const clock = new EventClock();
  const [worldRandom, random] = [seeded(1), seeded(2)];
  const sent = [0, 0, 0];
  const send = (replica: number, signal?: AbortSignal): Promise<WireResponse> => {
    sent[replica]!++;
    const { promise, resolve, reject } = Promise.withResolvers<WireResponse>();
    const timer = clock.timer(world(replica, clock.monotonic(), worldRandom), () =>
      resolve({ status: 200, headers: {}, body: Buffer.from("{}") }),
    );
    signal?.addEventListener("abort", () => {
      timer.clear();
      reject(signal.reason as Error);
    });
    return promise;
  };
  const transport: Transport = { send: (origin, _request, signal) => send(Number(origin.at(-1)), signal), close: async () => {} };
  const urls = ["http://replica0", "http://replica1", "http://replica2"];
  await using upstream = new UpstreamClient("mill", { urls, clock, random, hedge: how === "hedging" }, transport);
  const took: number[] = [];
  const call = async (): Promise<void> => {
    const startedMs = clock.monotonic();
    await (how === "chance" ? send(Math.floor(random() * 3)) : upstream.request({ path: "/flour" }));
    took.push(clock.monotonic() - startedMs);
  };
  let failed: unknown;
  let left = calls;
  const arrive = (): void => {
    call().catch((error: unknown) => (failed = error));
    if (--left > 0) clock.timer((-Math.log(1 - random()) * 1_000) / perSecond, arrive);
  };
  arrive();
  while (took.length < calls && failed === undefined) {
    clock.step();
    await setImmediate();
  }
  if (failed !== undefined) throw failed;
  took.sort((a, b) => a - b);
  const at = (share: number): number => took[Math.floor(calls * share)]!;
  const extraRatio = sent.reduce((sum, each) => sum + each) / calls - 1;
  return { p99: at(0.99), p999: at(0.999), extraRatio, sent };
}

suite("the tail of latencies", () => {
  test("one slow replica of three: the p99.9 is a fifth and less of what a replica by chance gives, for one call in twenty at the most", async () => {
    const chance = await simulate(oneSlow, "chance");
    const hedging = await simulate(oneSlow, "hedging");
    assert.ok(chance.p999 > 200);
    assert.ok(hedging.p999 <= chance.p999 / 5, `${hedging.p999} of ${chance.p999}`);
    assert.ok(hedging.extraRatio <= 0.05, String(hedging.extraRatio));
  });

  test("answers that are slow now and then, anywhere: no choice helps, and hedging makes the p99.9 a fifth and less", async () => {
    const choice = await simulate(slowNowAndThen, "choice");
    const hedging = await simulate(slowNowAndThen, "hedging");
    assert.ok(choice.p999 >= 200);
    assert.ok(hedging.p999 <= choice.p999 / 5, `${hedging.p999} of ${choice.p999}`);
    assert.ok(hedging.extraRatio <= 0.05, String(hedging.extraRatio));
  });

  test("an attempt that was overtaken does not make its replica look quick: the slower one is asked as seldom as without hedges", async () => {
    const choice = await simulate(oneSlower, "choice");
    const hedging = await simulate(oneSlower, "hedging");
    assert.ok(hedging.sent[2]! < 0.015 * calls, `${hedging.sent[2]} attempts went to the slower one`);
    assert.ok(hedging.p99 < 1.2 * choice.p99, `${hedging.p99}, ${choice.p99} without`);
    assert.ok(hedging.p999 < choice.p999, `${hedging.p999}, ${choice.p999} without`);
    assert.ok(hedging.extraRatio <= 0.03, String(hedging.extraRatio));
  });

  test("one that is slow now and then is known as slow, although hedges overtake it each time", async () => {
    const { sent, extraRatio } = await simulate(oneSlowNowAndThen, "hedging");
    assert.ok(sent[2]! < 0.2 * calls, `${sent[2]} attempts went to it`);
    assert.ok(extraRatio <= 0.04, String(extraRatio));
  });
});
