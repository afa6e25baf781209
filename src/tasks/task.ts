// task(): work that is done later, in another process if need be: a name, a policy as plain typed data, and a handler whose input
// follows from the policy. Declaring one does nothing; createTasks() runs it. See docs/tasks.md.

import type { Static, TSchema } from "typebox";
import type { Deadline } from "../concurrency/index.ts";
import { type ResolvedOptions, parseDuration, resolveOptions } from "../core/index.ts";
import type { Database, Transaction } from "../database/index.ts";
import { boundTasks } from "./bound-tasks.ts";
import type { MemberOutcome } from "./group-members.ts";
import { tasksErrors } from "./errors.ts";
import { type InputReader, inputReader } from "./input.ts";
import {
  type ConcurrencyOptions,
  type Priority,
  type Rate,
  type RetryOptions,
  type ScheduleOptions,
  type TaskLogger,
  type TaskPolicy,
  type UniqueOptions,
  nameCheck,
  retryChecks,
  retryDefaults,
  taskChecks,
  taskDefaults,
  uniqueChecks,
  uniqueDefaults,
} from "./options.ts";
import { readSchedules } from "./schedules.ts";
import type { EnqueueOutcome, PriorityRank, TaskState, Uniqueness } from "./store.ts";
import type { Tasks } from "./tasks.ts";

/** What a handler gets. */
export interface TaskRun<Input> {
  /** What was enqueued: checked, and after `migrate` if it needed that. */
  readonly input: Input;
  readonly id: string;
  /** From 1. */
  readonly attempt: number;
  /** Aborts at the timeout, on cancel(), when the lease was lost, and at the end of a drain; the reason says which. */
  readonly signal: AbortSignal;
  /** The same as a deadline; `db` listens to it by itself. */
  readonly deadline: Deadline;
  /** Says how far it is, as any JSON; the latest is kept, about once a second. Cheap enough for every row. */
  progress(this: void, value: unknown): void;
  /** Writes lines that carry the task's id, name and attempt. */
  readonly log: TaskLogger;
  /** The database of createTasks(). @throws MILLRACE_TASKS_NO_DATABASE when it has none */
  readonly db: Database;
  /**
   * For a handler that must not have its effect twice: true in the first transaction that claims `key` and commits, false in every later
   * one. Keys are those of the task's name; default: the task's id, which all attempts share. Claims are kept for 30 days.
   * See docs/tasks.md.
   */
  claim(this: void, tx: Transaction, key?: string): Promise<boolean>;
  /**
   * Of what follows a fan-out: what became of its members, in the order in which they were given; with `of` only those of one task, with its
   * result type. Reads the store as it goes. Empty for other tasks.
   */
  members<Result = unknown>(this: void, of?: TaskNamed<Result>): AsyncIterable<MemberOutcome<Awaited<Result>>>;
}

/** A task of which only the name and the result matter. */
export interface TaskNamed<Result> {
  readonly name: string;
  readonly with: (input: never) => Planned<Result>;
}

/** Where a task is put: a transaction, a database, or the handle of createTasks(). */
export type EnqueuePlace = Transaction | Database | Tasks;

export interface EnqueueTaskOptions {
  /** Not before this long from now, up to 10 years. Not together with `at`. */
  readonly delay?: `${number}${"ms" | "s" | "m" | "h" | "d"}`;
  /** Not before this moment. */
  readonly at?: Date | number;
  /** Instead of the task's own. */
  readonly priority?: Priority;
  /** A UUID. Enqueueing the same id again does nothing: for callers that may have to repeat themselves. Default: a new one. */
  readonly id?: string;
}

/** A task that must have gone a certain way before another exists. */
export interface TaskBefore {
  readonly id: string;
  /** What it may end as so that the other will not exist, unless somebody redrives it. */
  readonly endsWith: readonly TaskState[];
}

/** A task that was enqueued; `Result` is what its handler returns. */
export interface TaskHandle<Result> extends EnqueueOutcome {
  /** Of what follows others: those that come before it. */
  readonly before?: readonly TaskBefore[];
  /** Never there: it carries the type. */
  readonly result?: Result;
}

/** A task with its input, as a part of a chain or a group. */
export interface Planned<Result> {
  readonly task: AnyTask;
  readonly input: unknown;
  readonly options: PlannedOptions;
  /** Never there: it carries the type. */
  readonly result?: Result;
}

/** A delay counts from when the task is enqueued: in a chain, from when the one before has completed. */
export type PlannedOptions = Omit<EnqueueTaskOptions, "id">;

