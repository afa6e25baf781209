// Tasks as people see them: one record whichever table it is in.

import { type Sql, sql } from "../../database/index.ts";
import type { DeadReason, GroupResult, PriorityRank, TaskFilter, TaskRecord, TaskState } from "../store.ts";

interface RecordRow {
  readonly id: string;
  readonly queue: string;
  readonly name: string;
  readonly state: "w" | "d" | "a" | "c" | "x" | "f";
  readonly priority: PriorityRank;
  readonly attempt: number;
  readonly input: string;
  readonly meta: string | null;
  readonly progress: string | null;
  readonly result: string | null;
  readonly error: string | null;
  readonly deadReason: DeadReason | null;
  readonly cancelRequested: boolean;
  readonly concurrencyKey: string | null;
  readonly uniqueKey: string | null;
  readonly group: string | null;
  readonly worker: string | null;
  readonly enqueuedAtMs: number;
  readonly dueAtMs: number;
  readonly startedAtMs: number | null;
  readonly finishedAtMs: number | null;
}

/** Live states, and finished ones; a dead task is "f" here, because "d" is a live one that is not due. */
const states: Readonly<Record<RecordRow["state"], TaskState>> = {
  w: "waiting",
  d: "waiting",
  a: "active",
  c: "completed",
  x: "cancelled",
  f: "dead",
};

const live = sql`
  t.id, t.queue, t.name, t.state::text, t.priority::int, t.attempt, t.input::text, t.meta::text, t.progress::text, null::text as result,
  t.error::text, null::text as "deadReason", t.cancel_keep_ms is not null as "cancelRequested", t.concurrency_key as "concurrencyKey",
  t.unique_key as "uniqueKey", t.group_id as "group", t.worker, (extract(epoch from t.enqueued_at) * 1000)::float8 as "enqueuedAtMs",
  (extract(epoch from t.due_at) * 1000)::float8 as "dueAtMs", (extract(epoch from t.started_at) * 1000)::float8 as "startedAtMs",
  null::float8 as "finishedAtMs"`;

const finished = sql`
  f.id, f.queue, f.name, case f.state when 'd' then 'f' else f.state end::text, f.priority::int, f.attempt, f.input::text, f.meta::text,
  f.progress::text, f.result::text, f.error::text, f.dead_reason, false, f.concurrency_key, f.unique_key, f.group_id, null::text,
  (extract(epoch from f.enqueued_at) * 1000)::float8, (extract(epoch from f.due_at) * 1000)::float8,
  (extract(epoch from f.started_at) * 1000)::float8, (extract(epoch from f.finished_at) * 1000)::float8`;

export function recordOf(row: object): TaskRecord {
  const {
    state,
    meta,
    progress,
    result,
    error,
    deadReason,
    concurrencyKey,
    uniqueKey,
    group,
    worker,
    startedAtMs,
    finishedAtMs,
    ...rest
  } = row as RecordRow;
  return {
    ...rest,
    state: states[state],
    meta: meta ?? undefined,
    progress: progress ?? undefined,
    result: result ?? undefined,
    error: error ?? undefined,
    deadReason: deadReason ?? undefined,
    concurrencyKey: concurrencyKey ?? undefined,
    uniqueKey: uniqueKey ?? undefined,
    group: group ?? undefined,
    worker: worker ?? undefined,
    startedAtMs: startedAtMs ?? undefined,
    finishedAtMs: finishedAtMs ?? undefined,
  };
}

export const showStatement = (id: string): Sql<object> => sql<object>`
  select ${live} from millrace.tasks t where t.id = ${id}::uuid
  union all
  select ${finished} from millrace.finished_tasks f where f.id = ${id}::uuid and f.expires_at > clock_timestamp()`;

const stateCodes: Readonly<Record<TaskState, string>> = { waiting: "wd", active: "a", completed: "c", cancelled: "x", dead: "d" };

/** Each table gives its newest, and the newer of both are the answer. */
export function listStatement({ state, queue, name, group, before, limit }: TaskFilter): Sql<object> {
  const isLive = state === undefined || state === "waiting" || state === "active";
  const isFinished = state === undefined || !isLive;
  const codes = state && stateCodes[state].split("");
  const where = (alias: "t" | "f"): Sql => {
    const column = (of: string) => sql.identifier(alias, of);
    const conditions = [
      codes && sql`${column("state")} = any(${codes}::"char"[])`,
      queue !== undefined && sql`${column("queue")} = ${queue}`,
      name !== undefined && sql`${column("name")} = ${name}`,
      group !== undefined && sql`${column("group_id")} = ${group}::uuid`,
      before !== undefined && sql`${column("id")} < ${before}::uuid`,
      alias === "f" && sql`f.expires_at > clock_timestamp()`,
    ].filter((condition): condition is Sql => typeof condition === "object");
    return conditions.length === 0 ? sql`true` : sql.join(conditions, sql` and `);
  };
  const parts = [
    isLive && sql`(select ${live} from millrace.tasks t where ${where("t")} order by t.id desc limit ${limit}::int)`,
    isFinished &&
      sql`(select ${finished} from millrace.finished_tasks f where ${where("f")} order by f.id desc limit ${limit}::int)`,
  ].filter((part): part is Sql => typeof part === "object");
  // A union takes its names from the first part; only finished ones need them given.
  const named = isLive ? sql.empty : sql`(select ${live} from millrace.tasks t where false) union all `;
  return sql<object>`select * from (${named}${sql.join(parts, sql` union all `)}) both_tables order by id desc limit ${limit}::int`;
}

interface GroupRow {
  readonly id: string;
  readonly name: string;
  readonly state: "c" | "x" | "d";
  readonly result: string | null;
  readonly error: string | null;
}

export const groupResultsStatement = (group: string, after: string | undefined, limit: number): Sql<GroupRow> => sql<GroupRow>`
  select f.id, f.name, f.state::text, f.result::text, f.error::text from millrace.finished_tasks f
   where f.group_id = ${group}::uuid and (${after ?? null}::uuid is null or f.id > ${after ?? null}::uuid)
   order by f.id limit ${limit}::int`;

export const groupResultOf = ({ id, name, state, result, error }: GroupRow): GroupResult => ({
  id,
  name,
  state: states[state === "d" ? "f" : state] as GroupResult["state"],
  result: result ?? undefined,
  error: error ?? undefined,
});
