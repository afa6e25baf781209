// Chains and fan-outs: tasks that follow tasks. What comes next is written down when the flow is enqueued and travels with the tasks, so that
// whichever process completes one enqueues the next, in the transaction that settles it. See docs/flows.md.

import { type Duration, parseDuration } from "../core/index.ts";
import { boundTasks } from "./bound-tasks.ts";
import { tasksErrors } from "./errors.ts";
import { type NextStep, type TaskMeta, writeMeta } from "./meta.ts";
import { concurrencyOf, newTask } from "./new-task.ts";
import type { EnqueueBatch, NewGroup, NewTask, TaskState } from "./store.ts";
import { newTaskId } from "./task-id.ts";
import type { AnyTask, EnqueuePlace, Planned, Task, TaskHandle } from "./task.ts";

/** A task whose input is the result of the step before. */
export interface StepTaking<In, Out> {
  readonly name: string;
  readonly with: (input: In) => Planned<Out>;
}

/** A step of a chain: a task that takes the result of the one before, or one whose input is said. */
export type Step<In, Out> = StepTaking<In, Out> | Planned<Out>;

/** Tasks that run one after the other. */
export interface Chain<Result> {
  readonly kind: "chain";
  readonly steps: readonly (AnyTask | Planned<unknown> | FanOut<unknown>)[];
  /**
   * Enqueues the first step; the others follow by themselves. The handle is that of the last.
   * @throws MILLRACE_TASKS_INPUT_INVALID, MILLRACE_TASKS_UNBOUND, MILLRACE_TASKS_STORE_UNAVAILABLE
   */
  enqueue(options: { readonly in: EnqueuePlace }): Promise<TaskHandle<Result>>;
}

export interface FanOutOptions<Result> {
  /** Follows when all are through: a task without input, one with its input said, or a chain. It can read what became of the members. */
  readonly next?: Task<undefined, Result> | Planned<Result> | Chain<Result>;
  /**
   * "completed": waits for every member to complete or be cancelled; one that is dead is waited for until it is redriven or discarded.
   * "settled": waits only until every member is through, dead ones included. Default "completed".
   */
  readonly when?: "completed" | "settled";
  /** How long the members' results are kept after the last is through. Default "1d". */
  readonly keep?: Duration;
}

/** Tasks that run side by side, and what follows them. */
export interface FanOut<Result> {
  readonly kind: "fan-out";
  readonly members: readonly Planned<unknown>[];
  readonly options: FanOutOptions<Result>;
  /** Enqueues all members. @throws MILLRACE_TASKS_INPUT_INVALID, MILLRACE_TASKS_UNBOUND, MILLRACE_TASKS_STORE_UNAVAILABLE */
  enqueue(options: { readonly in: EnqueuePlace }): Promise<FanOutHandle<Result>>;
}

/** A fan-out that was enqueued. */
export interface FanOutHandle<Result> {
  /** The store's group of its members. */
  readonly group: string;
  /** In the order in which they were given. */
  readonly members: readonly TaskHandle<unknown>[];
  /** Of what follows. Undefined: nothing does. */
  readonly next: TaskHandle<Result> | undefined;
}

/** Longer ones are a loop, which a task that enqueues itself again does better. */
const maxSteps = 100;

/** All of them are in one batch. */
const maxMembers = 10_000;

const fanOutDefaults = {
  when: "completed", // what follows mostly needs what the members have made
  keep: "1d", // longer than all attempts of a callback take with the usual pauses
} as const;

const refuse = (flow: string, reason: string) => tasksErrors.create("MILLRACE_TASKS_DEFINITION_INVALID", { task: flow, reason });

type AnyStep = Chain<unknown>["steps"][number];

const isPlanned = (step: object): step is Planned<unknown> => "task" in step;
const isFanOut = (step: object): step is FanOut<unknown> => "kind" in step && step.kind === "fan-out";
const isChain = (step: object): step is Chain<unknown> => "kind" in step && step.kind === "chain";

/**
 * Tasks one after the other: each is enqueued when the one before has completed, with its result as input unless an input is said. A step
 * that is dead or cancelled ends the chain; redriving a dead one goes on with it. A fan-out may be the last step.
 * @throws MILLRACE_TASKS_DEFINITION_INVALID
 */
