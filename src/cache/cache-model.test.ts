// The cache against what must never happen, in random orders of requests, invalidations, time, and fills that end well, badly or late:
// nobody is given what was invalidated before they asked.

import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { suite, test } from "node:test";
import fc from "fast-check";
import { createManualClock } from "../core/index.ts";
import { createCache, createLocalLedger, memoryStore } from "./index.ts";

const keys = ["a:1", "a:2", "b:1"] as const;
const names = [...keys, "a:*", "b:*", "*", "tag"] as const;

/** Which keys a name makes stale. "tag" is on a:1 and b:1. */
const touches = (name: string, key: string): boolean =>
  name === "tag" ? key.endsWith(":1") : name === key || name === "*" || (name.endsWith(":*") && key.startsWith(name.slice(0, -1)));

const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ op: fc.constant("get" as const), key: fc.constantFrom(...keys), cache: fc.nat(1) }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant("write" as const), name: fc.constantFrom(...names), cache: fc.nat(1) }) },
  { weight: 6, arbitrary: fc.record({ op: fc.constant("end" as const), which: fc.nat(5), fails: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("time" as const), ms: fc.constantFrom(5, 60, 1_000, 9_000) }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant("turn" as const) }) },
);

async function play(
  steps: readonly (typeof step extends fc.Arbitrary<infer Step> ? Step : never)[],
  isShared: boolean,
): Promise<number> {
  const clock = createManualClock();
  const ledger = createLocalLedger();
  const store = isShared ? memoryStore({ clock }) : undefined;
  const one = () => createCache({ clock, ledger, random: () => 0.5, ...(store && { store }) });
  const caches = isShared ? [one(), one()] : [one()];
  /** What the source holds: the number of writes to the key. */
  const source = new Map<string, number>(keys.map((key) => [key, 0]));
  const running: { end(fails: boolean): void }[] = [];
  const asked: Promise<unknown>[] = [];
  let served = 0;
  const policy = (key: string) => ({ ttl: "10s", stale: "20s", tags: key.endsWith(":1") ? ["tag"] : [] }) as const;
  for (const each of steps) {
    if (each.op === "get") {
      const { key } = each;
      const atLeast = source.get(key)!;
      const cache = caches[each.cache % caches.length]!;
      const fill = () => {
        const seen = source.get(key)!; // reads at its beginning, as a database does
        const { promise, resolve, reject } = Promise.withResolvers<number>();
        running.push({ end: (fails) => (fails ? reject(new Error("failed")) : resolve(seen)) });
        return promise;
      };
      asked.push(
        cache.get(key, policy(key), fill).then(
          (value) => {
            served++;
            assert.ok(value >= atLeast, `${key} was written ${atLeast} times, and the answer knows of ${value}`);
          },
          (error: unknown) => {
            if (error instanceof assert.AssertionError) throw error; // what fails is the fill's matter
          },
        ),
      );
      asked.at(-1)!.catch(() => {}); // awaited below
    } else if (each.op === "write") {
      for (const key of keys) if (touches(each.name, key)) source.set(key, source.get(key)! + 1);
      await caches[each.cache % caches.length]!.invalidate(each.name);
    } else if (each.op === "end") running.splice(each.which % Math.max(1, running.length), 1)[0]?.end(each.fails);
    else if (each.op === "time") clock.advance(each.ms);
    else await turn();
  }
  let isDone = false;
  const all = Promise.all(asked).finally(() => (isDone = true));
  all.catch(() => {});
  for (let i = 0; i < 2_000 && !isDone; i++) {
    for (const fill of running.splice(0)) fill.end(false);
    await turn();
    if (i % 3 === 2) clock.advance(20);
  }
  assert.ok(isDone, "nobody waits for ever");
  await all;
  for (const cache of caches) await cache.close();
  assert.equal(clock.pendingTimers, 0, "no timer is left");
  return served;
}

suite("nobody is given what was invalidated before they asked", () => {
  for (const isShared of [false, true]) {
    test(isShared ? "in two caches over one store" : "in one cache", async () => {
      let served = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 60, size: "max" }), async (steps) => {
          served += await play(steps, isShared);
        }),
        { numRuns: 100, seed: 7 },
      );
      assert.ok(served > 500, `${served} answers`);
    });
  }
});
