// From a declared task and an input to what a store takes: everything that is decided when a task is enqueued is decided here.

import { createHash } from "node:crypto";
import { currentContext, portableContext } from "../concurrency/index.ts";
import { type Clock, parseDuration } from "../core/index.ts";
import { tasksErrors } from "./errors.ts";
import { type TaskMeta, writeMeta } from "./meta.ts";
import { priorityRank } from "./options.ts";
import type { ConcurrencyLimit, NewTask, Uniqueness } from "./store.ts";
import { newTaskId } from "./task-id.ts";
import type { EnqueueTaskOptions, Task } from "./task.ts";

/** Ten years: what the contract of stores asks for. */
const maxDelayMs = 3_650 * 86_400_000;

/** What the contract of stores allows. */
const maxKeyLength = 200;

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Keys of two tasks never meet. What is too long to be compared as it is, is compared by its hash. */
function keyOf<Input>(task: Task<Input, unknown>, key: string): string {
  const full = `${task.name}:${key}`;
  return full.length <= maxKeyLength ? full : `${task.name}:sha256-${createHash("sha256").update(key).digest("base64url")}`;
}

/** The limit of a task with this input. @throws what its key function throws */
export function concurrencyOf<Input>(task: Task<Input, unknown>, input: Input): ConcurrencyLimit | undefined {
  const { concurrencyPer } = task;
  return concurrencyPer && { key: keyOf(task, concurrencyPer.key?.(input) ?? ""), max: concurrencyPer.max };
}

/** JSON in which the order of fields does not matter. */
const canonical = (json: string): string =>
  JSON.stringify(JSON.parse(json), (_, value: unknown) =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );

function uniqueOf<Input>(task: Task<Input, unknown>, input: Input, json: string): Uniqueness | undefined {
  const { unique } = task;
  return unique && { key: keyOf(task, unique.key?.(input) ?? canonical(json)), until: unique.until };
}

function timeOf<Input>(task: Task<Input, unknown>, { delay, at }: EnqueueTaskOptions): Pick<NewTask, "delayMs" | "atMs"> {
  const refuse = (reason: string) => tasksErrors.create("MILLRACE_TASKS_INPUT_INVALID", { task: task.name, reason });
  if (delay !== undefined && at !== undefined) throw refuse("`delay` and `at` are given, one of them is possible.");
  if (delay !== undefined) {
    const delayMs = parseDuration(delay);
    if (delayMs > maxDelayMs) throw refuse(`\`delay\` is ${delay}, and may be 3650d.`);
    return delayMs > 0 ? { delayMs } : {};
  }
  if (at === undefined) return {};
  const atMs = Number(at);
  if (!Number.isFinite(atMs)) throw refuse("`at` is no moment.");
  return { atMs };
}

export interface NewTaskOptions extends EnqueueTaskOptions {
  readonly meta?: TaskMeta | undefined;
  readonly group?: string | undefined;
  readonly clock?: Clock | undefined;
}

/** The task as it is handed to a store. @throws MILLRACE_TASKS_INPUT_INVALID */
export function newTask<Input>(task: Task<Input, unknown>, input: Input, options: NewTaskOptions = {}): NewTask {
  const json = task.input.write(input);
  const { id, priority } = options;
  if (id !== undefined && !uuid.test(id)) {
    throw tasksErrors.create("MILLRACE_TASKS_INPUT_INVALID", { task: task.name, reason: "its id is no UUID in lower case." });
  }
  const context = currentContext();
  const meta = writeMeta({ ...(context && { context: portableContext(context) }), ...options.meta });
  return {
    id: id ?? newTaskId(options.clock),
    queue: task.queue,
    name: task.name,
    input: json,
    meta,
    priority: priority === undefined ? task.priority : priorityRank(priority),
    ...timeOf(task, options),
    concurrency: concurrencyOf(task, input),
    unique: uniqueOf(task, input, json),
    group: options.group,
  };
}
