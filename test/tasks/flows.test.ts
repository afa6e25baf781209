// Chains and fan-outs, on a real PostgreSQL and a real Redis.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { chain, fanOut, task, taskEndChannel } from "millrace/tasks";
import { Type } from "typebox";
import { nextEnd, storeKinds, taskService } from "./service.ts";

const Numbered = Type.Object({ n: Type.Integer() });
const options = { timeout: "20s" } as const;
const once = { attempts: 1 } as const;

for (const kind of storeKinds) {
  suite(`a chain, on ${kind}`, () => {
    const double = task("double", { input: Numbered }, ({ input }) => ({ n: input.n * 2 }));
    const add = task("add", { input: Numbered }, ({ input }) => ({ n: input.n + 1 }));
    const say = task(
      "say",
      { input: Type.Object({ n: Type.Integer(), unit: Type.Optional(Type.String()) }) },
      ({ input }) => `${input.n} ${input.unit ?? ""}`,
    );

    test("hands the result of each step to the next, and its handle waits for the last", async () => {
      await using here = await taskService({ tasks: [double, add, say] }, kind);
      await here.tasks.start();
      const { db, tasks } = here;
      // #region chain
      const steps = chain(double.with({ n: 20 }), add, say);
      const handle = await db.transaction((tx) => steps.enqueue({ in: tx }));
      const text: string = await tasks.result(handle, { timeout: "20s" });
      // #endregion
      assert.equal(text, "41 ");
      assert.equal((await here.tasks.store.list({ limit: 10 })).length, 3);
    });

    test("does not begin when its transaction is rolled back", async () => {
      await using here = await taskService({ tasks: [double, add] }, kind);
      await assert.rejects(
        here.db.transaction(async (tx) => {
          await chain(double.with({ n: 1 }), add).enqueue({ in: tx });
          throw new Error("no");
        }),
      );
      assert.deepEqual(await here.tasks.store.list({ limit: 10 }), []);
    });

    test("takes an input that is said, in a queue and with a limit of its own", async () => {
      const other = task(
        "other",
        { input: Numbered, queue: "others", concurrencyPer: { key: ({ n }) => String(n), max: 1 } },
        ({ input }) => input,
      );
      await using here = await taskService({ tasks: [double, other, add] }, kind);
      await here.tasks.start();
      const handle = await chain(double.with({ n: 1 }), other, other.with({ n: 7 }), add).enqueue({ in: here.tasks });
      assert.deepEqual(await here.tasks.result(handle, options), { n: 8 });
      const records = await here.tasks.store.list({ name: "other", limit: 10 });
      assert.deepEqual(records.map(({ queue, concurrencyKey }) => [queue, concurrencyKey]).sort(), [
        ["others", "other:2"],
        ["others", "other:7"],
      ]);
    });

    test("ends with a step that is dead, and goes on when that is redriven", async () => {
      let broken = true;
      const fragile = task("fragile", { input: Numbered, retry: once }, ({ input }) => {
        if (broken) throw new Error("The pipe is broken.");
        return input;
      });
      await using here = await taskService({ tasks: [double, fragile, add] }, kind);
      await here.tasks.start();
      const handle = await chain(double.with({ n: 1 }), fragile, add).enqueue({ in: here.tasks });
      await assert.rejects(here.tasks.result(handle, options), (error: Error & { code?: string }) => {
        assert.equal(error.code, "MILLRACE_TASKS_NO_RESULT");
        assert.match(error.message, /"fragile" is in the dead letter after 1 attempts: The pipe is broken/);
        return true;
      });
      broken = false;
      await here.tasks.store.redrive({ name: "fragile", limit: 1 });
      assert.deepEqual(await here.tasks.result(handle, options), { n: 3 });
    });

    test("whose next step does not take the result has it in the dead letter", async () => {
      const picky = task("picky", { input: Type.Object({ n: Type.Integer({ maximum: 3 }) }) }, ({ input }) => input);
      await using here = await taskService({ tasks: [double, picky] }, kind);
      await here.tasks.start();
      const handle = await chain(double.with({ n: 2 }), picky).enqueue({ in: here.tasks });
      await assert.rejects(here.tasks.result(handle, options), /n must be <= 3/);
      assert.equal((await here.tasks.status(handle.id))?.deadReason, "input");
    });

    test("is cancelled at the step that it is at, also when that returns all the same", async () => {
      const begun = Promise.withResolvers<void>();
      const stubborn = task("stubborn", { input: Numbered }, async ({ input, signal }) => {
        begun.resolve();
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        return input;
      });
      await using here = await taskService({ tasks: [double, stubborn, add] }, kind);
      await here.tasks.start();
      const handle = await chain(double.with({ n: 1 }), stubborn, add).enqueue({ in: here.tasks });
      await begun.promise;
      const ended = nextEnd("stubborn");
      const refused = assert.rejects(here.tasks.result(handle, options), /"stubborn" was cancelled/);
      assert.equal(await here.tasks.cancel(handle), "requested");
      assert.equal((await ended).outcome, "cancelled");
      await refused;
      assert.deepEqual(await here.tasks.store.list({ name: "add", limit: 1 }), []);
      assert.equal(await here.tasks.cancel(handle), "finished");
    });

    test("whose next step a worker does not know is left to one that does", async () => {
      await using older = await taskService({ tasks: [double] }, kind);
      await using newer = await older.another([double, add]);
      const released = taskEndChannel.next((message) => message.outcome === "released", AbortSignal.timeout(20_000));
      await older.tasks.start();
      const handle = await chain(double.with({ n: 1 }), add).enqueue({ in: newer });
      await released;
      await older.tasks.close();
      await newer.store.makeDue(handle.before![0]!.id);
      await newer.start();
      assert.deepEqual(await newer.result(handle, options), { n: 3 });
    });

    test("is refused when it cannot be", () => {
      assert.throws(() => chain(double as never), { code: "MILLRACE_TASKS_DEFINITION_INVALID" });
      assert.throws(() => chain(...Array.from({ length: 101 }, () => double.with({ n: 1 }))), /may have 100/);
      assert.throws(() => chain(double.with({ n: 1 }), fanOut([double.with({ n: 1 })]) as never, add as never), /last step/);
      // @ts-expect-error The result of `say` is a text, and `double` takes numbers.
      chain(say.with({ n: 1 }), double);
      // @ts-expect-error Its input is said wrongly.
      double.with({ n: "1" });
    });
  });

  suite(`a fan-out, on ${kind}`, () => {
    const square = task("square", { input: Numbered }, ({ input }) => input.n ** 2);
    // #region callback
    const sum = task("sum", {}, async ({ members }) => {
      let total = 0;
      for await (const { result } of members(square)) total += result ?? 0;
      return total;
    });
    // #endregion

    test("is followed once, by a task that reads what its members have returned, in their order", async () => {
      const list = task("list", {}, async ({ members }) => {
        const results: unknown[] = [];
        for await (const { result } of members()) results.push(result);
        return results;
      });
      await using here = await taskService({ tasks: [square, list] }, kind);
      await here.tasks.start();
      const numbers = Array.from({ length: 1_200 }, (_, n) => n);
      const handle = await here.db.transaction((tx) =>
        fanOut(
          numbers.map((n) => square.with({ n })),
          { next: list },
        ).enqueue({ in: tx }),
      );
      assert.equal(handle.members.length, 1_200);
      assert.deepEqual(
        await here.tasks.result(handle.next!, options),
        numbers.map((n) => n ** 2),
      );
      assert.equal((await here.tasks.store.list({ name: "list", limit: 10 })).length, 1);
    });

    test("waits for a member that is dead until it is redriven, or with `settled` does not", async () => {
      let broken = true;
      const fragile = task("fragile", { input: Numbered, retry: once }, ({ input }) => {
        if (broken) throw new Error("The pipe is broken.");
        return input.n;
      });
      const count = task("count", {}, async ({ members }) => {
        const states: string[] = [];
        for await (const { state } of members()) states.push(state);
        return states.sort();
      });
      await using here = await taskService({ tasks: [square, fragile, count] }, kind);
      await here.tasks.start();
      const members = [square.with({ n: 1 }), fragile.with({ n: 2 })];
      const settled = await fanOut(members, { next: count, when: "settled" }).enqueue({ in: here.tasks });
      assert.deepEqual(await here.tasks.result(settled.next!, options), ["completed", "dead"]);
      const completed = await fanOut(members, { next: count }).enqueue({ in: here.tasks });
      await assert.rejects(here.tasks.result(completed.next!, options), /"fragile" is in the dead letter/);
      broken = false;
      await here.tasks.store.redrive({ ids: [completed.members[1]!.id], limit: 1 });
      assert.deepEqual(await here.tasks.result(completed.next!, options), ["completed", "completed"]);
    });

    test("may end a chain, and a chain may follow it", async () => {
      const double = task("double", { input: Type.Integer() }, ({ input }) => input * 2);
      const prepare = task("prepare", {}, () => "ready");
      await using here = await taskService({ tasks: [prepare, square, sum, double] }, kind);
      await here.tasks.start();
      const flow = chain(
        prepare.with(undefined),
        fanOut([square.with({ n: 3 }), square.with({ n: 4 })], { next: chain(sum.with(undefined), double) }),
      );
      const handle = await flow.enqueue({ in: here.tasks });
      const total: number = await here.tasks.result(handle, options);
      assert.equal(total, 50);
    });

    test("is what its page shows", async () => {
      await using here = await taskService({ tasks: [square, sum] }, kind);
      await here.tasks.start();
      const { db, tasks } = here;
      // #region fan-out
      const all = fanOut([square.with({ n: 3 }), square.with({ n: 4 })], { next: sum });
      const { next } = await db.transaction((tx) => all.enqueue({ in: tx }));
      const total: number = await tasks.result(next!, { timeout: "20s" });
      // #endregion
      assert.equal(total, 25);
    });

    test("needs nothing to follow it", async () => {
      await using here = await taskService({ tasks: [square] }, kind);
      await here.tasks.start();
      const { next, members } = await fanOut([square.with({ n: 3 }), square.with({ n: 4 })]).enqueue({ in: here.tasks });
      assert.equal(next, undefined);
      const results = await Promise.all(members.map((member) => here.tasks.result(member, options)));
      assert.deepEqual(results, [9, 16]);
    });

    test("is refused where one of its tasks is not known, or without members", async () => {
      await using here = await taskService({ tasks: [square] }, kind);
      await assert.rejects(fanOut([square.with({ n: 1 })], { next: sum }).enqueue({ in: here.db }), {
        code: "MILLRACE_TASKS_UNBOUND",
      });
      assert.throws(() => fanOut([]), /no members/);
    });
  });
}
