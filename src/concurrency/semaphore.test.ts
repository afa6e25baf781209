import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { setImmediate } from "node:timers/promises";
import { suite, test } from "node:test";
import fc from "fast-check";
import { createManualClock } from "../core/index.ts";
import { runInContext } from "./context.ts";
import { Deadline } from "./deadline.ts";
import { type Permit, Semaphore } from "./semaphore.ts";

test("only so many do the same thing at once", async () => {
  let busy = 0;
  let most = 0;
  const render = async (_page: number) => {
    most = Math.max(most, ++busy);
    await setImmediate();
    busy--;
  };
  // #region semaphore
  const presses = new Semaphore({ permits: 4 });

  const print = async (page: number, weight: number) => {
    using _permit = await presses.acquire({ weight });
    await render(page);
  };
  // #endregion
  await Promise.all(Array.from({ length: 20 }, (_, page) => print(page, 2)));
  assert.equal(most, 2);
  assert.equal(presses.available, 4);
});

suite("a semaphore", () => {
  test("serves in the order of asking: a heavy one at the head is not overtaken", async () => {
    const semaphore = new Semaphore({ permits: 3 });
    const served: string[] = [];
    const first = await semaphore.acquire({ weight: 2 });
    const heavy = semaphore.acquire({ weight: 3 }).then((permit) => (served.push("heavy"), permit));
    const light = semaphore.acquire().then((permit) => (served.push("light"), permit));
    assert.equal(semaphore.tryAcquire(), undefined, "one is free, but others wait");
    await setImmediate();
    assert.deepEqual(served, []);
    first.release();
    (await heavy).release();
    (await light).release();
    assert.deepEqual(served, ["heavy", "light"]);
  });

  test("lets a permit be given back once, however often that is said", async () => {
    const semaphore = new Semaphore({ permits: 1 });
    const permit = await semaphore.acquire();
    permit.release();
    permit[Symbol.dispose]();
    assert.equal(semaphore.available, 1);
  });

  test("ends a wait with its signal, and serves those behind", async () => {
    const semaphore = new Semaphore({ permits: 2 });
    using _one = await semaphore.acquire();
    const controller = new AbortController();
    const heavy = semaphore.acquire({ weight: 2, signal: controller.signal });
    const light = semaphore.acquire();
    const left = new Error("left");
    controller.abort(left);
    await assert.rejects(heavy, left);
    (await light).release();
    assert.equal(getEventListeners(controller.signal, "abort").length, 0);
    await assert.rejects(semaphore.acquire({ signal: controller.signal }), left);
    assert.equal(semaphore.available, 1);
  });

  test("ends a wait with the running work", async () => {
    const clock = createManualClock();
    const semaphore = new Semaphore({ permits: 1 });
    using _permit = await semaphore.acquire();
    using deadline = new Deadline({ timeoutMs: 100, clock });
    const waiting = runInContext({ requestId: "a", deadline }, () => semaphore.acquire());
    clock.advance(100);
    await assert.rejects(waiting, { code: "MILLRACE_DEADLINE_EXCEEDED" });
    assert.equal(semaphore.waiting, 0);
  });

  test("refuses who would wait too far behind, and weights that it never has", async () => {
    const semaphore = new Semaphore({ permits: 1, maxWaiting: 1 });
    const permit = await semaphore.acquire();
    const second = semaphore.acquire();
    await assert.rejects(semaphore.acquire(), { code: "MILLRACE_SEMAPHORE_FULL", retryable: true });
    permit.release();
    (await second).release();
    for (const weight of [0, 2, 1.5, NaN]) {
      await assert.rejects(semaphore.acquire({ weight }), { code: "MILLRACE_SEMAPHORE_WEIGHT_INVALID" });
    }
  });

  test("gives its permits back when the work throws", async () => {
    const semaphore = new Semaphore({ permits: 1 });
    await assert.rejects(semaphore.run(() => Promise.reject(new Error("x"))));
    assert.equal(await semaphore.run(() => 5), 5);
    assert.equal(semaphore.available, 1);
  });

  test("serves 100,000 who wait in a time that grows with them, not with their square", async () => {
    const semaphore = new Semaphore({ permits: 1, maxWaiting: 100_000 });
    const permit = await semaphore.acquire();
    let served = 0;
    const all = Array.from({ length: 100_000 }, () => semaphore.run(() => void served++));
    permit.release();
    await Promise.all(all);
    assert.equal(served, 100_000);
  });
});

test("any sequence of asking, leaving and giving back goes as in the model: first come, first served", async () => {
  const steps = fc.array(
    fc.oneof(
      { weight: 4, arbitrary: fc.record({ do: fc.constant("acquire" as const), weight: fc.integer({ min: 1, max: 4 }) }) },
      { weight: 3, arbitrary: fc.record({ do: fc.constant("release" as const), which: fc.nat(10) }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant("leave" as const), which: fc.nat(10) }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant("try" as const), weight: fc.integer({ min: 1, max: 4 }) }) },
    ),
    { maxLength: 40, size: "max" },
  );
  await fc.assert(
    fc.asyncProperty(steps, async (sequence) => {
      const semaphore = new Semaphore({ permits: 4 });
      const permits = new Map<number, Permit>();
      const controllers = new Map<number, AbortController>();
      // The model: permits as numbers, who waits as a list.
      let free = 4;
      const waiting: { readonly id: number; readonly weight: number }[] = [];
      const held = new Map<number, number>();
      const serve = () => {
        while (waiting.length > 0 && waiting[0]!.weight <= free) {
          const { id, weight } = waiting.shift()!;
          free -= weight;
          held.set(id, weight);
        }
      };
      for (const [id, step] of sequence.entries()) {
        if (step.do === "acquire") {
          const controller = new AbortController();
          controllers.set(id, controller);
          semaphore.acquire({ weight: step.weight, signal: controller.signal }).then(
            (permit) => permits.set(id, permit),
            () => {},
          );
          waiting.push({ id, weight: step.weight });
          serve();
        } else if (step.do === "try") {
          const permit = semaphore.tryAcquire(step.weight);
          const may = waiting.length === 0 && step.weight <= free;
          assert.equal(permit !== undefined, may);
          if (permit) {
            permits.set(id, permit);
            free -= step.weight;
            held.set(id, step.weight);
          }
        } else if (step.do === "release" && held.size > 0) {
          const chosen = [...held.keys()][step.which % held.size]!;
          permits.get(chosen)!.release();
          permits.delete(chosen);
          free += held.get(chosen)!;
          held.delete(chosen);
          serve();
        } else if (step.do === "leave" && waiting.length > 0) {
          const at = step.which % waiting.length;
          controllers.get(waiting[at]!.id)!.abort();
          waiting.splice(at, 1);
          serve();
        }
        await Promise.resolve();
        await Promise.resolve();
        assert.deepEqual([...permits.keys()].toSorted(), [...held.keys()].toSorted());
        assert.equal(semaphore.available, free);
        assert.equal(semaphore.waiting, waiting.length);
      }
    }),
    { numRuns: 500 },
  );
});
