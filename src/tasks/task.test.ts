import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { Type } from "typebox";
import { MillraceError } from "../core/index.ts";
import { task } from "./task.ts";

const Input = Type.Object({ userId: Type.Integer({ minimum: 1 }) });
const nothing = () => {};

test("a declared task is what its page shows", () => {
  const send = (_to: number, _options: { signal: AbortSignal }) => Promise.resolve({ messageId: "1" });
  // #region declare
  const sendWelcome = task(
    "send-welcome",
    {
      input: Type.Object({ userId: Type.Integer() }),
      queue: "mail",
      timeout: "30s",
      retry: { attempts: 10, max: "10m" },
    },
    async ({ input, signal }) => {
      const { messageId } = await send(input.userId, { signal });
      return { messageId };
    },
  );
  // #endregion
  assert.equal(sendWelcome.queue, "mail");
});

const refusal = (act: () => unknown): MillraceError => {
  try {
    act();
  } catch (error) {
    if (error instanceof MillraceError) return error;
    throw error;
  }
  return assert.fail("It was accepted.");
};

suite("task()", () => {
  test("fills what is not said, and freezes it", () => {
    const declared = task("send-welcome", { input: Input }, nothing);
    assert.equal(declared.queue, "default");
    assert.equal(declared.priority, 2);
    assert.equal(declared.timeoutMs, 300_000);
    assert.deepEqual({ ...declared.retry }, { attempts: 20, base: 1_000, max: 3_600_000, on: undefined });
    assert.equal(declared.unique, undefined);
    assert.equal(declared.keepMs, 3_600_000);
    assert.ok(Object.isFrozen(declared));
  });

  test("reads every option", () => {
    const declared = task(
      "import",
      {
        queue: "imports",
        priority: "urgent",
        timeout: "none",
        retry: { attempts: 1 },
        unique: { until: "90d" },
        concurrencyPer: { max: 2 },
        rate: { max: 10, per: "1s" },
        schedule: "0 4 * * *",
        keep: "90d",
      },
      nothing,
    );
    assert.equal(declared.priority, 0);
    assert.equal(declared.timeoutMs, Infinity);
    assert.equal(declared.retry.attempts, 1);
    assert.deepEqual({ ...declared.unique }, { key: undefined, until: 90 * 86_400_000 });
    assert.deepEqual(declared.rate, { max: 10, perMs: 1_000 });
    assert.deepEqual(declared.schedules, [{ cron: "0 4 * * *" }]);
    assert.equal(declared.keepMs, 90 * 86_400_000);
  });

  test("refuses names and options that cannot be", () => {
    assert.equal(refusal(() => task("send welcome", {}, nothing)).code, "MILLRACE_TASKS_DEFINITION_INVALID");
    assert.equal(refusal(() => task("x".repeat(101), {}, nothing)).code, "MILLRACE_TASKS_DEFINITION_INVALID");
    assert.match(refusal(() => task("a", { timeuot: "1s" } as object, nothing)).message, /Did you mean "timeout"/);
    assert.match(refusal(() => task("a", { retry: { attempts: 0 } }, nothing)).message, /task\("a"\)\.retry: option "attempts"/);
    assert.equal(refusal(() => task("a", { concurrencyPer: { max: 0 } }, nothing)).code, "MILLRACE_OPTION_INVALID");
    assert.equal(refusal(() => task("a", { rate: { max: 1, per: "2d" } }, nothing)).code, "MILLRACE_OPTION_INVALID");
  });
});

suite("a task's input", () => {
  const { input } = task("send-welcome", { input: Input }, nothing);

  test("comes back as it went in", () => {
    assert.deepEqual(input.read(input.write({ userId: 5 })), { userId: 5 });
  });

  test("is refused with the field that is wrong, when it is written and when it is read", () => {
    const wrong = { userId: 0 };
    assert.match(refusal(() => input.write(wrong)).message, /userId must be >= 1/);
    assert.equal(refusal(() => input.read(JSON.stringify(wrong))).code, "MILLRACE_TASKS_INPUT_INVALID");
    assert.equal(refusal(() => input.read("{")).code, "MILLRACE_TASKS_INPUT_INVALID");
    assert.match(refusal(() => input.read("{}")).message, /userId/);
  });

  test("is judged as the JSON that it becomes: a Date by its text", () => {
    const dated = task(
      "dated",
      { input: Type.Object({ at: Type.Unsafe<Date>({ type: "string", format: "date-time" }) }) },
      nothing,
    );
    assert.equal(dated.input.write({ at: new Date(0) }), '{"at":"1970-01-01T00:00:00.000Z"}');
    assert.equal(refusal(() => dated.input.write({ at: new Date(NaN) })).code, "MILLRACE_TASKS_INPUT_INVALID");
  });

  test("that does not fit in size or is no JSON is refused", () => {
    const any = task("any", { input: Type.Any() }, nothing);
    assert.match(refusal(() => any.input.write("x".repeat(1_000_000))).message, /1000002 characters/);
    assert.equal(refusal(() => any.input.write(1n)).code, "MILLRACE_TASKS_INPUT_INVALID");
  });

  test("of an earlier version is migrated, and refused if it still does not fit", () => {
    const migrating = task(
      "send-welcome",
      { input: Input, migrate: (old) => ({ userId: Number((old as { user: string }).user) }) },
      nothing,
    );
    assert.deepEqual(migrating.input.read('{"user":"7"}'), { userId: 7 });
    assert.deepEqual(migrating.input.read('{"userId":8}'), { userId: 8 });
    assert.match(refusal(() => migrating.input.read('{"user":"none"}')).message, /after `migrate`/);
    assert.match(refusal(() => migrating.input.read("null")).message, /`migrate` failed/);
  });

  test("is nothing where none is declared", () => {
    const without = task("tick", {}, nothing);
    assert.equal(without.input.write(undefined), "null");
    assert.equal(without.input.read("null"), undefined);
    assert.equal(refusal(() => without.input.read("5")).code, "MILLRACE_TASKS_INPUT_INVALID");
  });
});
