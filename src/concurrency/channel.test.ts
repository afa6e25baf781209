import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { setImmediate } from "node:timers/promises";
import { suite, test } from "node:test";
import fc from "fast-check";
import { createManualClock } from "../core/index.ts";
import { Channel } from "./channel.ts";
import { group } from "./group.ts";

test("producers and consumers work at the pace of the slower", async () => {
  const lines = Array.from({ length: 40 }, (_, i) => `line ${i}`);
  const stored: string[] = [];
  const store = async (line: string) => {
    await setImmediate();
    stored.push(line);
  };
  // #region channel
  await group((tasks) => {
    const channel = new Channel<string>({ capacity: 8 });
    void tasks.start(async () => {
      for (const line of lines) await channel.send(line); // waits while eight lie there
      void channel.close();
    });
    for (let i = 0; i < 3; i++) {
      void tasks.start(async () => {
        for await (const line of channel) await store(line); // each line goes to one of the three
      });
    }
  });
  // #endregion
  assert.deepEqual(stored.toSorted(), lines.toSorted());
});

suite("a channel", () => {
  test("keeps the order, and lets so many values lie", async () => {
    const channel = new Channel<number>({ capacity: 2 });
    await channel.send(1);
    assert.equal(channel.trySend(2), true);
    assert.equal(channel.trySend(3), false);
    const third = channel.send(3);
    assert.equal(channel.length, 2);
    assert.deepEqual(await channel.receive(), { done: false, value: 1 });
    await third;
    assert.deepEqual(await channel.receive(), { done: false, value: 2 });
    assert.deepEqual(await channel.receive(), { done: false, value: 3 });
  });

  test("of capacity 0 hands over from hand to hand", async () => {
    const channel = new Channel<number>({ capacity: 0 });
    let sent = false;
    const sending = channel.send(1).then(() => (sent = true));
    await setImmediate();
    assert.equal(sent, false);
    assert.deepEqual(await channel.receive(), { done: false, value: 1 });
    await sending;
    const receiving = channel.receive();
    assert.equal(channel.trySend(2), true);
    assert.deepEqual(await receiving, { done: false, value: 2 });
  });

  test("that is closed delivers what lies in it, refuses who waits for room, and says when it is empty", async () => {
    const channel = new Channel<number>({ capacity: 1 });
    await channel.send(1);
    const refused = channel.send(2);
    let drained = false;
    const closing = channel.close().then(() => (drained = true));
    await assert.rejects(refused, { code: "MILLRACE_CHANNEL_CLOSED" });
    await assert.rejects(channel.send(3), { code: "MILLRACE_CHANNEL_CLOSED" });
    assert.equal(channel.trySend(4), false);
    await setImmediate();
    assert.equal(drained, false);
    assert.deepEqual(await channel.receive(), { done: false, value: 1 });
    await closing;
    assert.deepEqual(await channel.receive(), { done: true, value: undefined });
    await channel.close();
  });

  test("that is closed sends home who waits for a value", async () => {
    const channel = new Channel<number>();
    const waiting = [channel.receive(), channel.receive()];
    void channel.close();
    assert.deepEqual(await Promise.all(waiting), [
      { done: true, value: undefined },
      { done: true, value: undefined },
    ]);
  });

  test("that is aborted tells everybody why", async () => {
    const mistake = new Error("the producer failed");
    const channel = new Channel<number>({ capacity: 1 });
    await channel.send(1);
    const sending = channel.send(2);
    channel.abort(mistake);
    await assert.rejects(sending, mistake);
    await assert.rejects(channel.receive(), mistake);
    await assert.rejects(channel.send(3), mistake);
    await assert.rejects(channel.close(), mistake);
    const empty = new Channel<number>();
    const receiving = empty.receive();
    empty.abort(mistake);
    await assert.rejects(receiving, mistake);
  });

  test("goes on for the others when one loop is left", async () => {
    const channel = new Channel<number>();
    for (let i = 0; i < 5; i++) await channel.send(i);
    void channel.close();
    for await (const value of channel) if (value === 1) break;
    const rest: number[] = [];
    for await (const value of channel) rest.push(value);
    assert.deepEqual(rest, [2, 3, 4]);
  });

  test("ends a wait with its signal or the running work, and nothing is lost by it", async () => {
    const clock = createManualClock();
    const channel = new Channel<number>({ capacity: 1 });
    const controller = new AbortController();
    const receiving = channel.receive({ signal: controller.signal });
    controller.abort();
    await assert.rejects(receiving, { name: "AbortError" });
    assert.equal(getEventListeners(controller.signal, "abort").length, 0);
    await channel.send(1);
    const blocked = group((tasks) => tasks.start(() => channel.send(2)), { deadline: "100ms", clock });
    clock.advance(100);
    await assert.rejects(blocked, { code: "MILLRACE_DEADLINE_EXCEEDED" });
    assert.deepEqual(await channel.receive(), { done: false, value: 1 });
    assert.equal(channel.length, 0);
  });

  test("refuses a producer that does not wait", async () => {
    const channel = new Channel<number>({ capacity: 1, maxWaiting: 2 });
    const sends = [1, 2, 3].map((value) => channel.send(value));
    await assert.rejects(channel.send(4), { code: "MILLRACE_CHANNEL_FULL", retryable: true });
    channel[Symbol.dispose]();
    await Promise.allSettled(sends);
  });
});

