import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { suite, test } from "node:test";
import fc from "fast-check";
import { type ManualClock, createManualClock } from "../core/index.ts";
import type { CdnAdapter } from "./adapter.ts";
import { fastlyDialect } from "./adapters/fastly.ts";
import { type CdnPurgeMessage, cdnPurgeChannel } from "./channels.ts";
import { Purger, type PurgerOptions } from "./purger.ts";

interface World {
  readonly clock: ManualClock;
  readonly purger: Purger;
  /** What the CDN was told, in order. */
  readonly purges: (readonly string[])[];
  /** Fails that many purges. */
  readonly fail: (times: number) => void;
  /** Passes time in steps, so that what one step begins goes on in the next. */
  readonly pass: (ms: number) => Promise<void>;
}

function world(options: Partial<PurgerOptions> = {}, mostKeys = 3): World {
  const clock = createManualClock();
  const purges: (readonly string[])[] = [];
  let failures = 0;
  const adapter: CdnAdapter = {
    name: "test",
    dialect: fastlyDialect,
    mostKeys,
    purge: async (keys) => {
      await setImmediate();
      if (failures > 0) {
        failures--;
        throw new Error("no");
      }
      purges.push(keys);
    },
    close: async () => {},
    [Symbol.asyncDispose]: async () => {},
  };
  const purger = new Purger({
    adapter,
    all: "mall",
    boundMs: 1_000,
    gatherMs: 50,
    maxRetryMs: 30_000,
    maxWaiting: 10,
    timeoutMs: 5_000,
    clock,
    random: () => 0.999,
    ...options,
  });
  return {
    clock,
    purger,
    purges,
    fail: (times) => void (failures = times),
    pass: async (ms) => {
      for (let left = ms; left > 0; left -= 10) {
        clock.advance(Math.min(10, left));
        // A purge takes a turn of the loop; a few of them may follow each other.
        for (let i = 0; i < 12; i++) await setImmediate();
      }
    },
  };
}

