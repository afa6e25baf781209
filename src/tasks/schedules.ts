// Tasks that are enqueued by themselves, once for all processes. Each process that works looks at the clock; who is first to claim a moment
// in the store enqueues its task, in the same transaction. See docs/schedules.md.

import { type Clock, type Closeable, type Timer, suggest } from "../core/index.ts";
import { taskScheduleChannel } from "./channels.ts";
import { type Cron, parseCron } from "./cron.ts";
import { tasksErrors } from "./errors.ts";
import { newTask } from "./new-task.ts";
import type { ScheduleOptions, TaskLogger } from "./options.ts";
import type { NewTask, TaskStore } from "./store.ts";
import type { AnyTask, Task } from "./task.ts";

/** A timer sleeps while the machine does, and does not hear of a clock that was set: the wall clock is looked at this often. */
const lookMs = 15_000;

/** Later than this a moment counts as missed. Longer than a look, so that none is missed by a process that runs. */
const missedAfterMs = 60_000;

/** Between attempts to reach a store that is away. */
const firstPauseMs = 1_000;
const longestPauseMs = 15_000;

const optionNames: readonly (keyof ScheduleOptions)[] = ["cron", "timeZone", "input", "name", "missed"];

/** One schedule of one task, read. */
export interface Schedule {
  readonly task: AnyTask;
  /** For people: the task's name, and the schedule's own if it has one. */
  readonly label: string;
  /** In the store. It says the expression and the zone: a schedule that was changed is a new one, and does not run for the past. */
  readonly key: string;
  readonly cron: Cron;
  readonly missed: "last" | "none";
  /** @throws MILLRACE_TASKS_INPUT_INVALID */
  newTask(dueAtMs: number): NewTask;
}

/** Reads the schedules of a task. @throws MILLRACE_TASKS_DEFINITION_INVALID */
export function readSchedules(task: AnyTask): Schedule[] {
  const refuse = (reason: string) => tasksErrors.create("MILLRACE_TASKS_DEFINITION_INVALID", { task: task.name, reason });
  const seen = new Set<string>();
  return task.schedules.map((options): Schedule => {
    for (const option of Object.keys(options)) {
      if ((optionNames as readonly string[]).includes(option)) continue;
      const meant = suggest(option, optionNames);
      throw refuse(`a schedule has no option "${option}".${meant ? ` Did you mean "${meant}"?` : ""}`);
    }
    const { cron: expression, timeZone = "UTC", name, input, missed = "last" } = options;
    if (typeof expression !== "string") throw refuse("a schedule needs a cron expression.");
    if (missed !== "last" && missed !== "none") throw refuse('`missed` of a schedule is "last" or "none".');
    const cron = parseCron(task.name, expression, timeZone);
    const label = name === undefined ? task.name : `${task.name}/${name}`;
    const key = `${label} ${expression.trim().replaceAll(/\s+/g, " ")} ${timeZone}`;
    if (seen.has(key)) throw refuse(`it has the schedule ${JSON.stringify(expression)} twice; give them names to tell them apart.`);
    seen.add(key);
    const scheduled = task as unknown as Task<unknown, unknown>; // its schema judges the input
    return {
      task,
      label,
      key,
      cron,
      missed,
      newTask: (dueAtMs) => newTask(scheduled, input, { meta: { schedule: { name: label, dueAtMs } } }),
    };
  });
}

export interface SchedulerOptions {
  readonly store: Pick<TaskStore, "scheduleState" | "claimSchedule">;
  readonly tasks: readonly AnyTask[];
  readonly clock: Clock;
  readonly log?: Pick<TaskLogger, "warn" | "info"> | undefined;
}

/** What a schedule is at in this process. */
interface Running {
  readonly schedule: Schedule;
  /** The last moment that is known to be claimed, by whomever; undefined: the store was not asked yet. */
  claimedMs: number | undefined;
}

/** Looks at the clock until it is closed. */
export interface Scheduler extends Closeable {
  /** How many schedules it has. */
  readonly size: number;
  /** Twice is once. */
  start(): void;
}

class StoreScheduler implements Scheduler {
  readonly #store: SchedulerOptions["store"];
  readonly #clock: Clock;
  readonly #log: SchedulerOptions["log"];
  readonly #running: readonly Running[];
  #timer: Timer | undefined;
  #looking: Promise<void> | undefined;
  #pauseMs = firstPauseMs;
  #failing = false;
  #started = false;
  #closed = false;

  constructor({ store, tasks, clock, log }: SchedulerOptions) {
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
    this.#running = tasks.flatMap(readSchedules).map((schedule) => {
      schedule.newTask(0); // an input that does not fit is found here and not at four in the morning
      return { schedule, claimedMs: undefined };
    });
  }

  get size(): number {
    return this.#running.length;
  }

  start(): void {
    if (this.#started || this.#closed || this.#running.length === 0) return;
    this.#started = true;
    this.#look();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.clear();
    await this.#looking;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #look(): void {
    if (this.#closed) return;
    this.#looking = this.#lookAtAll().then((pauseMs) => {
      if (!this.#closed) this.#timer = this.#clock.timer(pauseMs, () => this.#look());
    });
  }

  /** Returns when to look again. */
  async #lookAtAll(): Promise<number> {
    try {
      // One after the other: they are few, and a store that is away is asked once and not by each.
      for (const running of this.#running) {
        await this.#claim(running);
        if (this.#closed) return lookMs;
      }
    } catch (error) {
      if (!this.#failing) this.#log?.warn({ err: error }, "The schedules of tasks are held up: the store does not take them.");
      this.#failing = true;
      const pauseMs = this.#pauseMs;
      this.#pauseMs = Math.min(longestPauseMs, pauseMs * 2);
      return pauseMs;
    }
    if (this.#failing) this.#log?.info({}, "The schedules of tasks go on.");
    this.#failing = false;
    this.#pauseMs = firstPauseMs;
    const nowMs = this.#clock.now();
    const nextMs = Math.min(...this.#running.map(({ schedule }) => schedule.cron.next(nowMs) ?? Infinity));
    return Math.min(lookMs, nextMs - nowMs);
  }

  async #claim(running: Running): Promise<void> {
    const { schedule } = running;
    running.claimedMs ??= await this.#store.scheduleState(schedule.key, this.#clock.now());
    const nowMs = this.#clock.now();
    const sinceMs = schedule.missed === "last" ? running.claimedMs : Math.max(running.claimedMs, nowMs - missedAfterMs);
    const dueAtMs = schedule.cron.last(nowMs, sinceMs);
    if (dueAtMs === undefined) return;
    const task = schedule.newTask(dueAtMs);
    const first = await this.#store.claimSchedule(schedule.key, dueAtMs, task);
    running.claimedMs = dueAtMs;
    if (!first || !taskScheduleChannel.hasSubscribers) return;
    taskScheduleChannel.publish({
      schedule: schedule.label,
      name: task.name,
      id: task.id,
      dueAtMs,
      lateMs: Math.max(0, this.#clock.now() - dueAtMs),
    });
  }
}

/**
 * The schedules of `tasks`. Nothing happens until start().
 * @throws MILLRACE_TASKS_DEFINITION_INVALID, MILLRACE_TASKS_INPUT_INVALID
 */
export function createScheduler(options: SchedulerOptions): Scheduler {
  return new StoreScheduler(options);
}