test("loses and duplicates nothing, whoever sends, takes, leaves and closes when", async () => {
  const step = fc.oneof(
    { weight: 5, arbitrary: fc.record({ do: fc.constant("send" as const), producer: fc.nat(2) }) },
    { weight: 5, arbitrary: fc.record({ do: fc.constant("receive" as const), consumer: fc.nat(2) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("leave" as const), which: fc.nat(20) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("turn" as const) }) },
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 60, size: "max" }),
      fc.nat(3),
      fc.nat(80),
      fc.boolean(),
      async (steps, capacity, closeAt, aborts) => {
        const channel = new Channel<{ readonly producer: number; readonly n: number }>({ capacity });
        const accepted: string[] = [];
        const refused: string[] = [];
        const taken: { readonly producer: number; readonly n: number }[] = [];
        const waits: AbortController[] = [];
        const settled: Promise<unknown>[] = [];
        let n = 0;
        for (const [at, current] of steps.entries()) {
          if (at === closeAt) {
            if (aborts) channel.abort(new Error("aborted"));
            else void channel.close();
          }
          const controller = new AbortController();
          if (current.do === "send") {
            const value = { producer: current.producer, n: n++ };
            const name = `${value.producer}:${value.n}`;
            waits.push(controller);
            settled.push(
              channel.send(value, { signal: controller.signal }).then(
                () => accepted.push(name),
                () => refused.push(name),
              ),
            );
          } else if (current.do === "receive") {
            waits.push(controller);
            settled.push(
              channel.receive({ signal: controller.signal }).then(
                (received) => void (received.done || taken.push(received.value)),
                () => {},
              ),
            );
          } else if (current.do === "leave") {
            waits[current.which % Math.max(1, waits.length)]?.abort(new Error("left"));
          } else await Promise.resolve();
          assert.ok(channel.length <= capacity);
        }
        const aborted = aborts && closeAt < steps.length;
        // Whoever is left takes the rest.
        if (!channel.closed) {
          const rest = (async () => {
            for await (const value of channel) taken.push(value);
          })();
          await setImmediate();
          await channel.close();
          await rest;
        } else if (!aborted) {
          for await (const value of channel) taken.push(value);
        }
        await Promise.all(settled);
        const names = taken.map(({ producer, n }) => `${producer}:${n}`);
        assert.equal(new Set(names).size, names.length, "nothing twice");
        assert.deepEqual(
          names.filter((name) => refused.includes(name)),
          [],
          "what was refused reached nobody",
        );
        if (!aborted) assert.deepEqual(names.toSorted(), accepted.toSorted(), "what was accepted reached somebody");
        assert.equal(accepted.length + refused.length, n);
        for (const producer of [0, 1, 2]) {
          const order = taken.filter((value) => value.producer === producer).map((value) => value.n);
          assert.deepEqual(
            order,
            order.toSorted((a, b) => a - b),
            "in the producer's order",
          );
        }
      },
    ),
    { numRuns: 600 },
  );
});