suite("a purge", () => {
  test("gathers keys, goes in pieces that the CDN takes, and is repeated after the bound", async () => {
    const { purger, purges, pass } = world();
    purger.add(["a", "b"]);
    await pass(30);
    purger.add(["b", "c", "d"]);
    assert.deepEqual(purges, []);
    await pass(30);
    assert.deepEqual(purges, [["a", "b", "c"], ["d"]]);
    await pass(900);
    assert.equal(purges.length, 2);
    await pass(200);
    assert.deepEqual(purges.slice(2).flat().toSorted(), ["a", "b", "c", "d"]);
    await pass(10_000);
    assert.equal(purges.length, 4);
    assert.deepEqual(purger.stats(), { cdn: "test", waiting: 0, purges: 4, failures: 0, lastError: undefined });
    await purger.idle();
    await purger.close();
  });

  test("of a key that is written again begins anew", async () => {
    const { purger, purges, pass } = world();
    purger.add(["a"]);
    await pass(600);
    purger.add(["a"]);
    await pass(3_000);
    // Twice at once, twice after the bound; the second of the first may fall together with the others.
    assert.ok(purges.length >= 3 && purges.length <= 4, JSON.stringify(purges));
    await purger.close();
  });

  test("that fails is tried until it is taken, behind pauses that grow, and it is told", async () => {
    const { purger, purges, pass, fail } = world();
    const messages: CdnPurgeMessage[] = [];
    using _subscription = cdnPurgeChannel.subscribe((message) => messages.push(message));
    fail(4);
    purger.add(["a"]);
    await pass(60);
    assert.equal(purger.stats().failures, 1);
    assert.equal(purger.stats().lastError, "no");
    purger.add(["b"]); // joins those that wait
    await pass(60 + 250 + 500 + 1_000 + 100);
    assert.deepEqual(purges, []);
    await pass(2_000);
    assert.deepEqual(purges, [["a", "b"]]);
    assert.deepEqual(
      messages.map(({ failures, error }) => [failures, error]),
      [
        [1, "no"],
        [2, "no"],
        [3, "no"],
        [4, "no"],
        [0, undefined],
      ],
    );
    assert.ok(messages[4]!.waitedMs >= 3_000);
    await pass(2_000);
    assert.equal(purges.length, 2);
    await purger.close();
  });

  test("of too many keys becomes one of everything, and nothing is lost", async () => {
    const { purger, purges, pass } = world();
    purger.add(Array.from({ length: 11 }, (_, i) => `k${i}`));
    await pass(60);
    assert.deepEqual(purges, [["mall"]]);
    await pass(1_100);
    assert.deepEqual(purges, [["mall"], ["mall"]]);
    await purger.close();
  });

  test("that hangs is given up after its time, and tried again", async () => {
    const clock = createManualClock();
    let calls = 0;
    const adapter: CdnAdapter = {
      name: "test",
      dialect: fastlyDialect,
      mostKeys: 3,
      purge: (_keys, signal) => {
        if (++calls > 1) return Promise.resolve();
        return new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
      },
      close: async () => {},
      [Symbol.asyncDispose]: async () => {},
    };
    const purger = new Purger({
      ...{ adapter, all: "mall", boundMs: 0, gatherMs: 0, maxRetryMs: 1_000, maxWaiting: 10, timeoutMs: 5_000, clock },
      random: () => 0,
    });
    purger.add(["a"]);
    for (let i = 0; i < 100 && calls < 2; i++) {
      clock.advance(100);
      await setImmediate();
    }
    assert.equal(calls, 2);
    await purger.close();
  });

  test("is not forgotten when the process closes", async () => {
    const { purger, purges } = world();
    purger.add(["a", "b", "c", "d"]);
    await purger.close();
    assert.deepEqual(purges, [["a", "b", "c"], ["d"]]);
    purger.add(["late"]);
    await purger.close();
    assert.equal(purges.length, 2);
  });

  test("whatever fails and whenever keys come, each is purged after it was written, and again after the bound", async () => {
    const events = fc.array(
      fc.record({
        keys: fc.array(fc.constantFrom("a", "b", "c", "d", "e"), { maxLength: 4 }),
        waitMs: fc.nat(700),
        fails: fc.nat(2),
      }),
      { minLength: 1, maxLength: 8 },
    );
    await fc.assert(
      fc.asyncProperty(events, async (list) => {
        const clock = createManualClock();
        const told: { readonly atMs: number; readonly keys: readonly string[] }[] = [];
        let failures = 0;
        const adapter: CdnAdapter = {
          name: "test",
          dialect: fastlyDialect,
          mostKeys: 2,
          purge: async (keys) => {
            await Promise.resolve();
            if (failures > 0) {
              failures--;
              throw new Error("no");
            }
            told.push({ atMs: clock.monotonic(), keys });
          },
          close: async () => {},
          [Symbol.asyncDispose]: async () => {},
        };
        const purger = new Purger({
          ...{ adapter, all: "mall", boundMs: 1_000, gatherMs: 50, maxRetryMs: 500, maxWaiting: 4, timeoutMs: 5_000, clock },
          random: () => 0.5,
        });
        const pass = async (ms: number) => {
          for (let left = ms; left > 0; left -= 25) {
            clock.advance(Math.min(25, left));
            await setImmediate();
          }
        };
        const written: { readonly atMs: number; readonly key: string }[] = [];
        for (const { keys, waitMs, fails } of list) {
          failures = fails;
          purger.add(keys);
          written.push(...keys.map((key) => ({ key, atMs: clock.monotonic() })));
          await pass(waitMs);
        }
        await pass(12_000);
        for (const { key, atMs } of written) {
          const purges = told.filter((one) => one.atMs >= atMs && (one.keys.includes(key) || one.keys.includes("mall")));
          assert.ok(purges.length >= 2, `${key}: ${JSON.stringify(told)}`);
          assert.ok(purges.at(-1)!.atMs >= atMs + 1_000, `${key}: ${JSON.stringify(told)}`);
        }
        assert.equal(purger.stats().waiting, 0);
        await purger.close();
        assert.equal(clock.pendingTimers, 0);
      }),
      { numRuns: 25 },
    );
  });
});
