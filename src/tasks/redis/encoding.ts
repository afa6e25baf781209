// Between the contract's objects and the texts that scripts take and give. See lua.ts for what is where.

import type {
  ClaimedTask,
  DeadReason,
  EnqueueBatch,
  GroupResult,
  NewGroup,
  NewTask,
  PriorityRank,
  TaskRecord,
  TaskState,
} from "../store.ts";

/** A moment or a delay in whole microseconds. */
const micros = (ms: number): number => Math.ceil(ms * 1_000);

const bodyOf = ({ input, meta }: NewTask): string => JSON.stringify(meta === undefined ? [input] : [input, meta]);

function rareOf({ concurrency, unique, group }: NewTask): string {
  if (!concurrency && !unique && group === undefined) return "";
  const until = unique?.until;
  return JSON.stringify({
    c: concurrency?.key,
    x: concurrency?.max,
    g: group,
    u: unique?.key,
    uk: until === undefined ? undefined : until === "finished" ? "f" : until === "started" ? "s" : "t",
    ut: typeof until === "number" ? micros(until) : undefined,
  });
}

/** Seven texts. */
export const flatTask = (task: NewTask): string[] => [
  task.id,
  task.queue,
  task.name,
  String(task.priority),
  task.atMs === undefined ? `~${micros(task.delayMs ?? 0)}` : String(micros(task.atMs)),
  bodyOf(task),
  rareOf(task),
];

/** Five texts. */
export const flatGroup = ({ id, size, when, keepMs, callback }: NewGroup): string[] => [
  id,
  String(size),
  when,
  String(Math.ceil(keepMs)),
  callback ? JSON.stringify(flatTask(callback)) : "",
];

/** A batch as it goes through the outbox, and as what follows a settlement. */
export interface FlatBatch {
  readonly tasks: readonly string[];
  readonly groups: readonly string[];
}

export const flatBatch = ({ tasks, groups = [] }: EnqueueBatch): FlatBatch => ({
  tasks: tasks.flatMap(flatTask),
  groups: groups.flatMap(flatGroup),
});

/** Texts per task and where its due time is among them. */
const textsPerTask = 7;
const dueAt = 4;

/** The batch with what is left of its delays after `elapsedUs`. What has none is due when it is relayed, so that rows keep their order. */
export const delayedSince = ({ tasks, groups }: FlatBatch, elapsedUs: number): FlatBatch => ({
  tasks: tasks.map((text, i) =>
    i % textsPerTask === dueAt && text.startsWith("~") ? `~${Math.max(0, Number(text.slice(1)) - elapsedUs)}` : text,
  ),
  groups,
});

/** Arguments of the script relay. */
export const relayArguments = (row: string, { tasks, groups }: FlatBatch): [string, string] => [
  row,
  JSON.stringify({ tasks, groups }),
];

/** How many tasks. */
export const sizeOf = ({ tasks }: FlatBatch): number => tasks.length / textsPerTask;

/** Texts that go as arguments of one command; Redis takes a million. Beyond, they go as JSON. */
const mostArguments = 100_000;

/** Arguments of the script enqueue. */
export function enqueueArguments({ tasks, groups }: FlatBatch): string[] {
  const counts = [String(tasks.length / textsPerTask), String(groups.length / 5)];
  const texts = [...tasks, ...groups];
  if (texts.length <= mostArguments) return [...counts, ...texts];
  const parts: string[] = [];
  for (let i = 0; i < texts.length; i += mostArguments) parts.push(JSON.stringify(texts.slice(i, i + mostArguments)));
  return [...counts, "json", ...parts];
}

/** A reply's text, which comes as a Buffer, or undefined. */
export const textOf = (value: unknown): string | undefined =>
  Buffer.isBuffer(value) || typeof value === "string" ? value.toString() : undefined;

const msOf = (value: unknown): number => Number(String(value)) / 1_000;

const readBody = (body: unknown): { input: string; meta: string | undefined } => {
  const [input, meta] = JSON.parse(String(body)) as [string, string?];
  return { input, meta };
};

/** A task as the script fetch answers it. */
export function claimedOf(reply: readonly unknown[], lease: string): ClaimedTask {
  const [id, attempt, queue, name, rank, enqueued, due, body, progress, group] = reply;
  return {
    id: String(id),
    attempt: Number(attempt),
    lease,
    queue: String(queue),
    name: String(name),
    ...readBody(body),
    priority: Number(String(rank)) as PriorityRank,
    enqueuedAtMs: msOf(enqueued),
    dueAtMs: msOf(due),
    progress: textOf(progress),
    group: textOf(group),
  };
}

const states: Readonly<Record<string, TaskState>> = { w: "waiting", a: "active", c: "completed", x: "cancelled", f: "dead" };

/** How a script spells a state. */
export const stateCodes: Readonly<Record<TaskState, string>> = {
  waiting: "w",
  active: "a",
  completed: "c",
  cancelled: "x",
  dead: "f",
};

/** Names and values as the script records answers them. `id` is not among them. */
export function recordOf(id: string, reply: readonly unknown[]): TaskRecord {
  const fields = new Map<string, string>();
  for (let i = 0; i + 1 < reply.length; i += 2) fields.set(String(reply[i]), String(reply[i + 1]));
  const state = states[fields.get("s")!]!;
  const momentOf = (field: string): number | undefined => (fields.has(field) ? msOf(fields.get(field)) : undefined);
  return {
    id,
    queue: fields.get("q")!,
    name: fields.get("n")!,
    state,
    priority: Number(fields.get("p")) as PriorityRank,
    attempt: Number(fields.get("a")),
    ...readBody(fields.get("body")),
    progress: fields.get("pr"),
    result: state === "completed" ? fields.get("r") : undefined,
    error: fields.get("e"),
    deadReason: fields.get("dr") as DeadReason | undefined,
    cancelRequested: fields.has("ck"),
    concurrencyKey: fields.get("c"),
    uniqueKey: fields.get("u"),
    group: fields.get("g"),
    worker: state === "active" ? fields.get("w") : undefined,
    enqueuedAtMs: momentOf("en")!,
    dueAtMs: momentOf("du")!,
    startedAtMs: momentOf("st"),
    finishedAtMs: momentOf("fi"),
  };
}

/** A member as the script groupResults answers it. */
export function groupResultOf(reply: readonly unknown[]): GroupResult {
  const [id, name, state, result, error] = reply;
  return {
    id: String(id),
    name: String(name),
    state: states[String(state)] as GroupResult["state"],
    result: textOf(result),
    error: textOf(error),
  };
}
