// Every order in which up to five children can succeed, fail, be aborted and be started late, against a model of what must come
// of it. Promises are settled by hand, so that each schedule is exactly one run.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { createManualClock } from "../core/index.ts";
import { Deadline } from "./deadline.ts";
import { type Group, createGroup, group } from "./group.ts";

/** What a child does when it is aborted: takes no notice, ends with the reason, or fails in its own way. */
const manners = ["deaf", "obedient", "clumsy"] as const;
type Manner = (typeof manners)[number];

type Step = "succeed" | "fail" | "abort" | "late" | "body";

interface Child {
  readonly name: string;
  readonly manner: Manner;
  readonly gate: PromiseWithResolvers<string>;
  promise: Promise<string> | undefined;
  settled: boolean;
}

/** Long enough for everything that is settled to be known everywhere. */
async function microtasks(): Promise<void> {
  for (let i = 0; i < 12; i++) await Promise.resolve();
}

/** One run. The steps are chosen one by one by `choose`, among those that are possible. */
async function run(kinds: readonly Manner[], choose: (possible: readonly Step[]) => Step): Promise<string[]> {
  const parent = new Deadline();
  const clock = createManualClock();
  const trail: string[] = [];
  const children: Child[] = [];
  const body = Promise.withResolvers<string>();
  const gone = new Error("gone");

  // What must come of it.
  const expected: { failures: unknown[]; aborted: boolean; reason: unknown; ended: boolean } = {
    failures: [],
    aborted: false,
    reason: undefined,
    ended: false,
  };
  const abortModel = (reason: unknown): void => {
    if (expected.aborted) return;
    expected.aborted = true;
    expected.reason = reason;
    expected.failures.push(reason);
    for (const child of children) {
      if (child.settled || child.manner === "deaf") continue;
      child.settled = true;
      if (child.manner === "clumsy") expected.failures.push(`${child.name} is clumsy`);
    }
  };

  let tasks: Group | undefined;
  let bodyDone = false;
  const begin = (manner: Manner): void => {
    const child: Child = {
      name: `child ${children.length}`,
      manner,
      gate: Promise.withResolvers<string>(),
      promise: undefined,
      settled: false,
    };
    child.promise = tasks!.start((deadline) => {
      if (manner === "obedient") deadline.onAbort((reason) => child.gate.reject(reason));
      if (manner === "clumsy") deadline.onAbort(() => child.gate.reject(`${child.name} is clumsy`));
      return child.gate.promise;
    });
    children.push(child);
  };

  const late = kinds.at(-1)!;
  const outcome: { value?: string; error?: unknown; settled: boolean } = { settled: false };
  const result = group(
    (opened) => {
      tasks = opened;
      for (const manner of kinds.slice(0, -1)) begin(manner);
      return body.promise;
    },
    { signal: parent, deadline: "1m", clock },
  ).then(
    (value) => Object.assign(outcome, { value, settled: true }),
    (error: unknown) => Object.assign(outcome, { error, settled: true }),
  );

  let lateTried = false;
  while (!expected.ended) {
    const pending = children.filter(({ settled }) => !settled);
    const possible: Step[] = [];
    if (pending.length > 0) possible.push("succeed", "fail");
    if (!expected.aborted) possible.push("abort");
    if (!lateTried) possible.push("late");
    if (!bodyDone) possible.push("body");
    const step = choose(possible);
    trail.push(step);
    if (step === "succeed") {
      pending[0]!.settled = true;
      pending[0]!.gate.resolve(pending[0]!.name);
    } else if (step === "fail") {
      const [child] = pending;
      child!.settled = true;
      const failure = new Error(`${child!.name} failed`);
      child!.gate.reject(failure);
      if (expected.aborted) expected.failures.push(failure);
      else abortModel(failure);
    } else if (step === "abort") {
      abortModel(gone);
      parent.abort(gone);
    } else if (step === "late") {
      lateTried = true;
      if (expected.aborted) {
        assert.throws(
          () => begin(late),
          (error) => error === expected.reason,
          trail.join(),
        );
      } else begin(late);
    } else {
      bodyDone = true;
      body.resolve("body");
    }
    await microtasks();
    expected.ended = bodyDone && children.every(({ settled }) => settled);
    assert.equal(outcome.settled, expected.ended, `settled too early or too late: ${trail.join()}`);
    if (tasks!.deadline.aborted !== expected.aborted) assert.fail(`aborted: ${trail.join()}`);
  }
  await result;

  assert.throws(() => begin(late), { code: "MILLRACE_GROUP_ENDED" }, trail.join());
  const { failures } = expected;
  if (failures.length === 0) assert.equal(outcome.value, "body", trail.join());
  else if (failures.length === 1) assert.equal(outcome.error, failures[0], trail.join());
  else {
    assert.ok(outcome.error instanceof AggregateError, trail.join());
    // Children that fail in the same moment may come in any order behind the first.
    assert.equal(outcome.error.errors[0], failures[0], trail.join());
    assert.deepEqual(new Set(outcome.error.errors), new Set(failures), trail.join());
    assert.equal(outcome.error.errors.length, failures.length, trail.join());
  }
  assert.equal(clock.pendingTimers, 0, trail.join());
  return trail;
}

