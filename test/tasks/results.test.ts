// Waiting for results and progress, on a real PostgreSQL and a real Redis.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { createDatabase, sql } from "millrace/database";
import { type TaskStatus, task } from "millrace/tasks";
import { Type } from "typebox";
import { storeKinds, taskService } from "./service.ts";

const options = { timeout: "20s" } as const;

for (const kind of storeKinds) {
  suite(`a task that is waited for, on ${kind}`, () => {
    test("gives what its handler has returned, in the process that enqueued it", async () => {
      const greet = task("greet", { input: Type.Object({ name: Type.String() }) }, ({ input }) => ({
        text: `Hello ${input.name}`,
      }));
      await using here = await taskService({ tasks: [greet] }, kind);
      await here.tasks.start();
      const { db, tasks } = here;
      // #region result
      const handle = await greet.enqueue({ name: "Ada" }, { in: db });
      const { text } = await tasks.result(handle, { timeout: "20s" });
      // #endregion
      assert.equal(text, "Hello Ada");
      assert.equal((await here.tasks.result<{ text: string }>(handle.id, options)).text, "Hello Ada"); // later, by its id
    });

    test("may be worked on by another process, and is asked for ever less often", async () => {
      const slow = task("slow", {}, () => 7);
      await using here = await taskService({ tasks: [slow] }, kind);
      let looks = 0;
      const { store } = here.tasks;
      const show = store.show.bind(store);
      store.show = (id) => {
        looks++;
        return show(id);
      };
      const handle = await slow.enqueue(undefined, { in: here.db });
      const watched: TaskStatus[] = [];
      const waiting = (async () => {
        for await (const status of here.tasks.watch(handle, { signal: AbortSignal.timeout(20_000) })) watched.push(status);
      })();
      // As another process does it: this one's channels are silent.
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      const [claimed] = await here.tasks.store.fetch([{ queue: "default", limit: 1 }], { worker: "elsewhere", leaseMs: 30_000 });
      await here.tasks.store.settle([{ kind: "complete", task: claimed!, result: "7", keepMs: 60_000 }]);
      await waiting;
      assert.equal(watched.at(-1)!.result, 7);
      assert.ok(looks <= 12, `${looks} looks`); // 25, 50, … 1,000 ms
    });

    test("that is dead says why", async () => {
      const broken = task("broken", { retry: { attempts: 1 } }, () => {
        throw new TypeError("There is no bread.");
      });
      await using here = await taskService({ tasks: [broken] }, kind);
      await here.tasks.start();
      const handle = await broken.enqueue(undefined, { in: here.db });
      await assert.rejects(here.tasks.result(handle, options), (error: Error & { details?: { how: string } }) => {
        assert.equal(error.details?.how, "dead");
        assert.match(error.message, /"broken" is in the dead letter after 1 attempts: There is no bread/);
        return true;
      });
      const status = await here.tasks.status(handle.id);
      assert.equal(status?.state, "dead");
      assert.deepEqual(status.error, { name: "TypeError", message: "There is no bread." });
      assert.equal(status.deadReason, "attempts");
    });

    test("is not waited for beyond the timeout, nor when the caller has left; nothing is left behind", async () => {
      const never = task("never", {}, () => {});
      await using here = await taskService({ tasks: [never] }, kind);
      const handle = await never.enqueue(undefined, { in: here.db });
      await assert.rejects(here.tasks.result(handle, { timeout: "50ms" }), { code: "MILLRACE_DEADLINE_EXCEEDED" });
      const leaving = new AbortController();
      const refused = assert.rejects(here.tasks.result(handle, { signal: leaving.signal }), /gone home/);
      leaving.abort(new Error("gone home"));
      await refused;
    });

    test("that was cancelled, or has gone with what was kept of it, has no result", async () => {
      const waits = task("waits", {}, () => {});
      const brief = task("brief", { keep: "0s" }, () => 1);
      await using here = await taskService({ tasks: [waits, brief] }, kind);
      const handle = await waits.enqueue(undefined, { in: here.db });
      assert.equal(await here.tasks.cancel(handle), "cancelled");
      await assert.rejects(here.tasks.result(handle, options), /was cancelled/);
      const kept = await brief.enqueue(undefined, { in: here.db });
      const states: string[] = [];
      const watching = (async () => {
        for await (const { state } of here.tasks.watch(kept, { signal: AbortSignal.timeout(20_000) })) {
          states.push(state);
          await here.tasks.start();
        }
      })();
      await assert.rejects(watching, /is gone/);
      assert.equal(states[0], "waiting");
      assert.equal(await here.tasks.status(kept.id), undefined);
    });
  });

  suite(`progress, on ${kind}`, () => {
    test("is seen as it comes, by any number of watchers, and ends with the task", async () => {
      const steps = [Promise.withResolvers<void>(), Promise.withResolvers<void>()] as const;
      const load = task("load", {}, async ({ progress }) => {
        progress({ rows: 1 });
        await steps[0].promise;
        progress({ rows: 2 });
        await steps[1].promise;
        progress({ rows: 3 });
        return "loaded";
      });
      await using here = await taskService({ tasks: [load] }, kind);
      await here.tasks.start();
      const handle = await load.enqueue(undefined, { in: here.db });
      const watch = async (): Promise<unknown[]> => {
        const seen: unknown[] = [];
        for await (const { state, progress } of here.tasks.watch(handle, { signal: AbortSignal.timeout(20_000) })) {
          if (state === "waiting" || (state === "active" && progress === undefined)) continue;
          seen.push(state === "active" ? progress : [state, progress]);
          const rows = (progress as { rows: number } | undefined)?.rows ?? 0;
          if (rows < 3) steps[rows - 1]?.resolve();
        }
        return seen;
      };
      for (const seen of await Promise.all([watch(), watch()])) {
        assert.deepEqual(seen.slice(0, 2), [{ rows: 1 }, { rows: 2 }]);
        assert.deepEqual(seen.at(-1), ["completed", { rows: 3 }]);
      }
    });
  });

  test(`a handle of createTasks() that only enqueues can wait too, on ${kind}`, async () => {
    const echo = task("echo", { input: Type.Integer() }, ({ input }) => input);
    await using here = await taskService({ tasks: [echo] }, kind);
    await here.tasks.start();
    await using elsewhere = await createDatabase({ url: here.url });
    await using producer = await here.another([echo], elsewhere);
    const handle = await elsewhere.transaction(async (tx) => {
      await tx.query(sql`select 1`);
      return await echo.enqueue(5, { in: tx });
    });
    assert.equal(await producer.result(handle, options), 5);
  });
}
