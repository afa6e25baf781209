import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { createManualClock } from "../core/index.ts";
import { RetryBudget } from "./retry-budget.ts";

suite("a retry budget", () => {
  test("allows a fifth of the calls, and ten a second beside", () => {
    const clock = createManualClock();
    const budget = new RetryBudget(0.2, 10, clock);
    let extra = 0;
    for (let second = 0; second < 60; second++) {
      for (let i = 0; i < 100; i++) {
        budget.deposit();
        if (budget.withdraw()) extra++;
        clock.advance(10);
      }
    }
    assert.ok(extra <= 0.2 * 6_000 + 10 * 61, `${extra}`);
    assert.ok(extra >= 0.2 * 6_000 + 10 * 58, `${extra}: what is allowed is given`);
  });

  test("of nothing allows nothing", () => {
    const budget = new RetryBudget(0, 0, createManualClock());
    budget.deposit();
    assert.equal(budget.withdraw(), false);
  });

  test("does not save up a quiet hour", () => {
    const clock = createManualClock();
    const budget = new RetryBudget(0.2, 10, clock);
    for (let i = 0; i < 100_000; i++) budget.deposit();
    clock.advance(3_600_000);
    let burst = 0;
    while (budget.withdraw()) burst++;
    assert.equal(burst, 110, "ten seconds of the floor, and the floor");
  });

  test("never allows more than its rule, and refuses only what the rule forbids or has not been saved", () => {
    const step = fc.oneof(
      fc.constant("call" as const),
      fc.constant("extra" as const),
      fc.record({ ms: fc.integer({ min: 1, max: 3_000 }) }),
    );
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 300, size: "max" }),
        fc.constantFrom(0, 0.1, 0.2, 0.5, 1),
        fc.constantFrom(0, 1, 3, 10),
        (steps, ratio, perSecond) => {
          const clock = createManualClock();
          const budget = new RetryBudget(ratio, perSecond, clock);
          let calls = 0;
          let extra = 0;
          // The model, in whole thousandths: two buckets, refilled by time and by calls.
          let floor = perSecond * 1000;
          let saved = 0;
          for (const current of steps) {
            if (current === "call") {
              calls++;
              budget.deposit();
              saved = Math.min(saved + ratio * 1000, Math.max(1, perSecond * 10) * 1000);
            } else if (current === "extra") {
              const may = floor >= 1000 - 1e-6 || saved >= 1000 - 1e-6;
              // At the very edge a rounding of the last bit may decide.
              const clear = Math.abs(floor - 1000) > 1e-3 && Math.abs(saved - 1000) > 1e-3;
              const did = budget.withdraw();
              if (clear) assert.equal(did, may);
              if (did) {
                extra++;
                if (floor >= 1000 - 1e-3) floor -= 1000;
                else saved -= 1000;
              }
              const seconds = clock.monotonic() / 1000;
              assert.ok(extra <= ratio * calls + perSecond * (seconds + 1) + 1e-6, `${extra} of ${calls} in ${seconds} s`);
            } else {
              clock.advance(current.ms);
              floor = Math.min(perSecond * 1000, floor + current.ms * perSecond);
            }
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});
