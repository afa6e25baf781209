// Pipelined connections: that they are used, and that no statement on them can hurt another.

import assert from "node:assert/strict";
import { test } from "node:test";
import pg from "pg";
import { type PoolOptions, createPool, pipelineMovedChannel, queryChannel } from "millrace/database";
import { Deadline } from "millrace/concurrency";
import { testDatabase } from "../harness/postgres.ts";

async function poolOn(options: PoolOptions = {}) {
  const database = await testDatabase();
  const setup = new pg.Client(database.url);
  await setup.connect();
  await setup.query(`
    create table items (id int primary key, name text);
    insert into items select i, 'item ' || i from generate_series(1, 100) i;
    -- Declared stable although it sleeps: a slow read that the pool takes for a short one.
    create function slow(seconds float8) returns int language plpgsql stable as 'begin perform pg_sleep(seconds); return 1; end';
    create sequence counter;
    create view next_number as select nextval('counter')::int as n;`);
  await setup.end();
  const pool = createPool({ connectionString: database.url }, options);
  await pool.warmUp();
  const paths: string[] = [];
  const moved: string[] = [];
  const subscriptions = [
    queryChannel.subscribe((message) => paths.push(message.path)),
    pipelineMovedChannel.subscribe((message) => moved.push(message.reason)),
  ];
  const item = (id: number) => pool.query<{ id: number; name: string }>("select id, name from items where id = $1", [id]);
  for (let i = 0; i < 1_000 && !paths.includes("pipelined"); i++) await item(1);
  assert.ok(paths.includes("pipelined"), "short reads are pipelined");
  return {
    pool,
    url: database.url,
    item,
    paths,
    moved,
    async [Symbol.asyncDispose]() {
      for (const subscription of subscriptions) subscription[Symbol.dispose]();
      await pool.end();
      await database[Symbol.asyncDispose]();
    },
  };
}

test("many reads at once share two connections and each gets its own answer", async () => {
  await using at = await poolOn({ size: 1, overflow: 0, stallAfter: "10s" });
  const answers = await Promise.all(Array.from({ length: 300 }, (_, i) => at.item((i % 100) + 1)));
  for (const [i, { rows }] of answers.entries()) assert.deepEqual(rows, [{ id: (i % 100) + 1, name: `item ${(i % 100) + 1}` }]);
  assert.ok(at.pool.totalCount <= 3);
});

test("writes, locking reads and volatile functions never share a connection", async () => {
  await using at = await poolOn();
  at.paths.length = 0;
  await at.pool.query("update items set name = 'x' where id = $1", [1]);
  await at.pool.query("select id from items where id = $1 for update", [1]);
  await at.pool.query("with changed as (update items set name = 'y' returning id) select count(*) from changed");
  await at.pool.query("select pg_advisory_lock(1), pg_advisory_unlock(1)");
  await at.pool.query("select set_config('millrace.x', $1, false)", ["1"]);
  assert.deepEqual(new Set(at.paths), new Set(["pooled"]));
});

test("a failing statement fails alone", async () => {
  await using at = await poolOn({ pipelined: 1 });
  const all = await Promise.allSettled(
    Array.from({ length: 60 }, (_, i) =>
      i % 3 === 1 ? at.pool.query("select 1 / (id - id) as boom from items where id = $1", [1]) : at.item(i + 1),
    ),
  );
  for (const [i, outcome] of all.entries()) {
    if (i % 3 === 1) assert.equal(outcome.status === "rejected" && (outcome.reason as { code: string }).code, "22012");
    else assert.deepEqual(outcome.status === "fulfilled" && outcome.value.rows[0], { id: i + 1, name: `item ${i + 1}` });
  }
});

test("a statement whose text cannot be prepared says so to each caller, and later statements work", async () => {
  await using at = await poolOn({ pipelined: 1 });
  const all = await Promise.allSettled(
    Array.from({ length: 10 }, () => at.pool.query("select nothing from items where id = $1", [1])),
  );
  for (const outcome of all) assert.equal(outcome.status === "rejected" && (outcome.reason as { code: string }).code, "42703");
  assert.equal((await at.item(3)).rows[0]!.name, "item 3");
});

