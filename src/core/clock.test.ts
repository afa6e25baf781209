import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { createManualClock, systemClock } from "./clock.ts";

suite("the manual clock", () => {
  test("stands still until it is advanced, and moves both of its times", () => {
    const clock = createManualClock(1_000);
    assert.equal(clock.now(), 1_000);
    assert.equal(clock.monotonic(), 0);
    clock.advance(250);
    assert.equal(clock.now(), 1_250);
    assert.equal(clock.monotonic(), 250);
  });

  test("runs a timer when its time has come, once, and not before", () => {
    const clock = createManualClock();
    let runs = 0;
    clock.timer(100, () => runs++);
    clock.advance(99);
    assert.equal(runs, 0);
    clock.advance(1);
    assert.equal(runs, 1);
    clock.advance(1_000);
    assert.equal(runs, 1);
    assert.equal(clock.pendingTimers, 0);
  });

  test("runs no timer that was cleared or disposed", () => {
    const clock = createManualClock();
    const cleared = clock.timer(10, () => assert.fail("it was cleared"));
    cleared.clear();
    cleared.clear();
    {
      using _disposed = clock.timer(10, () => assert.fail("it was disposed"));
    }
    assert.equal(clock.pendingTimers, 0);
    clock.advance(100);
  });

  test("lets a timer set another one that falls due in the same advance", () => {
    const clock = createManualClock();
    const times: number[] = [];
    const tick = () => {
      times.push(clock.monotonic());
      if (times.length < 3) clock.timer(10, tick);
    };
    clock.timer(10, tick);
    clock.advance(35);
    assert.deepEqual(times, [10, 20, 30]);
    assert.equal(clock.monotonic(), 35);
  });

  test("does not run a timer that an earlier one clears", () => {
    const clock = createManualClock();
    clock.timer(10, () => later.clear());
    const later = clock.timer(20, () => assert.fail("it was cleared"));
    clock.advance(100);
  });

  test("takes a negative delay for none", () => {
    const clock = createManualClock();
    let ran = false;
    clock.timer(-5, () => (ran = true));
    clock.advance(0);
    assert.equal(ran, true);
    assert.equal(clock.monotonic(), 0);
  });

  test("runs timers in order of their time, those of one time in the order they were set, in however many steps it moves", () => {
    const delays = fc.array(fc.nat(50), { maxLength: 30 });
    const steps = fc.array(fc.nat(20), { maxLength: 20 });
    fc.assert(
      fc.property(delays, steps, (delaysMs, stepsMs) => {
        const clock = createManualClock();
        const ran: { readonly set: number; readonly atMs: number }[] = [];
        for (const [set, delayMs] of delaysMs.entries()) clock.timer(delayMs, () => ran.push({ set, atMs: clock.monotonic() }));
        for (const stepMs of stepsMs) clock.advance(stepMs);
        const elapsedMs = stepsMs.reduce((sum, stepMs) => sum + stepMs, 0);
        const expected = delaysMs
          .map((atMs, set) => ({ set, atMs }))
          .filter(({ atMs }) => atMs <= elapsedMs && stepsMs.length > 0)
          .toSorted((a, b) => a.atMs - b.atMs || a.set - b.set);
        assert.deepEqual(ran, expected);
        assert.equal(clock.pendingTimers, delaysMs.length - expected.length);
        assert.equal(clock.monotonic(), elapsedMs);
      }),
    );
  });
});

suite("the system clock", () => {
  test("tells the machine's time, and a time that never goes back", () => {
    assert.ok(Math.abs(systemClock.now() - Date.now()) < 1_000);
    const first = systemClock.monotonic();
    assert.ok(systemClock.monotonic() >= first);
  });

  test("calls a timer, and not one that was cleared", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    systemClock.timer(0, () => assert.fail("it was cleared"), true).clear();
    systemClock.timer(1, resolve, true);
    await promise;
  });

  test("keeps the process alive only for timers that ask for it", () => {
    const alive = () => process.getActiveResourcesInfo().filter((resource) => resource === "Timeout").length;
    const before = alive();
    using _background = systemClock.timer(60_000, () => {});
    assert.equal(alive(), before);
    using _work = systemClock.timer(60_000, () => {}, true);
    assert.equal(alive(), before + 1);
  });
});
