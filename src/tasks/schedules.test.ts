import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { Type } from "typebox";
import { type ManualClock, createManualClock } from "../core/index.ts";
import { readMeta } from "./meta.ts";
import { type Scheduler, createScheduler, readSchedules } from "./schedules.ts";
import { storeUnavailable } from "./store-failure.ts";
import type { NewTask, TaskStore } from "./store.ts";
import { type AnyTask, task } from "./task.ts";

const nothing = () => {};
const at = (iso: string): number => Date.parse(iso);

/** What schedules need of a store, as the contract has it; the real ones are tested in test/tasks/. */
function stateOnly() {
  const claimed = new Map<string, number>();
  const enqueued: { readonly dueAt: string; readonly task: NewTask }[] = [];
  let away = false;
  const reach = async () => {
    await Promise.resolve();
    if (away) throw storeUnavailable("test", "claimSchedule", new Error("it is away"));
  };
  const store: Pick<TaskStore, "scheduleState" | "claimSchedule"> = {
    async scheduleState(name, sinceMs) {
      await reach();
      if (!claimed.has(name)) claimed.set(name, sinceMs);
      return claimed.get(name)!;
    },
    async claimSchedule(name, dueAtMs, newTask) {
      await reach();
      if ((claimed.get(name) ?? -Infinity) >= dueAtMs) return false;
      claimed.set(name, dueAtMs);
      enqueued.push({ dueAt: new Date(dueAtMs).toISOString(), task: newTask });
      return true;
    },
  };
  return {
    store,
    enqueued,
    set away(value: boolean) {
      away = value;
    },
    dueAts: () => enqueued.map(({ dueAt }) => dueAt.replace(":00.000Z", "")),
  };
}

/** Moves the clock on in steps, letting what is asynchronous happen in between. */
async function pass(clock: ManualClock, ms: number, stepMs = 5_000): Promise<void> {
  for (let passed = 0; passed < ms; passed += stepMs) {
    clock.advance(Math.min(stepMs, ms - passed));
    await setImmediate();
  }
}

const daily = (options: object = {}): AnyTask => task("tidy", { schedule: { cron: "0 4 * * *", ...options } }, nothing);

async function started(state: ReturnType<typeof stateOnly>, clock: ManualClock, ...tasks: AnyTask[]): Promise<Scheduler> {
  const scheduler = createScheduler({ store: state.store, tasks, clock });
  scheduler.start();
  await setImmediate();
  return scheduler;
}

