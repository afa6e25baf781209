// Marks are sent, come back or do not, and say as of when everything is applied.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { createManualClock } from "../../core/index.ts";
import { Marks } from "./marks.ts";

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

function marked() {
  const clock = createManualClock();
  const asked: PromiseWithResolvers<number>[] = [];
  const passed: number[] = [];
  let order = 1;
  const marks = new Marks({
    clock,
    everyMs: 250,
    order: () => order,
    onPassed: (at) => passed.push(at),
    feed: {
      mark: () => {
        const one = Promise.withResolvers<number>();
        asked.push(one);
        return one.promise;
      },
    },
  });
  return {
    clock,
    marks,
    asked,
    passed,
    write: () => ++order,
    answer: async (number: number) => {
      asked.shift()!.resolve(number);
      await turn();
    },
    [Symbol.dispose]: () => marks.close(),
  };
}

suite("a mark", () => {
  test("that comes back says that everything before it was sent has been applied", async () => {
    using at = marked();
    assert.equal(at.marks.asOfMs, -Infinity);
    at.clock.advance(100); // the first was sent at 0
    await at.answer(50);
    at.marks.advance(49);
    assert.equal(at.marks.asOfMs, -Infinity);
    at.marks.advance(50);
    assert.equal(at.marks.asOfMs, 0);
    at.clock.advance(150);
    assert.equal(at.asked.length, 1);
    at.marks.advance(60);
    await at.answer(60); // it had passed before its number was known here
    assert.equal(at.marks.asOfMs, 250);
  });

  test("is written one at a time; who asks meanwhile shares the next", async () => {
    using at = marked();
    at.write();
    const settled = [at.marks.settled(), at.marks.settled()];
    assert.equal(at.asked.length, 1);
    await at.answer(10);
    assert.equal(at.asked.length, 1);
    at.write();
    await at.answer(20);
    at.marks.advance(20);
    await Promise.all(settled);
    assert.deepEqual(at.passed, [1, 2]); // the write after the second was sent waits for a third
  });

  test("for a write is tried again until it can be written", async () => {
    using at = marked();
    await at.answer(1);
    at.write();
    at.marks.request();
    at.asked.shift()!.reject(new Error("no server"));
    await turn();
    at.clock.advance(50);
    await at.answer(5);
    at.marks.advance(5);
    assert.deepEqual(at.passed, [1, 2]);
  });

  test("of before a restart is not waited for", async () => {
    using at = marked();
    await at.answer(1_000_000);
    const refused = assert.rejects(at.marks.settled(), { code: "MILLRACE_FRESHNESS_RESTARTED" });
    at.clock.advance(10);
    at.marks.restart();
    await at.answer(2_000_000); // asked for before
    await refused;
    await at.answer(7);
    at.marks.advance(7);
    assert.equal(at.marks.asOfMs, 10);
  });

  test("leaves no timer behind", async () => {
    const at = marked();
    at.marks.close();
    await at.answer(1).catch(() => {});
    assert.equal(at.clock.pendingTimers, 0);
  });
});
