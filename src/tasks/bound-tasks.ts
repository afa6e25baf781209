// From a place to the tasks that are kept there: `enqueue(input, { in: tx })` names a transaction, which names its database, for which
// createTasks() was called. Bound to the object and not to the process: two services, or two tests, side by side do not meet.

import type { Database, Transaction } from "../database/index.ts";
import { tasksErrors } from "./errors.ts";
import type { AnyTask, EnqueuePlace } from "./task.ts";
import type { Tasks } from "./tasks.ts";

interface Bound {
  readonly tasks: Tasks;
  readonly known: ReadonlySet<AnyTask>;
}

const byDatabase = new WeakMap<Database, Set<Bound>>();

/** `known` of `tasks` may be enqueued in `database` until the binding is disposed. */
export function bindTasks(database: Database, tasks: Tasks, known: readonly AnyTask[]): Disposable {
  const bound: Bound = { tasks, known: new Set(known) };
  const all = byDatabase.get(database) ?? new Set();
  byDatabase.set(database, all.add(bound));
  return { [Symbol.dispose]: () => void all.delete(bound) };
}

const isTasks = (place: EnqueuePlace): place is Tasks => "store" in place;
const isTransaction = (place: Transaction | Database): place is Transaction => "database" in place;

/** Who enqueues `task` in `place`. @throws MILLRACE_TASKS_UNBOUND */
export function boundTasks(
  task: AnyTask,
  place: EnqueuePlace,
): { readonly tasks: Tasks; readonly transaction: Transaction | undefined } {
  if (isTasks(place)) return { tasks: place, transaction: undefined };
  const transaction = isTransaction(place) ? place : undefined;
  for (const { tasks, known } of byDatabase.get(transaction?.database ?? (place as Database)) ?? []) {
    if (known.has(task)) return { tasks, transaction };
  }
  throw tasksErrors.create("MILLRACE_TASKS_UNBOUND", { task: task.name });
}
