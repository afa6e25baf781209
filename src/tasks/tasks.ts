// The handle that createTasks() gives: enqueue, work, and look after what waits. See docs/tasks.md.

import type { Closeable } from "../core/index.ts";
import type { EnqueueTaskOptions, Task } from "./task.ts";
import type { EnqueueOutcome, EnqueueTransaction, TaskStore } from "./store.ts";

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
  ): Promise<EnqueueOutcome>;
  /** Enqueues many of one kind, all or nothing, in one round trip per 1,000. */
  enqueueMany<Input, Result>(
    task: Task<Input, Result>,
    inputs: readonly Input[],
    options?: Omit<EnqueueTaskOptions, "id"> & { readonly in?: EnqueueTransaction },
  ): Promise<readonly EnqueueOutcome[]>;

  /** Works on the queues from now on. Twice is once. Resolves at once: a store that is not there yet is waited for. */
  start(): Promise<void>;
  stats(): TasksStats;
  /** Takes nothing new, lets running tasks finish within `drain`, hands back the rest, and stops. The store stays its maker's. */
  close(): Promise<void>;
}
