// What holds for the PostgreSQL store beside the contract: roles, plans, and what is said when its tables are not there.

import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { test } from "node:test";
import { type Database, createDatabase, sql } from "millrace/database";
import { type NewTask, postgresTaskStore } from "millrace/tasks";
import { testDatabase } from "../harness/postgres.ts";
import { passTime } from "./pass-time.ts";

const newTask = (more: Partial<NewTask> = {}): NewTask => ({
  id: randomUUID(),
  queue: "default",
  name: "grind",
  input: "null",
  priority: 2,
  ...more,
});

test("a role that may not create the tables is told so, and works with them once they are there", async () => {
  await using scratch = await testDatabase();
  await using owner = await createDatabase({ url: scratch.url });
  const role = `tasks_${randomBytes(6).toString("hex")}`;
  await owner.query(sql`select 1`);
  await owner.pool.query(`create role ${role} login`);
  const asRole = new URL(scratch.url);
  asRole.searchParams.set("user", role);
  await using limited = await createDatabase({ url: asRole.href });
  try {
    await using store = postgresTaskStore({ database: limited });
    await assert.rejects(store.setup(), { code: "MILLRACE_TASKS_SETUP_REFUSED" });
    await assert.rejects(store.enqueue({ tasks: [newTask()] }), { code: "MILLRACE_TASKS_NOT_SET_UP" });
    await assert.rejects(
      limited.transaction((tx) => store.enqueue({ tasks: [newTask()] }, { in: tx })),
      { code: "MILLRACE_TASKS_NOT_SET_UP" },
    );
    await using own = postgresTaskStore({ database: owner });
    await own.setup();
    await owner.pool.query(`grant usage on schema millrace to ${role};
      grant select, insert, update, delete on all tables in schema millrace to ${role}`);
    await store.setup();
    await store.enqueue({ tasks: [newTask()] });
    const claimed = await store.fetch([{ queue: "default", limit: 5 }], { worker: "w", leaseMs: 60_000 });
    assert.deepEqual(await store.settle([{ kind: "complete", task: claimed[0]!, keepMs: 0 }]), ["settled"]);
  } finally {
    await limited.close();
    await owner.pool.query(`drop owned by ${role}; drop role ${role}`);
  }
});

const scans = async (database: Database): Promise<number> => {
  // Statistics of a session are sent when it is idle; these are its own, at once.
  await database.query(sql`select pg_stat_force_next_flush()`);
  const { scans: count } = await database.one(
    sql<{ scans: number }>`
      select sum(seq_scan)::float8 as scans from pg_stat_user_tables
       where schemaname = 'millrace' and relname in ('tasks', 'finished_tasks')`,
  );
  return count;
};

test("functions that are kept from scanning are not compiled for what a scan would seem to cost", async () => {
  await using scratch = await testDatabase();
  await using database = await createDatabase({ url: scratch.url });
  await using store = postgresTaskStore({ database });
  await store.setup();
  const { rows } = await database.query(
    sql<{ name: string; jit: boolean }>`
      select proname as name, 'jit=off' = any (proconfig) as jit from pg_proc where 'enable_seqscan=off' = any (proconfig)`,
  );
  assert.notEqual(rows.length, 0);
  assert.deepEqual(
    rows.filter(({ jit }) => !jit),
    [],
  );
});

test("plans that were made while the tables were empty go by the indexes when they are not", async () => {
  await using scratch = await testDatabase();
  // One connection, so that every statement meets the plans of before.
  await using database = await createDatabase({ url: scratch.url, pool: { size: 1, overflow: 0 } });
  await using store = postgresTaskStore({ database });
  await store.setup();
  await database.query(sql`alter table millrace.tasks set (autovacuum_enabled = false)`);
  await database.query(sql`alter table millrace.finished_tasks set (autovacuum_enabled = false)`);
  await database.query(sql`vacuum analyze millrace.tasks, millrace.finished_tasks`);
  const everything = async (): Promise<void> => {
    await store.enqueue({ tasks: [newTask()] });
    await store.enqueue({ tasks: [newTask(), newTask({ unique: { key: randomUUID(), until: "finished" } })] });
    const claimed = await store.fetch([{ queue: "default", limit: 2 }], { worker: "w", leaseMs: 60_000 });
    await store.extend(claimed, 60_000);
    await store.saveProgress(claimed.map((task) => ({ task, progress: "1" })));
    await store.nextDue([{ queue: "default", limit: 1 }]);
    await store.recover({ limit: 10, delayMs: 0, keepMs: 0 });
    await store.settle([
      { kind: "complete", task: claimed[0]!, keepMs: 60_000 },
      { kind: "retry", task: claimed[1]!, delayMs: 0, error: "{}" },
    ]);
  };
  for (let i = 0; i < 8; i++) await everything(); // a plan for any parameters is kept from the sixth time on
  await database.query(sql`
    insert into millrace.tasks (id, queue, name, input, priority, due_at)
    select gen_random_uuid(), 'default', 'grind', '1', 3, now() from generate_series(1, 20000)`);
  await database.query(sql`
    insert into millrace.finished_tasks
      (id, queue, name, input, priority, state, due_at, attempt, keep_ms, enqueued_at, finished_at, expires_at)
    select gen_random_uuid(), 'default', 'grind', '1', 3, 'c', now(), 1, 1, now(), now(), now() + interval '1 hour'
      from generate_series(1, 20000)`);
  const before = await scans(database);
  for (let i = 0; i < 5; i++) await everything();
  assert.equal(await scans(database), before);
});

