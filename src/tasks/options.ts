// The options of tasks, their checks, and every default in one literal with its reason.

import type { BaseLogger } from "pino";
import type { TSchema } from "typebox";
import {
  type Clock,
  type Duration,
  type OptionCheck,
  type OptionChecks,
  duration,
  given,
  integer,
  oneOf,
  parseDuration,
  string,
  systemClock,
} from "../core/index.ts";
import type { Database } from "../database/index.ts";
import type { PriorityRank, TaskStore } from "./store.ts";
import type { AnyTask } from "./task.ts";

/** What is taken first. */
export type Priority = "urgent" | "high" | "normal" | "low";

const ranks: Readonly<Record<Priority, PriorityRank>> = { urgent: 0, high: 1, normal: 2, low: 3 };

export const priorityRank = (priority: Priority): PriorityRank => ranks[priority];

/** How a task that failed is tried again. */
export interface RetryOptions {
  /** How often it is tried in all. Default 20. 1: no second attempt. */
  readonly attempts?: number;
  /** The longest pause before the second attempt; it doubles with each. Default "1s". */
  readonly base?: Duration;
  /** The longest pause there is. Default "1h". */
  readonly max?: Duration;
  /**
   * Looks at an error: false ends the task, a duration is the pause before the next attempt, true is the usual pause. Default: false for
   * errors whose `retryable` is false, as the kit's own are that only a change can mend; the usual pause for all others.
   */
  readonly on?: (error: unknown, attempt: number) => boolean | Duration;
}

export const retryDefaults = {
  attempts: 20, // with the pauses below four to five hours on average: a mail server that is down for the night's maintenance
  base: "1s", // most failures are a connection that broke, and over at once
  max: "1h", // after an outage of any length a task is tried within the hour
} as const satisfies RetryOptions;

export const retryChecks = {
  attempts: integer(1, 1_000),
  base: duration("1ms"),
  max: duration("1ms"),
  on: given<NonNullable<RetryOptions["on"]>>("a function from an error to true, false or a duration"),
} as const satisfies OptionChecks<RetryOptions>;

/** Which tasks count as the same, and for how long: the second is not accepted, and its enqueue() answers with the first one's id. */
export interface UniqueOptions<Input> {
  /** Default: the whole input. */
  readonly key?: (input: Input) => string;
  /** Until the first has "finished" (the default), has "started", or for a length of time from when it was enqueued. */
  readonly until?: "finished" | "started" | Duration;
}

export const uniqueDefaults = {
  until: "finished", // "do not do it twice at once" is what people mean most often
} as const satisfies UniqueOptions<never>;

/** How many tasks that share a key run at once, in all processes together. */
export interface ConcurrencyOptions<Input> {
  /** Default: one key for all tasks of this name. */
  readonly key?: (input: Input) => string;
  readonly max: number;
}

/** At most so many starts of the task's queue in any window of this length, in all processes together. */
export interface RateOptions {
  /** From 1 to 1,000,000. */
  readonly max: number;
  readonly per: Duration;
}

/** When a task is enqueued by itself. See docs/tasks.md. */
export interface ScheduleOptions {
  /** Five fields, minute to day of week, as in crontab(5), or @hourly, @daily, @weekly, @monthly. */
  readonly cron: string;
  /** A name of the IANA database such as "Europe/Zurich". Default "UTC". */
  readonly timeZone?: string;
  /** Default: none, for tasks without an input schema. */
  readonly input?: unknown;
  /** Tells several schedules of one task apart. Default: the task's name. */
  readonly name?: string;
  /** What happens when moments were missed while no process ran: "last" of them is made up for, or none. Default "last". */
  readonly missed?: "last" | "none";
}

