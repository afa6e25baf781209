// What a task's policy and the work around it mean once workers run: uniqueness, limits, order, delays, context. On a real PostgreSQL and a real Redis.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { Deadline, currentContext, runInContext } from "millrace/concurrency";
import { task } from "millrace/tasks";
import { Type } from "typebox";
import { storeKinds, taskService } from "./service.ts";

const Numbered = Type.Object({ n: Type.Integer() });
const options = { timeout: "20s" } as const;

for (const kind of storeKinds) {
  suite(`a policy, on ${kind}`, () => {
    test("`unique` refuses the second of the same input until the first has finished, and names the first", async () => {
      const once = task("once", { input: Numbered, unique: true }, ({ input }) => input.n);
      await using here = await taskService({ tasks: [once] }, kind);
      const first = await once.enqueue({ n: 1 }, { in: here.db });
      const second = await once.enqueue({ n: 1 }, { in: here.db });
      const other = await once.enqueue({ n: 2 }, { in: here.db });
      assert.deepEqual([second.accepted, second.id, other.accepted], [false, first.id, true]);
      await here.tasks.start();
      assert.equal(await here.tasks.result(second, options), 1);
      assert.equal((await once.enqueue({ n: 1 }, { in: here.db })).accepted, true);
    });

    test("`concurrencyPer` holds for two workers together, key by key", async () => {
      const running = new Map<string, number>();
      let most = 0;
      let mostAtAll = 0;
      const limited = task(
        "limited",
        { input: Type.Object({ key: Type.String(), n: Type.Integer() }), concurrencyPer: { key: ({ key }) => key, max: 2 } },
        async ({ input }) => {
          running.set(input.key, (running.get(input.key) ?? 0) + 1);
          most = Math.max(most, running.get(input.key)!);
          mostAtAll = Math.max(
            mostAtAll,
            [...running.values()].reduce((sum, n) => sum + n),
          );
          await new Promise((resolve) => setTimeout(resolve, 20));
          running.set(input.key, running.get(input.key)! - 1);
        },
      );
      await using here = await taskService({ tasks: [limited] }, kind);
      await using second = await here.another([limited]);
      const inputs = Array.from({ length: 24 }, (_, n) => ({ key: n % 2 === 0 ? "even" : "odd", n }));
      const handles = await here.tasks.enqueueMany(limited, inputs);
      await Promise.all([here.tasks.start(), second.start()]);
      await Promise.all(handles.map((handle) => here.tasks.result(handle, options)));
      assert.equal(most, 2);
      assert.ok(mostAtAll > 2, `${mostAtAll} at once: one key does not hold up the other`);
    });

    test("`rate` holds back what is too much for its window, and goes on in the next", async () => {
      const ran: number[] = [];
      const paced = task(
        "paced",
        { input: Numbered, queue: "paced", rate: { max: 3, per: "1h" } },
        ({ input }) => void ran.push(input.n),
      );
      await using here = await taskService({ tasks: [paced] }, kind);
      const handles = await here.tasks.enqueueMany(
        paced,
        Array.from({ length: 5 }, (_, n) => ({ n })),
      );
      await here.tasks.start();
      await Promise.all(handles.slice(0, 3).map((handle) => here.tasks.result(handle, options)));
      assert.deepEqual(ran.toSorted(), [0, 1, 2]);
      assert.equal((await here.tasks.status(handles[3]!.id))?.state, "waiting");
      await here.passTime(3_600_000);
      await here.tasks.store.makeDue(handles[3]!.id);
      await Promise.all(handles.slice(3).map((handle) => here.tasks.result(handle, options)));
      assert.equal(ran.length, 5);
    });

    test("`priority` decides what comes first, and `delay` what does not come yet", async () => {
      const ran: number[] = [];
      const ordered = task("ordered", { input: Numbered }, ({ input }) => void ran.push(input.n));
      await using here = await taskService({ tasks: [ordered], concurrency: 1 }, kind);
      const later = await ordered.enqueue({ n: 9 }, { in: here.db, delay: "1h", priority: "urgent" });
      const handles = [
        await ordered.enqueue({ n: 3 }, { in: here.db, priority: "low" }),
        await ordered.enqueue({ n: 2 }, { in: here.db }),
        await ordered.enqueue({ n: 1 }, { in: here.db, priority: "urgent" }),
      ];
      await here.tasks.start();
      await Promise.all(handles.map((handle) => here.tasks.result(handle, options)));
      assert.deepEqual(ran, [1, 2, 3]);
      assert.equal((await here.tasks.status(later.id))?.state, "waiting");
    });
  });

  test(`who caused a task is known where it runs, and in the tasks that follow it; its deadline is the attempt's own, on ${kind}`, async () => {
    const trace = { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" };
    const seen: unknown[] = [];
    const note = (): void => {
      const { tenant, principalId, trace: its, deadline } = currentContext()!;
      seen.push([tenant, principalId, its?.traceparent, deadline.remainingMs > 30_000]);
    };
    const second = task("second", {}, note);
    const first = task("first", {}, async ({ db }) => {
      note();
      await second.enqueue(undefined, { in: db });
    });
    await using here = await taskService({ tasks: [first, second] }, kind);
    await here.tasks.start();
    using deadline = new Deadline({ timeoutMs: 20_000 });
    const handle = await runInContext({ requestId: "req-7", deadline, tenant: "acme", principalId: "user-5", trace }, () =>
      first.enqueue(undefined, { in: here.db }),
    );
    await here.tasks.result(handle, options);
    const [follower] = await here.tasks.store.list({ name: "second", limit: 1 });
    await here.tasks.result(follower!.id, options);
    const expected = ["acme", "user-5", trace.traceparent, true];
    assert.deepEqual(seen, [expected, expected]);
  });
}