test("settling and prolonging find their tasks by id, however many are active and whatever the statistics say", async () => {
  await using scratch = await testDatabase();
  await using database = await createDatabase({ url: scratch.url, pool: { size: 1, overflow: 0 } });
  await using store = postgresTaskStore({ database });
  await store.setup();
  await database.query(sql`alter table millrace.tasks set (autovacuum_enabled = false)`);
  await database.query(sql`vacuum analyze millrace.tasks`);
  const indexes = async (): Promise<number> => {
    await database.query(sql`select pg_stat_force_next_flush()`);
    const { read } = await database.one(
      sql<{ read: number }>`
        select sum(idx_scan)::float8 as read from pg_stat_user_indexes where schemaname = 'millrace' and indexrelname = 'tasks_active'`,
    );
    return read;
  };
  await store.enqueue({ tasks: Array.from({ length: 1_000 }, () => newTask()) });
  const claimed = await store.fetch([{ queue: "default", limit: 1_000 }], { worker: "w", leaseMs: 60_000 });
  assert.equal(claimed.length, 1_000);
  const before = await indexes();
  for (let i = 0; i < 8; i++) {
    const some = claimed.slice(i * 100, i * 100 + 100);
    assert.ok((await store.extend(some, 60_000)).every((state) => state === "held"));
    await store.saveProgress(some.map((task) => ({ task, progress: "1" })));
    const outcomes = await store.settle(
      some.map((task, nth) =>
        nth % 2 === 0 ? { kind: "complete", task, keepMs: 0 } : { kind: "retry", task, delayMs: 0, error: "{}" },
      ),
    );
    assert.ok(outcomes.every((outcome) => outcome === "settled"));
  }
  assert.equal(await indexes(), before);
});

test("a group that waits for a dead member goes on when that was kept long enough", async () => {
  await using scratch = await testDatabase();
  await using database = await createDatabase({ url: scratch.url });
  await using store = postgresTaskStore({ database });
  await store.setup();
  const group = randomUUID();
  await store.enqueue({
    tasks: [newTask({ group })],
    groups: [{ id: group, size: 1, when: "completed", callback: newTask({ name: "callback" }), keepMs: 60_000 }],
  });
  const take = () => store.fetch([{ queue: "default", limit: 5 }], { worker: "w", leaseMs: 60_000 });
  const [member] = await take();
  await store.settle([{ kind: "dead", task: member!, reason: "fatal", error: "{}", keepMs: 1_000 }]);
  await store.cleanUp({ limit: 10 });
  assert.deepEqual(await take(), []);
  await passTime(database, 2_000);
  await store.cleanUp({ limit: 10 });
  assert.deepEqual(
    (await take()).map(({ name }) => name),
    ["callback"],
  );
});

test("unique keys of tasks that are through do not pile up", async () => {
  await using scratch = await testDatabase();
  await using database = await createDatabase({ url: scratch.url });
  await using store = postgresTaskStore({ database });
  await store.setup();
  const unique = (key: string, until: "finished" | "started" | number) => ({ key, until });
  await store.enqueue({
    tasks: [
      newTask({ unique: unique("a", "finished") }),
      newTask({ unique: unique("b", "started") }),
      newTask({ unique: unique("c", 1_000) }),
    ],
  });
  await store.enqueue({ tasks: [newTask({ unique: unique("d", "finished"), delayMs: 60_000 })] });
  const claimed = await store.fetch([{ queue: "default", limit: 5 }], { worker: "w", leaseMs: 60_000 });
  await store.settle(claimed.map((task) => ({ kind: "complete", task, keepMs: 0 })));
  await passTime(database, 2_000);
  await store.cleanUp({ limit: 10 });
  assert.deepEqual(
    (await database.many(sql<{ key: string }>`select key from millrace.task_keys order by key`)).map(({ key }) => key),
    ["d"],
  );
});