suite("a schedule", () => {
  test("enqueues its task when its moment comes, and not for the past when it is new", async () => {
    const state = stateOnly();
    const clock = createManualClock(at("2026-01-01T12:00:00Z"));
    await using _scheduler = await started(state, clock, daily());
    assert.deepEqual(state.dueAts(), []);
    await pass(clock, 16 * 3_600_000 - 1, 15_000);
    assert.deepEqual(state.dueAts(), []);
    clock.advance(1);
    await setImmediate();
    assert.deepEqual(state.dueAts(), ["2026-01-02T04:00"]);
    assert.deepEqual(readMeta(state.enqueued[0]!.task.meta).schedule, { name: "tidy", dueAtMs: at("2026-01-02T04:00:00Z") });
  });

  test("runs once for any number of processes", async () => {
    const state = stateOnly();
    const clock = createManualClock(at("2026-01-01T03:59:00Z"));
    await using _one = await started(state, clock, daily());
    await using _two = await started(state, clock, daily());
    await pass(clock, 120_000);
    assert.deepEqual(state.dueAts(), ["2026-01-01T04:00"]);
  });

  test("that was missed for days is made up for once", async () => {
    const state = stateOnly();
    const clock = createManualClock(at("2026-01-01T12:00:00Z"));
    await (await started(state, clock, daily())).close();
    clock.advance(3 * 86_400_000);
    await using _scheduler = await started(state, clock, daily());
    assert.deepEqual(state.dueAts(), ["2026-01-04T04:00"]);
  });

  test('with missed: "none" is not made up for, and comes again at its next moment', async () => {
    const state = stateOnly();
    const clock = createManualClock(at("2026-01-01T12:00:00Z"));
    const cautious = () => daily({ missed: "none" });
    await (await started(state, clock, cautious())).close();
    clock.advance(3 * 86_400_000);
    await using _scheduler = await started(state, clock, cautious());
    await pass(clock, 86_400_000, 15_000);
    assert.deepEqual(state.dueAts(), ["2026-01-05T04:00"]);
  });

  test("over which the clock jumps runs within the next look; a clock that is put back does not run it again", async () => {
    const state = stateOnly();
    const real = createManualClock(at("2026-01-01T03:00:00Z"));
    let shiftMs = 0;
    const clock: ManualClock = { ...real, now: () => real.now() + shiftMs, pendingTimers: 0 };
    await using _scheduler = await started(state, clock, daily());
    await pass(clock, 60_000);
    shiftMs = 2 * 3_600_000; // 05:01
    await pass(clock, 15_000);
    assert.deepEqual(state.dueAts(), ["2026-01-01T04:00"]);
    shiftMs = 0; // 03:01
    await pass(clock, 2 * 3_600_000, 15_000);
    assert.deepEqual(state.dueAts(), ["2026-01-01T04:00"]);
  });

  test("keeps its moment while the store is away", async () => {
    const state = stateOnly();
    const clock = createManualClock(at("2026-01-01T03:59:50Z"));
    const lines: string[] = [];
    const say = (_: unknown, text?: string) => void lines.push(text ?? "");
    await using scheduler = createScheduler({
      store: state.store,
      tasks: [daily({ missed: "last" })],
      clock,
      log: { warn: say, info: say },
    });
    scheduler.start();
    await setImmediate();
    state.away = true;
    await pass(clock, 600_000);
    assert.deepEqual(state.dueAts(), []);
    state.away = false;
    await pass(clock, 30_000);
    assert.deepEqual(state.dueAts(), ["2026-01-01T04:00"]);
    assert.deepEqual(lines, ["The schedules of tasks are held up: the store does not take them.", "The schedules of tasks go on."]);
  });

  test("runs once on both days on which the clock is changed", async () => {
    const state = stateOnly();
    const nightly = task("nightly", { schedule: { cron: "30 2 * * *", timeZone: "Europe/Zurich" } }, nothing);
    const spring = createManualClock(at("2026-03-28T12:00:00Z"));
    const first = await started(state, spring, nightly);
    await pass(spring, 86_400_000, 15_000);
    await first.close();
    assert.deepEqual(state.dueAts(), ["2026-03-29T01:00"]);
    const autumn = createManualClock(at("2026-10-24T12:00:00Z"));
    await using _second = await started(state, autumn, nightly);
    await pass(autumn, 86_400_000, 15_000);
    // What was missed in between, and then the one night.
    assert.deepEqual(state.dueAts().slice(1), ["2026-10-24T00:30", "2026-10-25T00:30"]);
  });

  test("whose expression was changed is a new one", async () => {
    const state = stateOnly();
    const clock = createManualClock(at("2026-01-02T12:00:00Z"));
    await (await started(state, clock, daily())).close();
    await using _scheduler = await started(state, clock, daily({ cron: "0 6 * * *" }));
    await pass(clock, 60_000);
    assert.deepEqual(state.dueAts(), []);
  });

  test("stops with its process", async () => {
    const clock = createManualClock();
    const scheduler = await started(stateOnly(), clock, daily());
    await scheduler.close();
    assert.equal(clock.pendingTimers, 0);
  });
});

suite("schedules of a task", () => {
  const refused = (schedule: object) => () => readSchedules(task("tidy", { schedule: schedule as { cron: string } }, nothing));

  test("are read with their names, and told apart", () => {
    const several = task("report", { schedule: [{ cron: "0 6 * * *" }, { cron: "0 6 * * *", name: "again" }] }, nothing);
    assert.deepEqual(
      readSchedules(several).map(({ key }) => key),
      ["report 0 6 * * * UTC", "report/again 0 6 * * * UTC"],
    );
  });

  test("are refused when they cannot be", () => {
    assert.throws(refused({ cron: "nonsense" }), { code: "MILLRACE_TASKS_DEFINITION_INVALID" });
    assert.throws(refused({ cron: "@daily", timezone: "UTC" }), /Did you mean "timeZone"/);
    assert.throws(refused({ cron: "@daily", missed: "all" }), /"last" or "none"/);
    assert.throws(refused([{ cron: "@daily" }, { cron: "@daily" }]), /twice/);
  });

  test("have inputs that fit, or nothing starts", () => {
    const city = task(
      "refresh",
      { input: Type.Object({ city: Type.Integer() }), schedule: { cron: "@daily", input: { city: "Rome" } } },
      nothing,
    );
    assert.throws(() => createScheduler({ store: stateOnly().store, tasks: [city], clock: createManualClock() }), {
      code: "MILLRACE_TASKS_INPUT_INVALID",
    });
  });
});
