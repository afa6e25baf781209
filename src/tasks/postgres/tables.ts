// The tables of the PostgreSQL store, in the kit's schema. docs/decisions/tasks.md says why they are like this.
//
// Live tasks and those that are through have tables of their own, so that what fetch() looks at is only as large as what waits. The
// state of a live task is part of the predicates of partial indexes; each row is in one of the first three at a time:
//
// | state | waiting for                                   | index          |
// | ----- | --------------------------------------------- | -------------- |
// | w     | a fetch; without a concurrency key            | tasks_ready    |
// | w     | a fetch and a free place; with one, and due   | tasks_keyed    |
// | d     | its time; with a concurrency key              | tasks_delayed  |
// | a     | its holder                                    | tasks_active   |

/** Counts up with every change below or in functions.ts; what is there is then brought up to date. */
export const schemaVersion = 5;

/** Idempotent, one after the other. */
export const tableStatements: readonly string[] = [
  `create table if not exists millrace.task_schema (
     only_row boolean primary key default true check (only_row),
     version integer not null
   )`,
  `create table if not exists millrace.tasks (
     id uuid primary key,
     queue text not null,
     name text not null,
     input json not null,
     meta json,
     priority smallint not null,
     state "char" not null default 'w',
     due_at timestamptz not null,
     attempt integer not null default 0,
     lease bigint,
     leased_until timestamptz,
     worker text,
     concurrency_key text,
     concurrency_max integer,
     unique_key text,
     group_id uuid,
     progress json,
     error json,
     cancel_keep_ms bigint,
     enqueued_at timestamptz not null default clock_timestamp(),
     started_at timestamptz
   )`,
  // A task is written three times in its life and then deleted: room for the second version on the same page, vacuum by count and without
  // pauses, and statistics often enough for people's queries (fetch() does not depend on them).
  `alter table millrace.tasks set (
     fillfactor = 70,
     autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
     autovacuum_vacuum_insert_scale_factor = 0.2, autovacuum_analyze_scale_factor = 0.1, autovacuum_analyze_threshold = 5000)`,
  `create index if not exists tasks_ready on millrace.tasks (queue, priority, due_at) where state = 'w' and concurrency_key is null`,
  `create index if not exists tasks_keyed on millrace.tasks (queue, concurrency_key, priority, due_at)
     where state = 'w' and concurrency_key is not null`,
  `create index if not exists tasks_delayed on millrace.tasks (queue, due_at) where state = 'd'`,
  `create index if not exists tasks_active on millrace.tasks (concurrency_key) where state = 'a'`,
  `create index if not exists tasks_group on millrace.tasks (group_id) where group_id is not null`,

  // c: completed, x: cancelled, d: dead. expires_at is infinite while a group waits for the result.
  `create table if not exists millrace.finished_tasks (
     id uuid primary key,
     queue text not null,
     name text not null,
     input json not null,
     meta json,
     priority smallint not null,
     state "char" not null,
     due_at timestamptz not null,
     attempt integer not null,
     concurrency_key text,
     concurrency_max integer,
     unique_key text,
     group_id uuid,
     progress json,
     result json,
     error json,
     dead_reason text,
     keep_ms bigint not null,
     enqueued_at timestamptz not null,
     started_at timestamptz,
     finished_at timestamptz not null,
     expires_at timestamptz not null
   )`,
  `create index if not exists finished_tasks_expiry on millrace.finished_tasks (expires_at)`,
  `create index if not exists finished_tasks_dead on millrace.finished_tasks (queue, id) where state = 'd'`,
  `create index if not exists finished_tasks_group on millrace.finished_tasks (group_id, id) where group_id is not null`,

  // A key is held by a task, not by this row: see unique_key_held_1() in functions.ts.
  `create table if not exists millrace.task_keys (
     key text primary key,
     task_id uuid not null,
     until "char" not null,
     expires_at timestamptz not null
   )`,
  `create index if not exists task_keys_expiry on millrace.task_keys (expires_at) where until = 't'`,
  `create table if not exists millrace.task_groups (
     id uuid primary key,
     size integer not null,
     remaining integer not null,
     waits_for "char" not null,
     callback json,
     keep_ms bigint not null,
     ended_at timestamptz
   )`,
  `create table if not exists millrace.task_queues (name text primary key, paused boolean not null)`,
  // What a queue with a rate has started, a row per fetch: counted, and deleted when it leaves the window.
  `create table if not exists millrace.task_starts (queue text not null, at timestamptz not null, tasks integer not null)`,
  `create index if not exists task_starts_queue on millrace.task_starts (queue, at)`,
  `create table if not exists millrace.task_schedules (name text primary key, last_due timestamptz not null)`,
  `create table if not exists millrace.task_claims (key text primary key, claimed_at timestamptz not null default now())`,
  `create index if not exists task_claims_age on millrace.task_claims (claimed_at)`,
];
