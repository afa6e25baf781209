// Tasks in PostgreSQL: tables of the kit's own (tables.ts), functions for what must happen in one look (functions.ts), and this, the contract
// on top of them. See docs/task-stores.md and docs/decisions/tasks.md.

import { randomBytes } from "node:crypto";
import { currentContext } from "../../concurrency/index.ts";
import {
  type Clock,
  type Closeable,
  type Duration,
  type OptionChecks,
  createLifecycle,
  duration,
  given,
  resolveOptions,
  systemClock,
} from "../../core/index.ts";
import { type Database, type Sql, sql, unobserved } from "../../database/index.ts";
import type {
  CancelOutcome,
  ClaimedTask,
  DeadFilter,
  EnqueueBatch,
  EnqueueOptions,
  EnqueueOutcome,
  EnqueueTransaction,
  FetchDemand,
  FetchOptions,
  GroupResult,
  LeaseState,
  NewTask,
  PriorityRank,
  QueueState,
  RecoveredTask,
  SettleOutcome,
  Settlement,
  StoreEvent,
  TaskFilter,
  TaskLease,
  TaskRecord,
  TaskStore,
} from "../store.ts";
import { Calls, translated } from "./calls.ts";
import { type EnqueueStatement, batchJson, manyTasks, oneTask, tasksPerStatement } from "./enqueue.ts";
import { Gathering } from "./gathering.ts";
import { groupResultOf, groupResultsStatement, listStatement, recordOf, showStatement } from "./records.ts";
import { setUpTables } from "./setup.ts";
import { Listening, Notifier } from "./wake-ups.ts";

export interface PostgresTaskStoreOptions {
  readonly database: Database;
  /** How long one of its statements may take. Default "10s". */
  readonly timeout?: Duration;
  readonly clock?: Clock;
}

export const postgresTaskStoreDefaults = {
  timeout: "10s", // far above any of them; a request that enqueues has its own deadline
  clock: systemClock,
} as const satisfies Partial<PostgresTaskStoreOptions>;

const checks = {
  database: given<Database>("a database"),
  timeout: duration("1ms"),
  clock: given<Clock>("a clock"),
} as const satisfies OptionChecks<PostgresTaskStoreOptions>;

interface FetchedRow {
  readonly id: string | null;
  readonly attempt: number;
  readonly queue: string;
  readonly name: string;
  readonly input: string;
  readonly meta: string | null;
  readonly priority: PriorityRank;
  readonly enqueued_ms: number;
  readonly due_ms: number;
  readonly progress: string | null;
  readonly group_id: string | null;
}

/**
 * In the order of their ids: two statements on the same tasks (a heartbeat and a settlement, say) lock them in one order, so that neither
 * waits for the other in a circle.
 */
const inOrder = <T>(items: readonly T[], idOf: (item: T) => string): T[] =>
  items.toSorted((a, b) => (idOf(a) < idOf(b) ? -1 : idOf(a) > idOf(b) ? 1 : 0));

/**
 * Rounds in which each task is named once, the first time in the first: what a statement answers by id is then about one lease, and of two
 * settlements of the same lease the first counts. Nearly always there is one round.
 */
function oncePerTask<T>(items: readonly T[], idOf: (item: T) => string): readonly (readonly T[])[] {
  const rounds: T[][] = [];
  const times = new Map<string, number>();
  for (const item of items) {
    const id = idOf(item);
    const round = times.get(id) ?? 0;
    times.set(id, round + 1);
    (rounds[round] ??= []).push(item);
  }
  return rounds;
}

/** 63 bits that nobody else has: with the attempt, what fences a settlement. */
const newLease = (): string => (randomBytes(8).readBigUInt64BE() >> 1n).toString();

const isOurTransaction = (on: EnqueueTransaction): on is Extract<EnqueueTransaction, { afterCommit: unknown }> =>
  "afterCommit" in on;

