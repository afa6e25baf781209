import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { suite, test } from "node:test";
import fc from "fast-check";
import { createManualClock } from "../core/index.ts";
import { Deadline } from "./deadline.ts";

const listenersOf = (signal: AbortSignal) => getEventListeners(signal, "abort").length;

suite("a deadline", () => {
  test("aborts the work when its time has passed, and says after how long", () => {
    const clock = createManualClock();
    using deadline = new Deadline({ timeoutMs: 800, clock });
    assert.equal(deadline.remainingMs, 800);
    clock.advance(799);
    assert.equal(deadline.aborted, false);
    assert.equal(deadline.remainingMs, 1);
    deadline.throwIfAborted();
    clock.advance(1);
    assert.equal(deadline.aborted, true);
    assert.equal(deadline.remainingMs, 0);
    assert.throws(() => deadline.throwIfAborted(), {
      code: "MILLRACE_DEADLINE_EXCEEDED",
      details: { deadline: "800ms" },
      retryable: true,
    });
    clock.advance(1_000);
    assert.equal(deadline.remainingMs, 0, "never negative");
  });

  test("without a time never expires", () => {
    const clock = createManualClock();
    using deadline = new Deadline({ clock });
    assert.equal(deadline.expiresAtMs, Infinity);
    assert.equal(deadline.remainingMs, Infinity);
    assert.equal(clock.pendingTimers, 0);
  });

  test("is aborted by whoever stops waiting, once: the first reason stays", () => {
    const clock = createManualClock();
    using deadline = new Deadline({ timeoutMs: 800, clock });
    const reason = new Error("the client left");
    deadline.abort(reason);
    deadline.abort(new Error("too late"));
    clock.advance(1_000);
    assert.equal(deadline.reason, reason);
    assert.throws(() => deadline.throwIfAborted(), reason);
    assert.equal(clock.pendingTimers, 0);
  });

  test("is aborted with its parent, for the same reason", () => {
    const parent = new AbortController();
    using deadline = new Deadline({ parent: parent.signal });
    const reason = new Error("shutting down");
    parent.abort(reason);
    assert.equal(deadline.reason, reason);
    assert.equal(listenersOf(parent.signal), 0);
  });

  test("with a deadline for a parent has its clock, ends no later, and leaves it when it is done", () => {
    const clock = createManualClock();
    using request = new Deadline({ timeoutMs: 100, clock });
    const done = new Deadline({ parent: request });
    const short = new Deadline({ parent: request, timeoutMs: 50 });
    const long = new Deadline({ parent: request, timeoutMs: 5_000 });
    assert.deepEqual(
      [done, short, long].map(({ remainingMs }) => remainingMs),
      [100, 50, 100],
    );
    done[Symbol.dispose]();
    clock.advance(50);
    assert.equal((short.reason as { details: unknown } & Error).message.includes("50ms"), true);
    clock.advance(50);
    assert.equal(long.reason, request.reason);
    assert.equal(done.aborted, false, "it had left");
    assert.equal(clock.pendingTimers, 0);
  });

  test("of a parent that has aborted is aborted from the start", () => {
    const clock = createManualClock();
    const reason = new Error("shutting down");
    using deadline = new Deadline({ parent: AbortSignal.abort(reason), timeoutMs: 800, clock });
    assert.equal(deadline.reason, reason);
    assert.equal(clock.pendingTimers, 0);
  });

  test("does not abort its parent", () => {
    const parent = new AbortController();
    using deadline = new Deadline({ parent: parent.signal });
    deadline.abort(new Error("only this"));
    assert.equal(parent.signal.aborted, false);
  });
});

test("a piece of work under a deadline stops what it started", () => {
  const clock = createManualClock();
  const stopped: string[] = [];
  const startQuery = () => ({ cancel: () => stopped.push("the query") });
  // #region deadline
  using deadline = new Deadline({ timeoutMs: 800, clock });
  const query = startQuery();
  const forget = deadline.onAbort(() => query.cancel()); // at once, when the deadline has passed already
  // … and forget() when the query has ended by itself.
  // #endregion
  clock.advance(800);
  assert.deepEqual(stopped, ["the query"]);
  forget();
});

