import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { suite, test } from "node:test";
import { createManualClock } from "./clock.ts";
import { createLifecycle } from "./lifecycle.ts";

suite("a lifecycle", () => {
  test("closes its parts one after the other, the last opened first", async () => {
    const log: string[] = [];
    const lifecycle = createLifecycle("the mill");
    for (const part of ["sluice", "wheel", "stones"]) {
      lifecycle.add(part, async () => {
        log.push(`${part} closing`);
        await setImmediate();
        log.push(`${part} closed`);
      });
    }
    await lifecycle.close();
    assert.deepEqual(log, ["stones closing", "stones closed", "wheel closing", "wheel closed", "sluice closing", "sluice closed"]);
  });

  test("closes once, however often and by whomever it is asked", async () => {
    let closed = 0;
    const lifecycle = createLifecycle("the mill");
    lifecycle.add("wheel", () => closed++);
    {
      await using _lifecycle = lifecycle;
      assert.equal(lifecycle.close(), lifecycle.close());
    }
    await lifecycle.close();
    assert.equal(closed, 1);
  });

  test("refuses use from the moment it is asked to close", async () => {
    const lifecycle = createLifecycle("the mill");
    lifecycle.assertOpen();
    assert.equal(lifecycle.closing, false);
    const closing = lifecycle.close();
    assert.equal(lifecycle.closing, true);
    assert.throws(() => lifecycle.assertOpen(), { code: "MILLRACE_CLOSED", message: /the mill is closed/ });
    await closing;
  });

  test("closes the rest when a part fails, and passes its error on as it is", async () => {
    const log: string[] = [];
    const failure = new Error("stuck");
    const lifecycle = createLifecycle("the mill");
    lifecycle.add("sluice", () => log.push("sluice"));
    lifecycle.add("wheel", () => {
      throw failure;
    });
    lifecycle.add("stones", () => log.push("stones"));
    await assert.rejects(lifecycle.close(), (error) => error === failure);
    assert.deepEqual(log, ["stones", "sluice"]);
  });

  test("tells of every part when several fail", async () => {
    const lifecycle = createLifecycle("the mill");
    const failures = [new Error("a"), new Error("b")];
    for (const failure of failures) lifecycle.add("part", () => Promise.reject(failure));
    await assert.rejects(lifecycle.close(), (error: AggregateError) => {
      assert.deepEqual(error.errors, failures.toReversed());
      assert.equal(error.message, "2 parts of the mill failed to close.");
      return true;
    });
  });

  test("gives up a part that takes longer than its time, names it, and goes on", async () => {
    const clock = createManualClock();
    const lifecycle = createLifecycle("the mill", clock);
    let sluiceClosed = false;
    lifecycle.add("sluice", () => (sluiceClosed = true));
    lifecycle.add("wheel", () => new Promise(() => {}), 5_000);
    const closed = lifecycle.close();
    const refused = assert.rejects(closed, {
      code: "MILLRACE_CLOSE_TIMEOUT",
      message: "wheel did not close within 5s.",
      details: { part: "wheel", timeout: "5s" },
    });
    await setImmediate();
    clock.advance(4_999);
    await setImmediate();
    assert.equal(sluiceClosed, false);
    clock.advance(1);
    await refused;
    assert.equal(sluiceClosed, true);
    assert.equal(clock.pendingTimers, 0);
  });

  test("leaves no timer behind a part that closes in time", async () => {
    const clock = createManualClock();
    const lifecycle = createLifecycle("the mill", clock);
    lifecycle.add("wheel", () => {});
    await lifecycle.close();
    assert.equal(clock.pendingTimers, 0);
  });

  test("also closes what a part adds while closing", async () => {
    const log: string[] = [];
    const lifecycle = createLifecycle("the mill");
    lifecycle.add("wheel", () => {
      log.push("wheel");
      lifecycle.add("brake", () => log.push("brake"));
    });
    await lifecycle.close();
    assert.deepEqual(log, ["wheel", "brake"]);
  });

  test("refuses a part that comes after everything has closed, because nobody would ever close it", async () => {
    const lifecycle = createLifecycle("the mill");
    await lifecycle.close();
    assert.throws(() => lifecycle.add("late", () => {}), { code: "MILLRACE_CLOSED" });
  });
});