class PostgresTaskStore implements TaskStore {
  readonly name = "postgresql";
  readonly #database: Database;
  readonly #calls: Calls;
  readonly #gathering: Gathering;
  readonly #notifier: Notifier;
  readonly #listening: Listening;
  readonly #lifecycle = createLifecycle("the task store");
  /** Where a queue's next look for concurrency keys begins. */
  readonly #afterKeys = new Map<string, string>();
  /** The unique key at which the next cleanUp() goes on. */
  #cleanedUpTo = "";

  constructor(options: PostgresTaskStoreOptions) {
    const { database, timeout, clock } = resolveOptions<PostgresTaskStoreOptions, typeof checks>(
      "postgresTaskStore",
      options,
      postgresTaskStoreDefaults,
      checks,
    );
    this.#database = database;
    this.#calls = new Calls(database, timeout, clock);
    this.#gathering = new Gathering(async (each) => each.outcomes(await this.#calls.rows("enqueue", each.statement)));
    this.#notifier = new Notifier(this.#calls, clock);
    this.#listening = new Listening(database, clock);
    this.#lifecycle.add("the notifier", () => this.#notifier.close());
    this.#lifecycle.add("the listening connection", () => this.#listening.close());
  }

  setup(): Promise<void> {
    return this.#calls.bounded("setup", () =>
      unobserved(() => this.#database.outsideTransaction(() => setUpTables(this.#database))),
    );
  }

