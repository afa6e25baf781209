// Putting tasks into the tables, in any transaction, one round trip per statement. Times are taken per row, so that tasks of one
// transaction keep their order.

import { type Sql, sql } from "../../database/index.ts";
import type { EnqueueBatch, EnqueueOutcome, NewGroup, NewTask } from "../store.ts";

/** Tasks per statement: its parameters then stay below some hundred kilobytes for inputs of a usual size. */
export const tasksPerStatement = 1_000;

/** What is sent, and how the answer is read. */
export interface EnqueueStatement {
  readonly statement: Sql<object>;
  outcomes(rows: readonly object[]): readonly EnqueueOutcome[];
}

/** The common case, with as little as possible around it: one task, no unique key. */
export function oneTask(task: NewTask): EnqueueStatement {
  const { id, concurrency } = task;
  const statement = sql<object>`
    select millrace.enqueue_task_1(
      ${id}::uuid, ${task.queue}, ${task.name}, ${task.input}::json, ${task.meta ?? null}::json, ${task.priority}::smallint,
      ${task.delayMs ?? 0}::float8, ${task.atMs ?? null}::float8, ${concurrency?.key ?? null}::text, ${concurrency?.max ?? null}::int,
      ${task.group ?? null}::uuid) as made`;
  return { statement, outcomes: ([row]) => [{ id, accepted: (row as { made: boolean }).made }] };
}

interface BatchRow {
  readonly id: string;
  readonly holder: string;
  readonly made: boolean;
}

const untilOf = ({ until }: NonNullable<NewTask["unique"]>): string =>
  until === "finished" ? "f" : until === "started" ? "s" : "t";

/** Any tasks, with their groups. */
export function manyTasks({ tasks, groups = [] }: EnqueueBatch): EnqueueStatement {
  // Of tasks with the same unique key the first is the one; a statement cannot touch a key twice.
  const firstOfKey = new Map<string, string>();
  for (const { id, unique } of tasks) if (unique && !firstOfKey.has(unique.key)) firstOfKey.set(unique.key, id);
  const sent = tasks.filter(({ id, unique }) => !unique || firstOfKey.get(unique.key) === id);
  const column = <T>(of: (task: NewTask) => T): T[] => sent.map(of);
  const statement = sql<object>`
    select * from millrace.enqueue_batch_1(
      ${groupsJson(groups)}::json,
      ${column((t) => t.id)}::uuid[], ${column((t) => t.queue)}::text[], ${column((t) => t.name)}::text[],
      ${column((t) => t.input)}::text[], ${column((t) => t.meta ?? null)}::text[], ${column((t) => t.priority)}::smallint[],
      ${column((t) => t.delayMs ?? 0)}::float8[], ${column((t) => t.atMs ?? null)}::float8[],
      ${column((t) => t.concurrency?.key ?? null)}::text[], ${column((t) => t.concurrency?.max ?? null)}::int[],
      ${column((t) => t.group ?? null)}::uuid[], ${column((t) => t.unique?.key ?? null)}::text[],
      ${column((t) => (t.unique ? untilOf(t.unique) : null))}::"char"[],
      ${column((t) => (typeof t.unique?.until === "number" ? t.unique.until : 0))}::float8[])`;
  return {
    statement,
    outcomes: (rows) => {
      const byId = new Map((rows as readonly BatchRow[]).map((row) => [row.id, row]));
      const seen = new Set<string>();
      return tasks.map(({ id, unique }) => {
        const first = (unique && firstOfKey.get(unique.key)) ?? id;
        const { holder, made } = byId.get(first)!;
        const accepted = made && first === id && !seen.has(id);
        seen.add(id);
        return { id: holder, accepted };
      });
    },
  };
}

/** A task as millrace.enqueue_tasks_1() reads it. */
const rowOf = ({ concurrency, unique, ...task }: NewTask) => ({
  ...task,
  concurrencyKey: concurrency?.key,
  concurrencyMax: concurrency?.max,
  uniqueKey: unique?.key,
});

const groupRow = ({ callback, ...group }: NewGroup) => ({ ...group, callback: callback && rowOf(callback) });

const groupsJson = (groups: readonly NewGroup[]): string => JSON.stringify(groups.map(groupRow));

/** A batch for millrace.enqueue_tasks_1(). */
export const batchJson = ({ tasks, groups = [] }: EnqueueBatch): string =>
  JSON.stringify({ tasks: tasks.map(rowOf), groups: groups.map(groupRow) });
