// What the runtime keeps beside a task's input: who caused it, and what follows it. JSON in the store, which does not look into it.
// Processes of two versions read each other's: fields are only ever added, and what is not known is left alone.

import type { PortableContext } from "../concurrency/index.ts";
import type { EnqueueBatch, NewTask } from "./store.ts";

/** What comes after a task of a chain. */
export type NextStep =
  /** A task whose input is known. */
  | { readonly kind: "task"; readonly task: NewTask }
  /** A task whose input is the result of the one before. What is known of it beforehand: it may be worked on elsewhere. */
  | { readonly kind: "result"; readonly task: Omit<NewTask, "input"> }
  /** A group. What follows it is in its callback's own meta, so it is the last step. */
  | { readonly kind: "group"; readonly batch: EnqueueBatch };

/** The runtime's own part of a task. */
export interface TaskMeta {
  /** Of the request or the task that enqueued it. */
  readonly context?: PortableContext | undefined;
  /** Enqueued one after the other, when the one before has completed. */
  readonly next?: readonly NextStep[] | undefined;
  /** Of a group's callback: the group. */
  readonly group?: string | undefined;
  /** Of a task that a schedule enqueued: which, and the moment that it says, in milliseconds since the epoch. */
  readonly schedule?: { readonly name: string; readonly dueAtMs: number } | undefined;
}

/** JSON, or undefined when there is nothing to keep. */
export function writeMeta(meta: TaskMeta): string | undefined {
  const json = JSON.stringify(meta);
  return json === "{}" ? undefined : json;
}

/** Nothing, when it is not the runtime's: a task must not be lost because of what stands beside it. */
export function readMeta(json: string | undefined): TaskMeta {
  if (json === undefined) return {};
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}