/** What a task is and demands. Plain data beside a few functions; see docs/tasks.md. */
export interface TaskPolicy<Schema extends TSchema | undefined, Input> {
  /** The input: checked when it is enqueued, and again before it runs, because a deploy may lie between. Default: there is none. */
  readonly input?: Schema;
  /**
   * Gets an input that the schema does not take, as tasks enqueued by an earlier version have it, and returns one that it does. Without it,
   * or if the result does not fit either, the task goes to the dead letter with the reason "input".
   */
  readonly migrate?: (input: unknown) => Input;
  /** Who works on it, see createTasks({ queues }). Letters, digits, ".", "_", "-". Default "default". */
  readonly queue?: string;
  /** Default "normal". */
  readonly priority?: Priority;
  /** How long an attempt may take until it is aborted. Default "5m". "none": as long as its worker lives. */
  readonly timeout?: Duration | "none";
  readonly retry?: RetryOptions;
  readonly unique?: UniqueOptions<Input> | true;
  readonly concurrencyPer?: ConcurrencyOptions<Input>;
  /** Holds for the whole queue: tasks that must not share it get queues of their own. */
  readonly rate?: RateOptions;
  /** A text is its cron expression, in UTC. */
  readonly schedule?: string | ScheduleOptions | readonly ScheduleOptions[];
  /** How long a task that completed or was cancelled, and its result, can still be asked for. Default "1h". "0s": gone at once. */
  readonly keep?: Duration;
  /** How long it stays in the dead letter. Default "30d". */
  readonly keepDead?: Duration;
}

export const taskDefaults = {
  queue: "default",
  priority: "normal",
  timeout: "5m", // longer than nearly all; what takes longer should say so
  retry: {},
  keep: "1h", // whoever started it has looked by then
  keepDead: "30d", // a month of holidays
} as const satisfies TaskPolicy<undefined, never>;

/** Ten years: beyond it "never" is meant. */
const maxKeepMs = 3_650 * 86_400_000;

/** A length of time that no timer has to wait for, so that it may exceed 24.8 days. */
const longDuration = (min: Duration): OptionCheck<Duration, number> => ({
  expected: `a duration from ${min} to 3650d`,
  read: (value) => {
    const ms = parseDuration(value);
    return ms >= parseDuration(min) && ms <= maxKeepMs ? ms : undefined;
  },
});

/** Names of tasks and queues go into keys, URLs and command lines. */
export const nameCheck: OptionCheck<string, string> = {
  expected: 'at most 100 letters, digits, ".", "_" and "-"',
  read: (value) => (typeof value === "string" && /^[\w.-]{1,100}$/.test(value) ? value : undefined),
};

/** A rate, its window in milliseconds. */
export interface Rate {
  readonly max: number;
  readonly perMs: number;
}

const rateCheck: OptionCheck<RateOptions, Rate> = {
  expected: '{ max, per } such as { max: 100, per: "1m" }, at most 1,000,000 in at most a day',
  read: ({ max, per, ...rest }) => {
    const perMs = parseDuration(per);
    const fits = Number.isSafeInteger(max) && max >= 1 && max <= 1_000_000 && perMs >= 1 && perMs <= 86_400_000;
    return fits && Object.keys(rest).length === 0 ? { max, perMs } : undefined;
  },
};

export const taskChecks = {
  input: given<TSchema>("a schema"),
  migrate: given<(input: unknown) => never>("a function from an older input to one of now"),
  queue: nameCheck,
  priority: {
    expected: oneOf("urgent", "high", "normal", "low").expected,
    read: (value: Priority): PriorityRank | undefined => (Object.hasOwn(ranks, value) ? ranks[value] : undefined),
  },
  timeout: {
    expected: 'a duration of at least 1ms such as "30s", or "none"',
    read: (value: Duration | "none"): number | undefined => (value === "none" ? Infinity : duration("1ms").read(value)),
  },
  retry: given<RetryOptions>("options of retry"),
  unique: given<UniqueOptions<never> | true>("true, or { key, until }"),
  concurrencyPer: {
    expected: "{ key, max } with a whole number of at least 1 as max",
    read: (value: ConcurrencyOptions<never>): ConcurrencyOptions<never> | undefined =>
      typeof value === "object" &&
      Number.isSafeInteger(value.max) &&
      value.max >= 1 &&
      Object.keys(value).every((key) => key === "key" || key === "max")
        ? value
        : undefined,
  },
  rate: rateCheck,
  schedule: given<string | ScheduleOptions | readonly ScheduleOptions[]>("a cron expression, or schedules"),
  keep: longDuration("0s"),
  keepDead: longDuration("1s"),
} as const satisfies OptionChecks<TaskPolicy<TSchema, never>>;