test("a slow statement holds up the ones behind it for no longer than a stall", async () => {
  await using at = await poolOn({ pipelined: 1, stallAfter: "20ms" });
  const slow = at.pool.query("select slow($1)", [1.5]);
  const startedMs = performance.now();
  const behind = await Promise.all(Array.from({ length: 20 }, (_, i) => at.item(i + 1)));
  const waitedMs = performance.now() - startedMs;
  assert.ok(waitedMs < 1_000, `the reads behind took ${waitedMs} ms`);
  for (const [i, { rows }] of behind.entries()) assert.equal(rows[0]!.id, i + 1);
  assert.ok(at.moved.includes("behind a slow statement"));
  await slow;
});

test("a statement that stalls again and again gets a connection of its own", async () => {
  await using at = await poolOn({ pipelined: 1, stallAfter: "10ms" });
  const pathOf = async () => {
    at.paths.length = 0;
    await at.pool.query("select slow($1)", [0.06]);
    return at.paths.at(-1);
  };
  assert.equal(await pathOf(), "pipelined");
  await pathOf();
  await pathOf();
  assert.equal(await pathOf(), "pooled");
});

test("a write hidden in a view is refused by the read-only session and runs on another connection", async () => {
  await using at = await poolOn();
  at.moved.length = 0;
  const first = await at.pool.query<{ n: number }>("select n from next_number");
  const second = await at.pool.query<{ n: number }>("select n from next_number");
  assert.deepEqual([first.rows[0]!.n, second.rows[0]!.n], [1, 2], "each call counted once");
  assert.deepEqual(at.moved, ["writes"], "moved once, remembered from then on");
});

test("an abandoned statement is cancelled on the server and its neighbours still answer", async () => {
  await using at = await poolOn({ pipelined: 1, stallAfter: "5s" });
  using deadline = new Deadline();
  const slow = at.pool.run("select slow($1)", [30], { deadline });
  const behind = Promise.all(Array.from({ length: 10 }, (_, i) => at.item(i + 1)));
  deadline.abort(new Error("client left"));
  await assert.rejects(slow, /client left/);
  assert.equal((await behind).length, 10);
});

test("cancelling in a tight loop hits nobody else", async () => {
  await using at = await poolOn({ pipelined: 1 });
  for (let i = 0; i < 50; i++) {
    using deadline = new Deadline();
    const victim = at.pool.run("select slow($1)", [0.004], { deadline }).catch(() => undefined);
    const neighbours = Array.from({ length: 4 }, (_, n) => at.item(n + 1));
    await new Promise((resolve) => setImmediate(resolve));
    deadline.abort(new Error("enough"));
    for (const [n, { rows }] of (await Promise.all(neighbours)).entries()) assert.equal(rows[0]!.id, n + 1);
    await victim;
  }
});

test("a killed shared connection fails no statement in flight", async () => {
  await using at = await poolOn({ pipelined: 1 });
  const observer = new pg.Client(at.url);
  await observer.connect();
  try {
    const inFlight = Promise.all([
      at.pool.query("select slow($1)", [0.05]),
      ...Array.from({ length: 30 }, (_, i) => at.item(i + 1)),
    ]);
    await observer.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = current_database()",
    );
    assert.equal((await inFlight).length, 31);
  } finally {
    await observer.end();
  }
});

test("pipelining can be turned off", async () => {
  const database = await testDatabase();
  const pool = createPool({ connectionString: database.url }, { pipelined: 0 });
  const paths: string[] = [];
  using _subscription = queryChannel.subscribe((message) => paths.push(message.path));
  await pool.warmUp();
  await Promise.all(Array.from({ length: 20 }, (_, i) => pool.query("select $1::int", [i])));
  assert.deepEqual(new Set(paths), new Set(["pooled"]));
  await pool.end();
  await database[Symbol.asyncDispose]();
});