/** A task as the kit works with it. Made by task(), frozen. */
export interface Task<Input, Result> {
  readonly name: string;
  readonly queue: string;
  readonly priority: PriorityRank;
  /** Infinity: none. */
  readonly timeoutMs: number;
  readonly retry: ResolvedOptions<typeof retryChecks>;
  readonly unique: { readonly key: ((input: Input) => string) | undefined; readonly until: Uniqueness["until"] } | undefined;
  readonly concurrencyPer: ConcurrencyOptions<Input> | undefined;
  readonly rate: Rate | undefined;
  readonly schedules: readonly ScheduleOptions[];
  readonly keepMs: number;
  readonly keepDeadMs: number;
  readonly input: InputReader<Input>;
  readonly handler: (run: TaskRun<Input>) => Result | Promise<Result>;
  /**
   * Enqueues it. In a transaction it exists if and only if that commits; what `delay` counts from is now, not the commit.
   * @throws MILLRACE_TASKS_INPUT_INVALID, MILLRACE_TASKS_UNBOUND, MILLRACE_TASKS_STORE_UNAVAILABLE
   */
  enqueue(input: Input, options: EnqueueTaskOptions & { readonly in: EnqueuePlace }): Promise<TaskHandle<Result>>;
  /** The task with its input, for chain() and group(): docs/flows.md. Nothing is checked or enqueued yet. */
  readonly with: (input: Input, options?: PlannedOptions) => Planned<Result>;
}

/** Any task, where its types do not matter. */
export interface AnyTask extends Omit<Task<never, unknown>, "input"> {
  readonly input: { write(input: never): string; read(json: string): unknown };
}

/** The input type of a task. */
export type InputOf<T> = T extends Task<infer Input, unknown> ? Input : never;
/** What a task's handler returns, as it comes back from JSON. */
export type ResultOfTask<T> = T extends { handler(run: never): infer Returned } ? Awaited<Returned> : never;

type InputFor<Schema> = Schema extends TSchema ? Static<Schema> : undefined;

/**
 * Declares a task.
 * @throws MILLRACE_OPTION_INVALID, MILLRACE_OPTION_UNKNOWN, MILLRACE_TASKS_DEFINITION_INVALID
 */
export function task<Schema extends TSchema | undefined = undefined, Result = void>(
  name: string,
  policy: TaskPolicy<Schema, InputFor<Schema>>,
  handler: (run: TaskRun<InputFor<Schema>>) => Result | Promise<Result>,
): Task<InputFor<Schema>, Result> {
  type Input = InputFor<Schema>;
  const subject = `task(${JSON.stringify(name)})`;
  if (nameCheck.read(name) === undefined) {
    throw tasksErrors.create("MILLRACE_TASKS_DEFINITION_INVALID", {
      task: String(name).slice(0, 100),
      reason: `a name is ${nameCheck.expected}.`,
    });
  }
  const options = resolveOptions<TaskPolicy<TSchema, never>, typeof taskChecks>(
    subject,
    policy as unknown as TaskPolicy<TSchema, never>, // its functions take the input that the schema says, whichever that is
    taskDefaults,
    taskChecks,
  );
  const retry = resolveOptions<RetryOptions, typeof retryChecks>(`${subject}.retry`, options.retry, retryDefaults, retryChecks);
  const unique =
    options.unique &&
    resolveOptions<UniqueOptions<never>, typeof uniqueChecks>(
      `${subject}.unique`,
      options.unique === true ? {} : options.unique,
      uniqueDefaults,
      uniqueChecks,
    );
  const { schedule } = options;
  const schedules: readonly ScheduleOptions[] =
    schedule === undefined
      ? []
      : typeof schedule === "string"
        ? [{ cron: schedule }]
        : Array.isArray(schedule)
          ? (schedule as readonly ScheduleOptions[])
          : [schedule as ScheduleOptions];
  const declared: Task<Input, Result> = Object.freeze({
    name,
    queue: options.queue,
    priority: options.priority,
    timeoutMs: options.timeout,
    retry,
    unique: unique as Task<Input, Result>["unique"],
    concurrencyPer: options.concurrencyPer as ConcurrencyOptions<Input> | undefined,
    rate: options.rate,
    schedules,
    keepMs: options.keep,
    keepDeadMs: options.keepDead,
    input: inputReader<Input>(name, options.input, options.migrate as ((input: unknown) => Input) | undefined),
    handler,
    enqueue: async (input: Input, { in: place, ...rest }: EnqueueTaskOptions & { readonly in: EnqueuePlace }) => {
      const { tasks, transaction } = boundTasks(declared, place);
      return await tasks.enqueue(declared, input, transaction ? { ...rest, in: transaction } : rest);
    },
    with: (input: Input, options: PlannedOptions = {}): Planned<Result> => ({ task: declared, input, options }),
  });
  readSchedules(declared); // refuses what cannot be
  return declared;
}

/** The default pause of a delay that is given as text. */
export const delayMsOf = (delay: EnqueueTaskOptions["delay"]): number | undefined =>
  delay === undefined ? undefined : parseDuration(delay);
