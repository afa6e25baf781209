// What somebody who waits for a task sees of it: where it is, how far, and what came of it. See docs/task-results.md.

import type { DeadReason, TaskRecord, TaskState } from "./store.ts";

/** What an attempt has failed with, as it was kept. */
export interface TaskFailure {
  readonly name: string;
  readonly message: string;
  readonly code?: string | undefined;
}

/** A task as it is now. */
export interface TaskStatus<Result = unknown> {
  readonly id: string;
  readonly name: string;
  readonly queue: string;
  readonly state: TaskState;
  /** From 1, once it has been begun. */
  readonly attempt: number;
  /** The latest that its handler has said. */
  readonly progress: unknown;
  /** What its handler has returned; only of a completed one. */
  readonly result: Result | undefined;
  /** What the last attempt has failed with. A completed task may have failed before. */
  readonly error: TaskFailure | undefined;
  readonly deadReason: DeadReason | undefined;
  readonly enqueuedAt: Date;
  /** When it may be or could have been begun. */
  readonly dueAt: Date;
  readonly startedAt: Date | undefined;
  readonly finishedAt: Date | undefined;
}

const parsed = (json: string | undefined): unknown => (json === undefined ? undefined : JSON.parse(json));

/** Without the stack: that is for logs. */
export function failureOf(json: string | undefined): TaskFailure | undefined {
  if (json === undefined) return undefined;
  const { name, message, code } = parsed(json) as TaskFailure; // as failure-json.ts writes it
  return { name, message, ...(code !== undefined && { code }) };
}

const date = (ms: number | undefined): Date | undefined => (ms === undefined ? undefined : new Date(ms));

export function statusOf<Result>(record: TaskRecord): TaskStatus<Result> {
  return {
    id: record.id,
    name: record.name,
    queue: record.queue,
    state: record.state,
    attempt: record.attempt,
    progress: parsed(record.progress),
    result: parsed(record.result) as Result | undefined, // its handler's type says so
    error: failureOf(record.error),
    deadReason: record.deadReason,
    enqueuedAt: new Date(record.enqueuedAtMs),
    dueAt: new Date(record.dueAtMs),
    startedAt: date(record.startedAtMs),
    finishedAt: date(record.finishedAtMs),
  };
}

/** Whether nothing more happens to it by itself. */
export const hasEnded = (state: TaskState): boolean => state === "completed" || state === "cancelled" || state === "dead";