export function chain<A, B>(first: Planned<A>, second: Step<A, B> | FanOut<B>): Chain<B>;
export function chain<A, B, C>(first: Planned<A>, second: Step<A, B>, third: Step<B, C> | FanOut<C>): Chain<C>;
export function chain<A, B, C, D>(
  first: Planned<A>,
  second: Step<A, B>,
  third: Step<B, C>,
  fourth: Step<C, D> | FanOut<D>,
): Chain<D>;
export function chain<A, B, C, D, E>(
  first: Planned<A>,
  second: Step<A, B>,
  third: Step<B, C>,
  fourth: Step<C, D>,
  fifth: Step<D, E> | FanOut<E>,
): Chain<E>;
/** For steps that are made in a loop; their inputs are said. */
export function chain<Result>(...steps: readonly Planned<Result>[]): Chain<Result>;
export function chain(...given: readonly unknown[]): Chain<unknown> {
  const steps = given as readonly AnyStep[]; // as the signatures have it
  const [first] = steps;
  if (first === undefined || !isPlanned(first))
    throw refuse("chain()", "its first step is a task with its input: `task.with(input)`.");
  if (steps.length > maxSteps) throw refuse("chain()", `it has ${steps.length} steps, and may have ${maxSteps}.`);
  if (steps.slice(0, -1).some(isFanOut)) throw refuse("chain()", "a fan-out is its last step; what follows it is its `next`.");
  const made: Chain<unknown> = {
    kind: "chain",
    steps,
    enqueue: async ({ in: place }) => {
      const { batch, handle } = chainBatch(made);
      await put(place, tasksOf(made), batch);
      return handle;
    },
  };
  return Object.freeze(made);
}

/**
 * Tasks side by side, and one that follows them, exactly once.
 * @throws MILLRACE_TASKS_DEFINITION_INVALID
 */
export function fanOut<Result = never>(members: readonly Planned<unknown>[], options: FanOutOptions<Result> = {}): FanOut<Result> {
  if (members.length === 0) throw refuse("fanOut()", "it has no members.");
  if (members.length > maxMembers) throw refuse("fanOut()", `it has ${members.length} members, and may have ${maxMembers}.`);
  for (const member of members) {
    if (!isPlanned(member)) throw refuse("fanOut()", "its members are tasks with their inputs: `task.with(input)`.");
  }
  const made: FanOut<Result> = {
    kind: "fan-out",
    members: [...members],
    options,
    enqueue: async ({ in: place }) => {
      const { batch, handle } = fanOutBatch(made);
      await put(place, tasksOf(made), batch);
      return handle;
    },
  };
  return Object.freeze(made);
}

/** Every task of a flow. */
function tasksOf(step: AnyStep | Chain<unknown>): AnyTask[] {
  if (isPlanned(step)) return [step.task];
  if (isChain(step)) return step.steps.flatMap(tasksOf);
  if (!isFanOut(step)) return [step];
  const { next } = step.options;
  return [...step.members.flatMap(tasksOf), ...(next ? tasksOf(next) : [])];
}

/** Puts a flow where it belongs; all of its tasks have to be known there. */
async function put(place: EnqueuePlace, tasks: readonly AnyTask[], batch: EnqueueBatch): Promise<void> {
  const bound = tasks.map((task) => boundTasks(task, place))[0]!;
  await bound.tasks.put(tasks[0]!, batch, bound.transaction);
}

/** Uniqueness counts for tasks that stand alone: a step that is refused would leave the others waiting for it. */
const planned = ({ task, input, options }: Planned<unknown>, more: { meta?: TaskMeta; group?: string } = {}): NewTask => {
  const { unique: _, ...made } = newTask(task as unknown as Task<unknown, unknown>, input, { ...options, ...more });
  return made;
};

interface Made<Handle> {
  readonly batch: EnqueueBatch;
  readonly handle: Handle;
}

const ends: readonly TaskState[] = ["dead", "cancelled"];