suite("who listens to a deadline", () => {
  test("is called once with the reason", () => {
    using deadline = new Deadline();
    const heard: unknown[] = [];
    deadline.onAbort((reason) => heard.push(reason));
    deadline.abort("first");
    deadline.abort("second");
    assert.deepEqual(heard, ["first"]);
  });

  test("is called at once when it has been aborted already", () => {
    using deadline = new Deadline();
    deadline.abort("over");
    const heard: unknown[] = [];
    const stop = deadline.onAbort((reason) => heard.push(reason));
    assert.deepEqual(heard, ["over"]);
    stop();
  });

  test("is not called after it stopped listening", () => {
    using deadline = new Deadline();
    const stop = deadline.onAbort(() => assert.fail("it has stopped listening"));
    stop();
    stop();
    deadline.abort("over");
  });

  test("may stop another's listening while being told", () => {
    using deadline = new Deadline();
    const heard: string[] = [];
    const stops: (() => void)[] = [];
    stops.push(
      deadline.onAbort(() => {
        heard.push("first");
        stops[1]!();
      }),
      deadline.onAbort(() => heard.push("second")),
    );
    deadline.abort("over");
    assert.deepEqual(heard, ["first"]);
  });

  test("is told also when another listener throws, whose error is not lost", () => {
    using deadline = new Deadline();
    const heard: string[] = [];
    deadline.onAbort(() => {
      throw new Error("a mistake in a listener");
    });
    deadline.onAbort(() => heard.push("second"));
    assert.throws(() => deadline.abort("over"), /a mistake in a listener/);
    assert.deepEqual(heard, ["second"]);
  });

  test("as a standard signal gets the same one every time, aborted with the same reason", () => {
    using deadline = new Deadline();
    const { signal } = deadline;
    assert.equal(deadline.signal, signal);
    assert.equal(signal.aborted, false);
    const reason = new Error("over");
    deadline.abort(reason);
    assert.equal(signal.reason, reason);
  });

  test("as a standard signal that is first asked for after the abort gets an aborted one", () => {
    using deadline = new Deadline();
    const reason = new Error("over");
    deadline.abort(reason);
    assert.equal(deadline.signal.reason, reason);
  });
});

suite("a deadline that is disposed", () => {
  test("leaves its timer and its parent", () => {
    const clock = createManualClock();
    const parent = new AbortController();
    {
      using _deadline = new Deadline({ timeoutMs: 800, parent: parent.signal, clock });
      assert.equal(clock.pendingTimers, 1);
      assert.equal(listenersOf(parent.signal), 1);
    }
    assert.equal(clock.pendingTimers, 0);
    assert.equal(listenersOf(parent.signal), 0);
  });

  test("is not aborted by it: work that ended well has not failed", () => {
    const deadline = new Deadline({ timeoutMs: 800 });
    deadline[Symbol.dispose]();
    assert.equal(deadline.aborted, false);
  });

  test("leaves nothing of 100,000 of them, whichever way they end", () => {
    const clock = createManualClock();
    const parent = new AbortController();
    for (let i = 0; i < 100_000; i++) {
      using deadline = new Deadline({ timeoutMs: 30_000, parent: parent.signal, clock });
      if (i % 3 === 0) void deadline.signal;
      if (i % 5 === 0) deadline.onAbort(() => {});
      if (i % 7 === 0) deadline.abort("the client left");
    }
    assert.equal(clock.pendingTimers, 0);
    assert.equal(listenersOf(parent.signal), 0);
  });

  test("leaves no timer of the process either", () => {
    const timers = () => process.getActiveResourcesInfo().filter((resource) => resource === "Timeout").length;
    const before = timers();
    for (let i = 0; i < 1_000; i++) {
      using _deadline = new Deadline({ timeoutMs: 30_000 });
    }
    assert.equal(timers(), before);
  });
});

test("the first of several ends decides, in any order, and everything is left behind", () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("advance" as const), ms: fc.nat(60) }),
    fc.record({
      do: fc.constantFrom("abort" as const, "parent" as const, "listen" as const, "signal" as const, "dispose" as const),
    }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 15 }), (steps) => {
      const clock = createManualClock();
      const parent = new AbortController();
      const deadline = new Deadline({ timeoutMs: 100, parent: parent.signal, clock });
      let expected: unknown;
      let disposed = false;
      const heard: unknown[] = [];
      let listening = 0;
      for (const current of steps) {
        if (current.do === "advance") {
          clock.advance(current.ms);
          if (clock.monotonic() >= 100 && !disposed) expected ??= "MILLRACE_DEADLINE_EXCEEDED";
        } else if (current.do === "abort") {
          deadline.abort("abort");
          expected ??= "abort";
        } else if (current.do === "parent") {
          if (!disposed && !parent.signal.aborted) expected ??= "parent";
          parent.abort("parent");
        } else if (current.do === "listen") {
          deadline.onAbort((reason) => heard.push(reason));
          listening++;
        } else if (current.do === "signal") {
          assert.equal(deadline.signal.aborted, deadline.aborted);
        } else {
          deadline[Symbol.dispose]();
          disposed = true;
        }
        const reason = (deadline.reason as { code?: string } | undefined)?.code ?? deadline.reason;
        assert.equal(reason, expected);
        assert.equal(deadline.signal.aborted, expected !== undefined);
        assert.equal(heard.length, expected === undefined ? 0 : listening);
        if (expected !== undefined || disposed) {
          assert.equal(clock.pendingTimers, 0);
          assert.equal(listenersOf(parent.signal), 0);
        }
      }
    }),
  );
});
