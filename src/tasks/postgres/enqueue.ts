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
    insert into millrace.tasks (id, queue, name, input, meta, priority, state, due_at, concurrency_key, concurrency_max, group_id)
    select ${id}::uuid, ${task.queue}, ${task.name}, ${task.input}::json, ${task.meta ?? null}::json, ${task.priority}::smallint,
           case when ${concurrency?.key ?? null}::text is not null and d.due_at > clock_timestamp() then 'd' else 'w' end::"char", d.due_at,
           ${concurrency?.key ?? null}, ${concurrency?.max ?? null}::int, ${task.group ?? null}::uuid
      from (select coalesce(to_timestamp(${task.atMs ?? null}::float8 / 1000),
                            clock_timestamp() + ${task.delayMs ?? 0}::float8 * interval '1 millisecond') as due_at offset 0) d
     where not exists (select from millrace.finished_tasks f where f.id = ${id}::uuid)
    on conflict (id) do nothing
    returning 1`;
  return { statement, outcomes: (rows) => [{ id, accepted: rows.length > 0 }] };
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
    with made_groups as (${insertGroups(groups)}),
    n as materialized (
      select u.*, coalesce(to_timestamp(u.at_ms / 1000), clock_timestamp() + u.delay_ms * interval '1 millisecond') as due_at
        from unnest(
          ${column((t) => t.id)}::uuid[], ${column((t) => t.queue)}::text[], ${column((t) => t.name)}::text[],
          ${column((t) => t.input)}::text[], ${column((t) => t.meta ?? null)}::text[], ${column((t) => t.priority)}::smallint[],
          ${column((t) => t.delayMs ?? 0)}::float8[], ${column((t) => t.atMs ?? null)}::float8[],
          ${column((t) => t.concurrency?.key ?? null)}::text[], ${column((t) => t.concurrency?.max ?? null)}::int[],
          ${column((t) => t.group ?? null)}::uuid[], ${column((t) => t.unique?.key ?? null)}::text[],
          ${column((t) => (t.unique ? untilOf(t.unique) : null))}::"char"[],
          ${column((t) => (typeof t.unique?.until === "number" ? t.unique.until : 0))}::float8[]
        ) u (id, queue, name, input, meta, priority, delay_ms, at_ms, concurrency_key, concurrency_max, group_id, unique_key, until, for_ms)
    ), claims as (
      insert into millrace.task_keys as k (key, task_id, until, expires_at)
      select n.unique_key, n.id, n.until, clock_timestamp() + n.for_ms * interval '1 millisecond'
        from n where n.unique_key is not null
       order by n.unique_key -- two batches with the same keys must not wait for each other
      on conflict (key) do update set (task_id, until, expires_at) = (
        select v.task_id, v.until, v.expires_at
          from (select millrace.unique_key_held_1(k.task_id, k.until, k.expires_at) as held offset 0) h
          join (values (true, k.task_id, k.until, k.expires_at), (false, excluded.task_id, excluded.until, excluded.expires_at))
               v (held, task_id, until, expires_at) on v.held = h.held)
      returning k.key, k.task_id
    ), made as (
      insert into millrace.tasks
        (id, queue, name, input, meta, priority, state, due_at, concurrency_key, concurrency_max, group_id, unique_key)
      select n.id, n.queue, n.name, n.input::json, n.meta::json, n.priority,
             case when n.concurrency_key is not null and n.due_at > clock_timestamp() then 'd' else 'w' end::"char", n.due_at,
             n.concurrency_key, n.concurrency_max, n.group_id, n.unique_key
        from n left join claims c on c.key = n.unique_key
       where (n.unique_key is null or c.task_id = n.id)
         and not exists (select from millrace.finished_tasks f where f.id = n.id)
      on conflict (id) do nothing
      returning id
    )
    select n.id, coalesce(c.task_id, n.id) as holder, m.id is not null as made
      from n left join claims c on c.key = n.unique_key left join made m on m.id = n.id`;
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

function insertGroups(groups: readonly NewGroup[]): Sql {
  const json = JSON.stringify(groups.map((group) => ({ ...group, callback: group.callback && rowOf(group.callback) })));
  return sql`
    insert into millrace.task_groups (id, size, remaining, waits_for, callback, keep_ms)
    select g.id, g.size, g.size, case g."when" when 'settled' then 's' else 'c' end::"char", g.callback, g."keepMs"
      from json_to_recordset(${json}::json) g (id uuid, size int, "when" text, callback json, "keepMs" bigint)
    on conflict (id) do nothing`;
}

/** A task as millrace.enqueue_tasks_1() reads it. */
const rowOf = ({ concurrency, unique, ...task }: NewTask) => ({
  ...task,
  concurrencyKey: concurrency?.key,
  concurrencyMax: concurrency?.max,
  uniqueKey: unique?.key,
});

/** A batch for millrace.enqueue_tasks_1(). */
export const batchJson = ({ tasks, groups = [] }: EnqueueBatch): string =>
  JSON.stringify({
    tasks: tasks.map(rowOf),
    groups: groups.map((group) => ({ ...group, callback: group.callback && rowOf(group.callback) })),
  });
