import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { Type } from "typebox";
import { Deadline, runInContext } from "../concurrency/index.ts";
import { createManualClock } from "../core/index.ts";
import { readMeta, writeMeta } from "./meta.ts";
import { newTask } from "./new-task.ts";
import { newTaskId } from "./task-id.ts";
import { task } from "./task.ts";

const nothing = () => {};
const Pair = Type.Object({ a: Type.Integer(), b: Type.Integer() });

suite("newTaskId()", () => {
  test("makes UUIDs of version 7 that sort as they were made, also when the clock is put back", () => {
    const clock = createManualClock();
    const ids = Array.from({ length: 6_000 }, () => newTaskId(clock));
    const earlier = createManualClock(Date.UTC(2020, 0, 1));
    ids.push(...Array.from({ length: 10 }, () => newTaskId(earlier)));
    assert.deepEqual(ids.toSorted(), ids);
    assert.equal(new Set(ids).size, ids.length);
    for (const id of ids) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  });
});

suite("newTask()", () => {
  test("takes what is declared, unless it is said", () => {
    const mail = task("mail", { queue: "mails", priority: "low" }, nothing);
    assert.equal(newTask(mail, undefined).queue, "mails");
    assert.equal(newTask(mail, undefined).priority, 3);
    assert.equal(newTask(mail, undefined, { priority: "urgent" }).priority, 0);
    assert.equal(newTask(mail, undefined, { delay: "2d" }).delayMs, 172_800_000);
    assert.equal(newTask(mail, undefined, { at: new Date(5) }).atMs, 5);
    assert.throws(() => newTask(mail, undefined, { at: 5, delay: "1s" }), { code: "MILLRACE_TASKS_INPUT_INVALID" });
    assert.throws(() => newTask(mail, undefined, { at: new Date(NaN) }), { code: "MILLRACE_TASKS_INPUT_INVALID" });
    assert.throws(() => newTask(mail, undefined, { delay: "4000d" }), { code: "MILLRACE_TASKS_INPUT_INVALID" });
    assert.throws(() => newTask(mail, undefined, { id: "7" }), { code: "MILLRACE_TASKS_INPUT_INVALID" });
  });

  test("has the same unique key for the same input, whatever the order of its fields", () => {
    const pair = task("pair", { input: Pair, unique: true }, nothing);
    assert.equal(newTask(pair, { a: 1, b: 2 }).unique?.key, newTask(pair, { b: 2, a: 1 }).unique?.key);
    assert.notEqual(newTask(pair, { a: 1, b: 2 }).unique?.key, newTask(pair, { a: 2, b: 1 }).unique?.key);
    assert.equal(newTask(pair, { a: 1, b: 2 }).unique?.until, "finished");
  });

  test("names the task in its keys, and hashes what is long", () => {
    const declared = (name: string) =>
      task(
        name,
        { input: Type.String(), concurrencyPer: { key: (text) => text, max: 2 }, unique: { key: (text) => text } },
        nothing,
      );
    const { concurrency, unique } = newTask(declared("one"), "x");
    assert.deepEqual(concurrency, { key: "one:x", max: 2 });
    assert.equal(unique?.key, "one:x");
    const long = [newTask(declared("one"), "x".repeat(300)), newTask(declared("one"), `${"x".repeat(299)}y`)];
    assert.ok(long.every((made) => made.unique!.key.length <= 200));
    assert.notEqual(long[0]!.unique!.key, long[1]!.unique!.key);
  });

  test("carries along who caused it", () => {
    using deadline = new Deadline();
    const trace = { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" };
    const made = runInContext({ requestId: "req-7", deadline, principalId: "user-5", tenant: "acme", trace }, () =>
      newTask(task("tick", {}, nothing), undefined),
    );
    assert.deepEqual(readMeta(made.meta).context, { requestId: "req-7", principalId: "user-5", tenant: "acme", trace });
    assert.equal(newTask(task("tick", {}, nothing), undefined).meta, undefined);
  });
});

suite("meta", () => {
  test("that is nothing is not kept, and one that is not the runtime's is nothing", () => {
    assert.equal(writeMeta({}), undefined);
    assert.deepEqual(readMeta(undefined), {});
    assert.deepEqual(readMeta("{"), {});
    assert.deepEqual(readMeta("7"), {});
  });
});
