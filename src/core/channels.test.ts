import assert from "node:assert/strict";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { getEventListeners } from "node:events";
import { suite, test } from "node:test";
import { defineChannel } from "./channels.ts";

// #region declare
/** A sack was filled. */
interface SackMessage {
  readonly kilograms: number;
  readonly durationMs: number;
}

const sackChannel = defineChannel<SackMessage>("millrace:mill:sack");
// #endregion

suite("a channel", () => {
  test("brings every message to every subscriber until it leaves", () => {
    const heard: string[] = [];
    {
      using _a = sackChannel.subscribe(({ kilograms }) => heard.push(`a${kilograms}`));
      {
        using _b = sackChannel.subscribe(({ kilograms }) => heard.push(`b${kilograms}`));
        sackChannel.publish({ kilograms: 1, durationMs: 5 });
      }
      sackChannel.publish({ kilograms: 2, durationMs: 5 });
    }
    sackChannel.publish({ kilograms: 3, durationMs: 5 });
    assert.deepEqual(heard, ["a1", "b1", "a2"]);
  });

  test("says whether anybody listens, so that nobody builds messages for nothing", () => {
    assert.equal(sackChannel.hasSubscribers, false);
    {
      using _subscription = sackChannel.subscribe(() => {});
      assert.equal(sackChannel.hasSubscribers, true);
    }
    assert.equal(sackChannel.hasSubscribers, false);
  });

  test("is the diagnostics channel of its name, open to programs that know only Node", () => {
    const heard: unknown[] = [];
    const listener = (message: unknown) => heard.push(message);
    subscribe("millrace:mill:sack", listener);
    try {
      assert.equal(sackChannel.name, "millrace:mill:sack");
      sackChannel.publish({ kilograms: 1, durationMs: 5 });
    } finally {
      unsubscribe("millrace:mill:sack", listener);
    }
    assert.deepEqual(heard, [{ kilograms: 1, durationMs: 5 }]);
  });
});

test("a subscriber and a publisher need only the channel", () => {
  const weighed: number[] = [];
  // #region listen
  using _subscription = sackChannel.subscribe(({ kilograms }) => weighed.push(kilograms));

  if (sackChannel.hasSubscribers) sackChannel.publish({ kilograms: 50, durationMs: 5 });
  // #endregion
  assert.deepEqual(weighed, [50]);
});

suite("the next message", () => {
  test("is the first that matches; afterwards nobody listens any more", async () => {
    const heavy = sackChannel.next(({ kilograms }) => kilograms > 50);
    sackChannel.publish({ kilograms: 10, durationMs: 5 });
    sackChannel.publish({ kilograms: 60, durationMs: 5 });
    sackChannel.publish({ kilograms: 70, durationMs: 5 });
    assert.equal((await heavy).kilograms, 60);
    assert.equal(sackChannel.hasSubscribers, false);
  });

  test("is no longer waited for when the signal aborts", async () => {
    const controller = new AbortController();
    const next = sackChannel.next(undefined, controller.signal);
    const reason = new Error("enough");
    controller.abort(reason);
    await assert.rejects(next, reason);
    assert.equal(sackChannel.hasSubscribers, false);
  });

  test("is not waited for at all with a signal that has aborted", async () => {
    const reason = new Error("enough");
    await assert.rejects(sackChannel.next(undefined, AbortSignal.abort(reason)), reason);
    assert.equal(sackChannel.hasSubscribers, false);
  });

  test("leaves nothing on the signal when it has come", async () => {
    const { signal } = new AbortController();
    const next = sackChannel.next(undefined, signal);
    assert.equal(getEventListeners(signal, "abort").length, 1);
    sackChannel.publish({ kilograms: 1, durationMs: 5 });
    await next;
    assert.equal(getEventListeners(signal, "abort").length, 0);
  });

  test("is refused, and not waited for again, when the question itself throws", async () => {
    const next = sackChannel.next(() => {
      throw new Error("a mistake in the test");
    });
    sackChannel.publish({ kilograms: 1, durationMs: 5 });
    await assert.rejects(next, /a mistake in the test/);
    assert.equal(sackChannel.hasSubscribers, false);
  });
});