export const uniqueChecks = {
  key: given<(input: never) => string>("a function from the input to a text"),
  until: {
    expected: '"finished", "started", or a duration of at least 1s',
    read: (value: "finished" | "started" | Duration): "finished" | "started" | number | undefined =>
      value === "finished" || value === "started" ? value : longDuration("1s").read(value),
  },
} as const satisfies OptionChecks<UniqueOptions<never>>;

/** How a queue is worked on in this process. */
export interface QueueOptions {
  /** How many of its tasks run at once here. Default: that of createTasks. 0: this process leaves the queue to others. */
  readonly concurrency?: number;
  readonly rate?: RateOptions;
}

export const queueChecks = {
  concurrency: integer(0, 10_000),
  rate: rateCheck,
} as const satisfies OptionChecks<QueueOptions>;

/** What the tasks write to: pino's shape, that of the HTTP app's logger too. */
export type TaskLogger = Pick<BaseLogger, "level" | "fatal" | "error" | "warn" | "info" | "debug" | "trace" | "silent"> & {
  child(bindings: Record<string, unknown>): TaskLogger;
};

export interface TasksOptions {
  /** Where the tasks are kept, unless `store` says otherwise, and what handlers get as `db`. */
  readonly database?: Database;
  /** Default: tables in the database's schema `millrace`. Whoever made it closes it. */
  readonly store?: TaskStore;
  /** Every task that this process enqueues or runs. */
  readonly tasks: readonly AnyTask[];
  /** Per queue; those that are not named have the defaults. A queue that no task of `tasks` has is refused. */
  readonly queues?: Readonly<Record<string, QueueOptions>>;
  /** How many tasks of one queue run at once in this process. Default 16. */
  readonly concurrency?: number;
  /** After how long a task whose process died is given to another; a third of it is the pace of the heartbeat. Default "30s". */
  readonly lease?: Duration;
  /** How long a handler may take to end after it was aborted; then its slot is given to others. Default "5s". */
  readonly grace?: Duration;
  /** How long close() lets running tasks finish before it aborts them and hands them back. Default "20s". */
  readonly drain?: Duration;
  /** How often an idle queue is looked at without having been told of anything. Default "1s". */
  readonly pollInterval?: Duration;
  /** Names this process in lists. Default: host name, process id and a few random letters. */
  readonly worker?: string;
  /** Default: pino, JSON lines on stdout, from level "info" on. `{ level }` is the same with another level. */
  readonly logger?: TaskLogger | { readonly level: string };
  readonly clock?: Clock;
  /** From 0 to below 1, for the jitter. Default Math.random. */
  readonly random?: () => number;
}

export const tasksDefaults = {
  queues: {},
  concurrency: 16, // tasks mostly wait for others; more would take the connections of a pool of its default size from the requests
  lease: "30s", // survives a long pause of the process, and is what a crash costs the tasks that it had
  grace: "5s", // clean-up that a handler does on abort; as long as the pool waits for a cancelled statement
  drain: "20s", // within the 30 s that Kubernetes and most init systems wait after SIGTERM
  pollInterval: "1s", // what a wake-up that was lost costs; an idle look is a few index probes
  clock: systemClock,
  random: Math.random,
} as const satisfies Partial<TasksOptions>;

export const tasksChecks = {
  database: given<Database>("a database"),
  store: given<TaskStore>("a task store"),
  tasks: given<readonly AnyTask[]>("tasks"),
  queues: given<Readonly<Record<string, QueueOptions>>>("options by queue"),
  concurrency: integer(1, 10_000),
  lease: duration("1s"),
  grace: duration("0s"),
  drain: duration("0s"),
  pollInterval: duration("10ms"),
  worker: string,
  logger: given<TaskLogger | { readonly level: string }>("a logger, or { level }"),
  clock: given<Clock>("a clock"),
  random: given<() => number>("a function that returns a number from 0 to 1"),
} as const satisfies OptionChecks<TasksOptions>;
