// The handle that createTasks() gives: enqueue, work, and look after what waits. See docs/tasks.md.

import type { Closeable, Duration } from "../core/index.ts";
import type { Database } from "../database/index.ts";
import type { TaskStatus } from "./status.ts";
import type { AnyTask, EnqueueTaskOptions, Task, TaskHandle } from "./task.ts";
import type { CancelOutcome, EnqueueBatch, EnqueueOutcome, EnqueueTransaction, TaskStore } from "./store.ts";
import type { WatchOptions } from "./watching.ts";

/** What the workers of this process are doing. */
export interface TasksStats {
  /** Whether start() was called and close() was not. */
  readonly working: boolean;
  /** Tasks whose handler runs. */
  readonly running: number;
  /** Tasks that were fetched and wait for a slot. */
  readonly buffered: number;
  /** Attempts that have ended since the start, by how. */
  readonly ended: Readonly<Record<"completed" | "retried" | "dead" | "cancelled" | "released" | "fenced", number>>;
}

export interface ResultOptions extends WatchOptions {
  /** How long to wait. Default: as long as the running work has. */
  readonly timeout?: Duration | undefined;
}

/** What `millrace worker` gives to the default function of its module, which returns the tasks. */
export interface TaskModuleContext {
  /** What handlers get as `db`. */
  readonly database: Database;
  /** For what the tasks need: closed when the worker has drained, in the reverse order. */
  readonly opened: AsyncDisposableStack;
}

/** Tasks of one store in this process. */
export interface Tasks extends Closeable {
  readonly store: TaskStore;
  /** Names this process in lists. */
  readonly worker: string;

  /**
   * Enqueues one. `in` may also be a pg client or an ORM's that is inside of a transaction.
   * @throws MILLRACE_TASKS_INPUT_INVALID, MILLRACE_TASKS_STORE_UNAVAILABLE
   */
  enqueue<Input, Result>(
    task: Task<Input, Result>,
    input: Input,
    options?: EnqueueTaskOptions & { readonly in?: EnqueueTransaction },
  ): Promise<TaskHandle<Result>>;
  /** Enqueues many of one kind, all or nothing, in one round trip per 1,000. */
  enqueueMany<Input, Result>(
    task: Task<Input, Result>,
    inputs: readonly Input[],
    options?: Omit<EnqueueTaskOptions, "id"> & { readonly in?: EnqueueTransaction },
  ): Promise<readonly TaskHandle<Result>[]>;
  /** Enqueues what chain() and group() have made. `task` is its first, for messages. */
  put(task: AnyTask, batch: EnqueueBatch, transaction?: EnqueueTransaction): Promise<readonly EnqueueOutcome[]>;

  /** What a task is at, or undefined: there is none, or it was kept long enough. */
  status<Result = unknown>(id: string): Promise<TaskStatus<Result> | undefined>;
  /**
   * What it is at, each time that it has changed, until it has ended. Cheap for many who watch the same task. See docs/task-results.md.
   * @throws MILLRACE_TASKS_NO_RESULT when it is not there, or will not be because of what should come before it
   */
  watch<Result>(task: TaskHandle<Result> | string, options?: WatchOptions): AsyncIterable<TaskStatus<Result>>;
  /** What its handler has returned. @throws MILLRACE_TASKS_NO_RESULT, MILLRACE_DEADLINE_EXCEEDED after `timeout` */
  result<Result>(task: TaskHandle<Result> | string, options?: ResultOptions): Promise<Result>;
  /**
   * Cancels a task that waits, asks one that runs to stop, and with a handle of a chain does so with whichever of its steps it is at.
   * "cancelled" and "requested" outweigh "finished".
   */
  cancel(task: TaskHandle<unknown> | string): Promise<CancelOutcome>;

  /** Works on the queues from now on. Twice is once. Resolves at once: a store that is not there yet is waited for. */
  start(): Promise<void>;
  stats(): TasksStats;
  /** Takes nothing new, lets running tasks finish within `drain`, hands back the rest, and stops. The store stays its maker's. */
  close(): Promise<void>;
}