/** All schedules, depth first: each run follows a script as far as it goes and then takes the first possible step. */
async function everySchedule(kinds: readonly Manner[]): Promise<number> {
  let script: number[] = [];
  for (let runs = 1; ; runs++) {
    const widths: number[] = [];
    const taken: number[] = [];
    await run(kinds, (possible) => {
      const choice = script[taken.length] ?? 0;
      taken.push(choice);
      widths.push(possible.length);
      return possible[choice]!;
    });
    let last = taken.length - 1;
    while (last >= 0 && taken[last]! + 1 >= widths[last]!) last--;
    if (last < 0) return runs;
    script = [...taken.slice(0, last), taken[last]! + 1];
  }
}

/** Multisets of manners: children of the same kind are interchangeable. */
function* kindsOf(count: number, from = 0): Generator<Manner[]> {
  if (count === 0) {
    yield [];
    return;
  }
  for (let i = from; i < manners.length; i++) for (const rest of kindsOf(count - 1, i)) yield [manners[i]!, ...rest];
}

suite("every schedule of success, failure, abort and late start", () => {
  const unhandled: unknown[] = [];
  for (const count of [1, 2, 3, 4, 5]) {
    test(`of ${count} ${count === 1 ? "child" : "children"} ends as the model says`, async () => {
      const onUnhandled = (error: unknown) => unhandled.push(error);
      process.on("unhandledRejection", onUnhandled);
      try {
        let runs = 0;
        for (const kinds of kindsOf(count)) runs += await everySchedule(kinds);
        assert.ok(runs >= 3 * count, `${runs} runs`);
        await new Promise((resolve) => setImmediate(resolve));
        assert.deepEqual(unhandled, []);
      } finally {
        process.off("unhandledRejection", onUnhandled);
      }
    });
  }
});

test("an open group ends its block in every order in which two children can settle", async () => {
  for (const outcomes of [
    ["ok", "ok"],
    ["ok", "fail"],
    ["fail", "ok"],
    ["fail", "fail"],
  ] as const) {
    for (const order of [
      [0, 1],
      [1, 0],
    ]) {
      for (const awaited of [undefined, 0, 1]) {
        const gates = [Promise.withResolvers<number>(), Promise.withResolvers<number>()];
        const errors = [new Error("0"), new Error("1")];
        const block = (async () => {
          await using tasks = createGroup();
          const promises = gates.map((gate) => tasks.start(() => gate.promise));
          if (awaited !== undefined) await promises[awaited];
        })();
        const settled = block.then(
          () => undefined,
          (error: unknown) => error,
        );
        for (const i of order) {
          if (outcomes[i] === "ok") gates[i]!.resolve(i);
          else gates[i]!.reject(errors[i]);
          await microtasks();
        }
        const error = await settled;
        const failed = order.filter((i) => outcomes[i] === "fail").map((i) => errors[i]);
        const found =
          error instanceof SuppressedError
            ? [error.suppressed, error.error]
            : error instanceof AggregateError
              ? error.errors
              : error === undefined
                ? []
                : [error];
        assert.deepEqual(new Set(found), new Set(failed), `${outcomes.join()} ${order.join()} ${awaited}`);
      }
    }
  }
});