/** A chain as the task that is enqueued now, with the rest in its meta. */
function chainTask({ steps }: Chain<unknown>): Made<TaskHandle<unknown>> & { readonly first: NewTask } {
  const [first, ...rest] = steps as readonly [Planned<unknown>, ...AnyStep[]];
  const next: NextStep[] = [];
  const ids: string[] = [];
  let last: TaskHandle<unknown> | undefined;
  for (const step of rest) {
    if (isFanOut(step)) {
      const { batch, handle } = fanOutBatch(step);
      next.push({ kind: "group", batch });
      last = handle.next ?? {
        ...handle.members.at(-1)!,
        before: handle.members.slice(0, -1).map(({ id }) => ({ id, endsWith: ["dead"] })),
      };
    } else if (isPlanned(step)) {
      const { meta: _, ...task } = planned(step);
      next.push({ kind: "task", task });
      ids.push(task.id);
    } else {
      const id = newTaskId();
      next.push({ kind: "result", task: { id, queue: step.queue, name: step.name, priority: step.priority } });
      ids.push(id);
    }
  }
  const task = planned(first, { meta: { next } });
  ids.unshift(task.id);
  const own = last ? ids : ids.slice(0, -1);
  const before = [...own.map((id) => ({ id, endsWith: ends })), ...(last?.before ?? [])];
  const handle = { id: last?.id ?? ids.at(-1)!, accepted: true, ...(before.length > 0 && { before }) };
  return { first: task, batch: { tasks: [task] }, handle };
}

function chainBatch(made: Chain<unknown>): Made<TaskHandle<never>> {
  const { batch, handle } = chainTask(made);
  return { batch, handle: handle as TaskHandle<never> };
}

function fanOutBatch<Result>({ members, options }: FanOut<Result>): Made<FanOutHandle<Result>> {
  const { next, when = fanOutDefaults.when, keep = fanOutDefaults.keep } = options;
  const id = newTaskId();
  const tasks = members.map((member) => planned(member, { group: id }));
  const followed = next && callbackOf(next, id);
  const made: NewGroup = { id, size: tasks.length, when, callback: followed?.task, keepMs: parseDuration(keep) };
  const endsWith: readonly TaskState[] = when === "completed" ? ["dead"] : [];
  const before = tasks.map((task) => ({ id: task.id, endsWith }));
  return {
    batch: { tasks, groups: [made] },
    handle: {
      group: id,
      members: tasks.map((task) => ({ id: task.id, accepted: true })),
      next: followed && { ...followed.handle, before: [...before, ...(followed.handle.before ?? [])] },
    },
  };
}

/** What follows a group: it knows of which. */
function callbackOf(
  then: AnyTask | Planned<unknown> | Chain<unknown>,
  id: string,
): { readonly task: NewTask; readonly handle: TaskHandle<never> } {
  if (isChain(then)) {
    const { first, handle } = chainTask(then);
    const meta = first.meta === undefined ? {} : (JSON.parse(first.meta) as TaskMeta); // it was written a moment ago
    return { task: { ...first, meta: writeMeta({ ...meta, group: id }) }, handle: handle as TaskHandle<never> };
  }
  const task = planned(isPlanned(then) ? then : { task: then, input: undefined, options: {} }, {
    meta: { group: id },
  });
  return { task, handle: { id: task.id, accepted: true } };
}

/** Whether this process can go on with what follows a task. If not, the task is left to one that can. */
export function knowsNext({ next }: TaskMeta, known: ReadonlyMap<string, AnyTask>): boolean {
  const [step] = next ?? [];
  // A result becomes an input here, and the limit of a key follows from the input.
  return step?.kind !== "result" || known.has(step.task.name);
}

/**
 * What is enqueued when a task with `meta` has completed with `result` (JSON, or undefined), or undefined: nothing follows. A result that
 * is no input of the next step is enqueued all the same, and found in the dead letter: the step that made it is done.
 */
export function nextBatch(
  meta: TaskMeta,
  result: string | undefined,
  known: ReadonlyMap<string, AnyTask>,
): EnqueueBatch | undefined {
  const [step, ...rest] = meta.next ?? [];
  if (!step) return undefined;
  if (step.kind === "group") return step.batch;
  const nextMeta = writeMeta({ ...(meta.context && { context: meta.context }), ...(rest.length > 0 && { next: rest }) });
  if (step.kind === "task") return { tasks: [{ ...step.task, meta: nextMeta }] };
  const input = result ?? "null";
  const definition = known.get(step.task.name);
  return { tasks: [{ ...step.task, input, meta: nextMeta, concurrency: definition && limitOf(definition, input) }] };
}

function limitOf(task: AnyTask, input: string): NewTask["concurrency"] {
  try {
    return concurrencyOf(task as unknown as Task<unknown, unknown>, task.input.read(input));
  } catch {
    return undefined; // it does not fit, and will be dead before it has done anything
  }
}
