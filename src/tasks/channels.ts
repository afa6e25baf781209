// What tasks publishes. Metrics, logs and traces subscribe.

import { defineChannel } from "../core/index.ts";
import type { DeadReason } from "./store.ts";

/** Tasks were handed to a store. Of those in a transaction it is not known whether it will commit. */
export interface TaskEnqueueMessage {
  readonly store: string;
  readonly name: string;
  readonly queue: string;
  /** How many, and how many of them were there already by their unique key. */
  readonly tasks: number;
  readonly duplicates: number;
  readonly durationMs: number;
  /** Whether it was part of a transaction. */
  readonly inTransaction: boolean;
  readonly error: unknown;
}

export const taskEnqueueChannel = defineChannel<TaskEnqueueMessage>("millrace:tasks:enqueue");

/** An attempt begins: the handler is called next. */
export interface TaskStartMessage {
  readonly id: string;
  readonly name: string;
  readonly queue: string;
  readonly attempt: number;
  /** How long it was due before. */
  readonly waitedMs: number;
}

export const taskStartChannel = defineChannel<TaskStartMessage>("millrace:tasks:start");

/** An attempt has ended, and the store knows. */
export interface TaskEndMessage {
  readonly id: string;
  readonly name: string;
  readonly queue: string;
  readonly attempt: number;
  /**
   * fenced: the lease had been lost, so that what the attempt brought counts for nothing. released: handed back untried, by a drain or
   * because this process does not know the task.
   */
  readonly outcome: "completed" | "retried" | "dead" | "cancelled" | "released" | "fenced";
  /** How long the handler ran. */
  readonly durationMs: number;
  /** Only of retried ones: how long until the next attempt. */
  readonly delayMs: number | undefined;
  readonly deadReason: DeadReason | undefined;
  readonly error: unknown;
}

export const taskEndChannel = defineChannel<TaskEndMessage>("millrace:tasks:end");

/** A task whose worker died or fell silent is waiting again, or cancelled if that was asked for. */
export interface TaskRecoveredMessage {
  readonly id: string;
  readonly name: string;
  readonly queue: string;
  readonly attempt: number;
  /** Who had it. */
  readonly worker: string;
  readonly became: "waiting" | "cancelled";
}

export const taskRecoveredChannel = defineChannel<TaskRecoveredMessage>("millrace:tasks:recovered");

/** The handler did not end within the grace after it was aborted: its slot is used by others, and its result will not count. */
export interface TaskAbandonedMessage {
  readonly id: string;
  readonly name: string;
  readonly queue: string;
  readonly attempt: number;
  /** Why it was aborted. */
  readonly reason: unknown;
}

export const taskAbandonedChannel = defineChannel<TaskAbandonedMessage>("millrace:tasks:abandoned");

/** The workers of this process have changed their state. */
export interface TaskWorkerMessage {
  readonly worker: string;
  /** started; store-lost and store-back: the store was not reached, or is again; draining: nothing new is taken; stopped. */
  readonly state: "started" | "store-lost" | "store-back" | "draining" | "stopped";
  readonly reason?: string | undefined;
}

export const taskWorkerChannel = defineChannel<TaskWorkerMessage>("millrace:tasks:worker");

/** A schedule's moment has come, and this process was the one that enqueued its task. */
export interface TaskScheduleMessage {
  readonly schedule: string;
  readonly name: string;
  readonly id: string;
  /** The moment that the schedule says, in milliseconds since the epoch. */
  readonly dueAtMs: number;
  /** How long after it. */
  readonly lateMs: number;
}

export const taskScheduleChannel = defineChannel<TaskScheduleMessage>("millrace:tasks:schedule");

/** Rows of the outbox were relayed to the store, or could not be. Silent when there was nothing to do. */
export interface TaskOutboxMessage {
  /** What begins the store's keys. */
  readonly store: string;
  /** How many enqueue() calls. */
  readonly rows: number;
  readonly durationMs: number;
  /** Why not all: they are tried again. */
  readonly error: unknown;
}

export const taskOutboxChannel = defineChannel<TaskOutboxMessage>("millrace:tasks:outbox");
