import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { suite, test } from "node:test";
import { createManualClock } from "../core/index.ts";
import { currentContext, runInContext, wholeOf } from "./context.ts";
import { Deadline } from "./deadline.ts";
import { deadline, timeout } from "./timeout.ts";
import { traceOf } from "./trace.ts";

test("a part of the work has less time than the whole", async () => {
  const clock = createManualClock();
  const slow = (_options: { signal: AbortSignal }) => new Promise<string>(() => {});
  const call = async () => {
    // #region timeout
    const forecast = await timeout("300ms", ({ signal }) => slow({ signal }), { clock });
    // #endregion
    return forecast;
  };
  const result = call();
  clock.advance(300);
  await assert.rejects(result, { code: "MILLRACE_DEADLINE_EXCEEDED", details: { deadline: "300ms" } });
  assert.equal(clock.pendingTimers, 0);
});

suite("timeout()", () => {
  test("gives the result, and leaves neither timer nor listener", async () => {
    const clock = createManualClock();
    const parent = new AbortController();
    assert.equal(await timeout("1s", () => 5, { clock, signal: parent.signal }), 5);
    assert.equal(await timeout("1s", async () => 6, { clock, signal: parent.signal }), 6);
    await assert.rejects(
      timeout("1s", () => Promise.reject(new Error("x")), { clock, signal: parent.signal }),
      /x/,
    );
    assert.equal(clock.pendingTimers, 0);
    assert.equal(getEventListeners(parent.signal, "abort").length, 0);
  });

  test("runs its work as a part of the running work, under its own deadline", async () => {
    const clock = createManualClock();
    using request = new Deadline({ timeoutMs: 100, clock });
    const context = { requestId: "req-7", deadline: request, principalId: undefined as string | undefined };
    await runInContext(context, async () => {
      const slow = timeout("1s", (own) => {
        const part = currentContext()!;
        assert.equal(part.requestId, "req-7");
        assert.equal(part.deadline, own);
        assert.equal(own.remainingMs, 100, "no longer than the whole");
        assert.equal(wholeOf(part), context);
        part.principalId = "user-5";
        return new Promise(() => {});
      });
      assert.equal(currentContext(), context);
      clock.advance(100);
      await assert.rejects(slow, { details: { deadline: "100ms" } });
    });
    assert.equal(context.principalId, "user-5", "who is served is the whole's matter");
  });

  test("does not begin what has no time, and ignores what comes too late", async () => {
    const clock = createManualClock();
    const late = Promise.withResolvers<never>();
    const result = timeout("10ms", () => late.promise, { clock });
    clock.advance(10);
    await assert.rejects(result, { code: "MILLRACE_DEADLINE_EXCEEDED" });
    late.reject(new Error("too late, and nobody's unhandled rejection"));
    await assert.rejects(
      timeout("1s", () => assert.fail("it must not run"), { signal: AbortSignal.abort(new Error("gone")) }),
      /gone/,
    );
    await assert.rejects(
      timeout("soon" as "1s", () => 1),
      { code: "MILLRACE_DURATION_INVALID" },
    );
  });
});

suite("deadline()", () => {
  test("ends the work at a moment", async () => {
    const clock = createManualClock(Date.UTC(2026, 5, 1));
    const result = deadline(new Date(Date.UTC(2026, 5, 1, 0, 0, 2)), () => new Promise(() => {}), { clock });
    clock.advance(1_999);
    assert.equal(clock.pendingTimers, 1);
    clock.advance(1);
    await assert.rejects(result, { code: "MILLRACE_DEADLINE_EXCEEDED", details: { deadline: "2s" } });
  });

  test("takes a moment in the past for no time, one in a far future for no end", async () => {
    const clock = createManualClock(Date.UTC(2026, 5, 1));
    const past = deadline(new Date(0), () => new Promise(() => {}), { clock });
    clock.advance(0);
    await assert.rejects(past, { code: "MILLRACE_DEADLINE_EXCEEDED" });
    assert.equal(await deadline(new Date(Date.UTC(2030, 0, 1)), () => clock.pendingTimers, { clock }), 0);
  });
});

test("a trace is read in the form of the specification and no other", () => {
  const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  assert.deepEqual(traceOf(good), { traceparent: good });
  assert.deepEqual(traceOf(good, "vendor=1,other=2"), { traceparent: good, tracestate: "vendor=1,other=2" });
  assert.deepEqual(traceOf(good, "line\nbreak"), { traceparent: good });
  assert.deepEqual(traceOf(`01${good.slice(2)}-more`)?.traceparent, `01${good.slice(2)}-more`);
  for (const bad of [
    undefined,
    "",
    good.toUpperCase(),
    `${good}-more`,
    `ff${good.slice(2)}`,
    good.replace(/0af\w+(?=-b)/, "0".repeat(32)),
    good.replace("b7ad6b7169203331", "0".repeat(16)),
    `${good}\r\nx: y`,
  ]) {
    assert.equal(traceOf(bad), undefined, bad);
  }
});