  async enqueue(batch: EnqueueBatch, options: EnqueueOptions = {}): Promise<readonly EnqueueOutcome[]> {
    const { tasks, groups } = batch;
    const [only] = tasks;
    if (only === undefined) return [];
    const { in: transaction } = options;
    const statements: EnqueueStatement[] = [];
    if (tasks.length === 1 && only.unique === undefined && !groups?.length) {
      // Inside of a transaction that is not named, the ordinary way says so.
      if (transaction === undefined && !this.#database.insideTransaction) {
        const outcome = await this.#calls.bounded(
          "enqueue",
          (deadline) => this.#gathering.enqueue(only, deadline),
          currentContext()?.deadline,
        );
        this.#notifier.ready(only.queue);
        return [outcome];
      }
      statements.push(oneTask(only));
    } else {
      for (let i = 0; i < tasks.length; i += tasksPerStatement) {
        const part = tasks.slice(i, i + tasksPerStatement);
        statements.push(manyTasks(i === 0 && groups ? { tasks: part, groups } : { tasks: part }));
      }
    }
    const queues = new Set(tasks.map(({ queue }) => queue));
    const tell = (): void => {
      for (const queue of queues) this.#notifier.ready(queue);
    };
    if (transaction === undefined) {
      const outcomes = await this.#calls.bounded(
        "enqueue",
        (deadline) =>
          unobserved(() => {
            if (statements.length === 1) return this.#send(statements, (s) => this.#database.many(s, { signal: deadline }));
            return this.#database.transaction((tx) => this.#send(statements, (s) => tx.many(s)), { signal: deadline });
          }),
        currentContext()?.deadline,
      );
      tell();
      return outcomes;
    }
    // A failure in a transaction is its owner's to see as it is, so that it can be run again; only what setup() would mend is said.
    try {
      const outcomes = isOurTransaction(transaction)
        ? await unobserved(() => this.#send(statements, (s) => transaction.many(s)))
        : await this.#send(statements, async (s) => {
            const { text, values } = s.render();
            return (await transaction.query({ text, values: [...values] })).rows as object[];
          });
      if (isOurTransaction(transaction)) transaction.afterCommit(tell);
      return outcomes;
    } catch (error) {
      const { code } = error as { code?: string };
      throw code === "42883" || code === "3F000" ? translated("enqueue", error) : error;
    }
  }

  async #send(
    statements: readonly EnqueueStatement[],
    run: (statement: Sql<object>) => Promise<object[]>,
  ): Promise<EnqueueOutcome[]> {
    const outcomes: EnqueueOutcome[] = [];
    for (const each of statements) outcomes.push(...each.outcomes(await run(each.statement)));
    return outcomes;
  }

  async fetch(demands: readonly FetchDemand[], { worker, leaseMs }: FetchOptions): Promise<readonly ClaimedTask[]> {
    if (demands.length === 0) return [];
    const lease = newLease();
    const rows = await this.#calls.rows(
      "fetch",
      sql<FetchedRow>`
        select * from millrace.fetch_tasks_1(
          ${demands.map((d) => d.queue)}::text[], ${demands.map((d) => d.limit)}::int[],
          ${demands.map((d) => d.rate?.max ?? null)}::int[], ${demands.map((d) => d.rate?.perMs ?? null)}::bigint[],
          ${demands.map((d) => this.#afterKeys.get(d.queue) ?? null)}::text[], ${worker}::text, ${lease}::bigint, ${leaseMs}::bigint)`,
    );
    const claimed: ClaimedTask[] = [];
    for (const row of rows) {
      if (row.id === null) {
        this.#afterKeys.set(row.queue, row.name);
        continue;
      }
      claimed.push({
        id: row.id,
        attempt: row.attempt,
        lease,
        queue: row.queue,
        name: row.name,
        input: row.input,
        meta: row.meta ?? undefined,
        priority: row.priority,
        enqueuedAtMs: row.enqueued_ms,
        dueAtMs: row.due_ms,
        progress: row.progress ?? undefined,
        group: row.group_id ?? undefined,
      });
    }
    // An UPDATE gives its rows in the order of the tables.
    return claimed.sort((a, b) => a.priority - b.priority || a.dueAtMs - b.dueAtMs);
  }

  async settle(settlements: readonly Settlement[]): Promise<readonly SettleOutcome[]> {
    const settled = new Set<Settlement>();
    for (const round of oncePerTask(settlements, (s) => s.task.id)) await this.#settleRound(round, settled);
    const queues = new Set<string>();
    for (const s of settled) {
      if (s.kind === "complete") for (const { queue } of s.next?.tasks ?? []) queues.add(queue);
    }
    for (const queue of queues) this.#notifier.ready(queue);
    return settlements.map((settlement) => (settled.has(settlement) ? "settled" : "fenced"));
  }

  /** Each task at most once. */
  async #settleRound(round: readonly Settlement[], settled: Set<Settlement>): Promise<void> {
    const byId = new Map(round.map((settlement) => [settlement.task.id, settlement]));
    const finishing = round.filter((s) => s.kind === "complete" || s.kind === "dead" || s.kind === "cancelled");
    const returning = round.filter((s) => s.kind === "retry" || s.kind === "release");
    // One after the other: when the second fails nobody knows of the first, and asking again finds it fenced, which is right.
    for (const id of finishing.length > 0 ? await this.#finish(inOrder(finishing, (s) => s.task.id)) : [])
      settled.add(byId.get(id)!);
    for (const id of returning.length > 0 ? await this.#return(inOrder(returning, (s) => s.task.id)) : [])
      settled.add(byId.get(id)!);
  }

  async #finish(settlements: readonly Extract<Settlement, { keepMs: number }>[]): Promise<readonly string[]> {
    const column = <T>(of: (settlement: Extract<Settlement, { keepMs: number }>) => T): T[] => settlements.map(of);
    const { ids } = await this.#calls.row(
      "settle",
      sql<{ ids: string[] }>`
        select millrace.finish_tasks_1(
          ${column((s) => s.task.id)}::uuid[], ${column((s) => s.task.attempt)}::int[], ${column((s) => s.task.lease)}::bigint[],
          ${column((s) => (s.kind === "complete" ? "c" : s.kind === "dead" ? "d" : "x"))}::"char"[],
          ${column((s) => (s.kind === "complete" ? (s.result ?? null) : null))}::json[],
          ${column((s) => (s.kind === "dead" ? s.error : null))}::json[],
          ${column((s) => (s.kind === "dead" ? s.reason : null))}::text[],
          ${column((s) => s.keepMs)}::bigint[],
          ${column((s) => (s.kind === "complete" && s.next ? batchJson(s.next) : null))}::json[])::text[] as ids`,
    );
    return ids;
  }

  async #return(settlements: readonly Extract<Settlement, { delayMs: number }>[]): Promise<readonly string[]> {
    const column = <T>(of: (settlement: Extract<Settlement, { delayMs: number }>) => T): T[] => settlements.map(of);
    const { ids } = await this.#calls.row(
      "settle",
      sql<{ ids: string[] }>`
        select millrace.return_tasks_1(
          ${column((s) => s.task.id)}::uuid[], ${column((s) => s.task.attempt)}::int[], ${column((s) => s.task.lease)}::bigint[],
          ${column((s) => Math.ceil(s.delayMs))}::bigint[], ${column((s) => (s.kind === "retry" ? s.error : null))}::json[],
          ${column((s) => s.kind === "release")}::boolean[])::text[] as ids`,
    );
    return ids;
  }

  async extend(leases: readonly TaskLease[], leaseMs: number): Promise<readonly LeaseState[]> {
    const states = new Map<TaskLease, LeaseState>();
    for (const round of oncePerTask(leases, (l) => l.id)) {
      const sent = inOrder(round, (l) => l.id);
      const rows = await this.#calls.rows(
        "extend",
        sql<{ id: string; cancelled: boolean }>`
          select * from millrace.extend_tasks_1(
            ${sent.map((l) => l.id)}::uuid[], ${sent.map((l) => l.attempt)}::int[], ${sent.map((l) => l.lease)}::bigint[],
            ${leaseMs}::bigint)`,
      );
      const held = new Map(rows.map(({ id, cancelled }) => [id, cancelled ? "cancelled" : "held"] as const));
      for (const lease of round) states.set(lease, held.get(lease.id) ?? "lost");
    }
    return leases.map((lease) => states.get(lease)!);
  }

  async saveProgress(updates: readonly { readonly task: TaskLease; readonly progress: string }[]): Promise<void> {
    for (const round of oncePerTask(updates, (u) => u.task.id)) {
      const sent = inOrder(round, (u) => u.task.id);
      await this.#calls.rows(
        "saveProgress",
        sql`
          select millrace.save_progress_1(
            ${sent.map((u) => u.task.id)}::uuid[], ${sent.map((u) => u.task.attempt)}::int[],
            ${sent.map((u) => u.task.lease)}::bigint[], ${sent.map((u) => u.progress)}::text[])`,
      );
    }
  }

  async recover(options: {
    readonly limit: number;
    readonly delayMs: number;
    readonly keepMs: number;
  }): Promise<readonly RecoveredTask[]> {
    const error = JSON.stringify({ name: "Stalled", message: "Its worker died or fell silent." });
    const rows = await this.#calls.rows(
      "recover",
      sql<Omit<RecoveredTask, "became"> & { cancelled: boolean }>`
        select * from millrace.recover_tasks_1(
          ${options.limit}::int, ${Math.ceil(options.delayMs)}::bigint, ${options.keepMs}::bigint, ${error}::json)`,
    );
    return rows.map(({ cancelled, ...task }) => ({ ...task, became: cancelled ? "cancelled" : "waiting" }));
  }

  async nextDue(demands: readonly FetchDemand[]): Promise<number | undefined> {
    if (demands.length === 0) return undefined;
    const { ms } = await this.#calls.row(
      "nextDue",
      sql<{ ms: number | null }>`
        select millrace.next_due_1(
          ${demands.map((d) => d.queue)}::text[], ${demands.map((d) => d.rate?.max ?? null)}::int[],
          ${demands.map((d) => d.rate?.perMs ?? null)}::bigint[]) as ms`,
    );
    return ms ?? undefined;
  }

  subscribe(listener: (event: StoreEvent) => void): Promise<Closeable> {
    this.#lifecycle.assertOpen();
    return this.#listening.add(listener);
  }

  async show(id: string): Promise<TaskRecord | undefined> {
    const [row] = await this.#calls.rows("show", showStatement(id));
    return row && recordOf(row);
  }

  async list(filter: TaskFilter): Promise<readonly TaskRecord[]> {
    return (await this.#calls.rows("list", listStatement(filter))).map(recordOf);
  }

  async queues(): Promise<readonly QueueState[]> {
    const rows = await this.#calls.rows(
      "queues",
      sql<Omit<QueueState, "oldestWaitingMs"> & { oldestWaitingMs: number | null }>`
        select name as queue, bool_or(paused) as paused, sum(waiting)::float8 as waiting, sum(delayed)::float8 as delayed,
               sum(active)::float8 as active, sum(dead)::float8 as dead, max(oldest)::float8 as "oldestWaitingMs"
          from (
            select q.name, q.paused, 0 as waiting, 0 as delayed, 0 as active, 0 as dead, null::numeric as oldest
              from millrace.task_queues q where q.paused
            union all
            select t.queue, false, count(*) filter (where t.state in ('w', 'd') and t.due_at <= now()),
                   count(*) filter (where t.state in ('w', 'd') and t.due_at > now()), count(*) filter (where t.state = 'a'), 0,
                   extract(epoch from now() - min(t.due_at) filter (where t.state in ('w', 'd') and t.due_at <= now())) * 1000
              from millrace.tasks t group by t.queue
            union all
            select f.queue, false, 0, 0, 0, count(*), null
              from millrace.finished_tasks f where f.state = 'd' and f.expires_at > now() group by f.queue
          ) parts
         group by name order by name`,
    );
    return rows.map((row) => ({ ...row, oldestWaitingMs: row.oldestWaitingMs ?? undefined }));
  }

  async cancel(id: string, keepMs: number): Promise<CancelOutcome> {
    const { outcome } = await this.#calls.row(
      "cancel",
      sql<{ outcome: CancelOutcome }>`select millrace.cancel_task_1(${id}::uuid, ${keepMs}::bigint) as outcome`,
    );
    if (outcome === "requested") this.#notifier.cancel(id);
    return outcome;
  }

  async makeDue(id: string): Promise<boolean> {
    const rows = await this.#calls.rows(
      "makeDue",
      sql<{ queue: string }>`
        update millrace.tasks set state = 'w', due_at = least(due_at, clock_timestamp())
         where id = ${id}::uuid and state in ('w', 'd') returning queue`,
    );
    for (const { queue } of rows) this.#notifier.ready(queue);
    return rows.length > 0;
  }

  redrive(filter: DeadFilter): Promise<readonly string[]> {
    return this.#dead("redrive", filter);
  }

  discard(filter: DeadFilter): Promise<readonly string[]> {
    return this.#dead("discard", filter);
  }

  async #dead(operation: "redrive" | "discard", { ids, queue, name, limit }: DeadFilter): Promise<readonly string[]> {
    const row = await this.#calls.row(
      operation,
      sql<{ chosen: string[]; queues: string[] }>`
        with d as materialized (
          select millrace.dead_tasks_1(${ids ?? null}::uuid[], ${queue ?? null}::text, ${name ?? null}::text, ${limit}::int,
                                       ${operation === "discard"}::boolean) as chosen)
        select d.chosen::text[] as chosen from d`,
    );
    // Which queues they are of only the tables know; workers look at all of theirs.
    if (operation === "redrive" && row.chosen.length > 0) await this.#tellQueuesOf(row.chosen);
    return row.chosen;
  }

  async #tellQueuesOf(ids: readonly string[]): Promise<void> {
    const rows = await this.#calls.rows(
      "redrive",
      sql<{ queue: string }>`select distinct queue from millrace.tasks where id = any(${ids}::uuid[])`,
    );
    for (const { queue } of rows) this.#notifier.ready(queue);
  }

  async pause(queue: string): Promise<void> {
    await this.#calls.rows(
      "pause",
      sql`insert into millrace.task_queues (name, paused) values (${queue}, true) on conflict (name) do update set paused = true`,
    );
  }

  async resume(queue: string): Promise<void> {
    await this.#calls.rows("resume", sql`delete from millrace.task_queues where name = ${queue}`);
    this.#notifier.ready(queue);
  }

  async groupResults(
    group: string,
    { after, limit }: { readonly after?: string | undefined; readonly limit: number },
  ): Promise<readonly GroupResult[]> {
    return (await this.#calls.rows("groupResults", groupResultsStatement(group, after, limit))).map(groupResultOf);
  }

  async scheduleState(name: string, sinceMs: number): Promise<number> {
    const { ms } = await this.#calls.row(
      "scheduleState",
      sql<{ ms: number }>`
        insert into millrace.task_schedules as s (name, last_due) values (${name}, to_timestamp(${sinceMs}::float8 / 1000))
        on conflict (name) do update set last_due = s.last_due
        returning (extract(epoch from s.last_due) * 1000)::float8 as ms`,
    );
    return ms;
  }

  async claimSchedule(name: string, dueAtMs: number, task: NewTask): Promise<boolean> {
    const claimed = await this.#calls.bounded("claimSchedule", (deadline) =>
      unobserved(() =>
        this.#database.outsideTransaction(() =>
          this.#database.transaction(
            async (tx) => {
              const row = await tx.maybeOne(sql`
                insert into millrace.task_schedules as s (name, last_due) values (${name}, to_timestamp(${dueAtMs}::float8 / 1000))
                on conflict (name) do update set last_due = excluded.last_due where s.last_due < excluded.last_due
                returning 1`);
              if (row) await this.enqueue({ tasks: [task] }, { in: tx });
              return row !== undefined;
            },
            { signal: deadline },
          ),
        ),
      ),
    );
    return claimed;
  }

  async cleanUp({ limit }: { readonly limit: number }): Promise<number> {
    const { removed, cleanedUpTo } = await this.#calls.row(
      "cleanUp",
      sql<{ removed: number; cleanedUpTo: string }>`
        with tasks as (
          delete from millrace.finished_tasks where id = any(array(
            select id from millrace.finished_tasks where expires_at <= now() order by expires_at limit ${limit}::int for update skip locked))
          returning state, group_id
        ), left_groups as (
          -- As if it had been discarded: a group must not wait for what is gone.
          select millrace.leave_groups_1(array_agg(t.group_id)) from tasks t
            join millrace.task_groups g on g.id = t.group_id and g.waits_for = 'c' where t.state = 'd' having count(*) > 0
        ), keys as (
          delete from millrace.task_keys where key = any(array(
            select k.key from millrace.task_keys k where k.until = 't' and k.expires_at <= now() order by k.expires_at
             limit ${limit}::int for update skip locked))
          returning 1
        ), looked_at as (
          select k.* from millrace.task_keys k where k.key > ${this.#cleanedUpTo} and k.until <> 't' order by k.key limit 1000
        ), free_keys as (
          delete from millrace.task_keys where key = any(array(
            select k.key from millrace.task_keys k join looked_at l on l.key = k.key
             where not millrace.unique_key_held_1(k.task_id, k.until, k.expires_at) for update of k skip locked))
          returning 1
        ), groups as (
          delete from millrace.task_groups where id = any(array(
            select g.id from millrace.task_groups g
             where g.ended_at + g.keep_ms * interval '1 millisecond' <= now() limit ${limit}::int for update skip locked))
          returning 1
        ), starts as (
          delete from millrace.task_starts where at < now() - interval '1 day' returning 1
        ), claims as (
          delete from millrace.task_claims where key = any(array(
            select key from millrace.task_claims where claimed_at < now() - interval '30 days' limit ${limit}::int for update skip locked))
          returning 1
        )
        select (select count(*) from tasks) + (select count(*) from keys) + (select count(*) from groups) + (select count(*) from claims)
               + 0 * (select count(*) from starts) + 0 * (select count(*) from free_keys) + 0 * (select count(*) from left_groups)
                 as removed,
               coalesce((select max(key) from looked_at), '') as "cleanedUpTo"`,
    );
    this.#cleanedUpTo = cleanedUpTo;
    return Number(removed);
  }

  close(): Promise<void> {
    return this.#lifecycle.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * Tasks in tables of the database's schema `millrace`. Close it before the database.
 * @throws MILLRACE_OPTION_INVALID, MILLRACE_OPTION_UNKNOWN
 */
export function postgresTaskStore(options: PostgresTaskStoreOptions): TaskStore {
  return new PostgresTaskStore(options);
}
