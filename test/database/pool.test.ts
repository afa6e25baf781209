// The pool against a real PostgreSQL: what it hands out, what it refuses, and what happens when backends die.

import assert from "node:assert/strict";
import { test } from "node:test";
import pg from "pg";
import { type PoolOptions, createPool, databaseErrors, poolChannel } from "millrace/database";
import { Deadline } from "millrace/concurrency";
import { testDatabase, testServer } from "../harness/postgres.ts";

/** A pool on a fresh database, and a client of its own beside it to look at and to disturb the server. */
async function poolOn(options: PoolOptions = {}) {
  const database = await testDatabase();
  const pool = createPool({ connectionString: database.url, application_name: "pool under test" }, options);
  const observer = new pg.Client(database.url);
  await observer.connect();
  const backends = async () =>
    (
      await observer.query<{ pid: number; state: string; query: string }>(
        "select pid, state, query from pg_stat_activity where application_name = 'pool under test' and datname = current_database()",
      )
    ).rows;
  return {
    pool,
    observer,
    backends,
    killAll: async () => {
      await observer.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pool under test' and datname = current_database()",
      );
    },
    async [Symbol.asyncDispose]() {
      await pool.end();
      await observer.end();
      await database[Symbol.asyncDispose]();
    },
  };
}

/** Asks until `condition` holds; fails after five seconds. */
async function eventually(condition: () => Promise<boolean>, what: string): Promise<void> {
  const giveUpAtMs = performance.now() + 5_000;
  while (!(await condition())) {
    assert.ok(performance.now() < giveUpAtMs, `not within 5 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test("answers in pg's shape: promise, callback, config object, values, array rows", async () => {
  await using at = await poolOn();
  const byText = await at.pool.query("select $1::int as n, 'a' as t", [4]);
  assert.deepEqual(byText.rows, [{ n: 4, t: "a" }]);
  assert.equal(byText.rowCount, 1);
  assert.equal(byText.command, "SELECT");
  assert.deepEqual(
    byText.fields.map((field) => field.name),
    ["n", "t"],
  );
  const byConfig = await at.pool.query({ text: "select $1::int as n", values: [5], rowMode: "array" } as pg.QueryArrayConfig);
  assert.deepEqual(byConfig.rows, [[5]]);
  const byCallback = await new Promise((resolve, reject) =>
    at.pool.query("select 6 as n", (error, result) => (error ? reject(error) : resolve(result?.rows))),
  );
  assert.deepEqual(byCallback, [{ n: 6 }]);
  const client = await at.pool.connect();
  assert.deepEqual((await client.query("select 7 as n")).rows, [{ n: 7 }]);
  client.release();
});

test("a text without values may be several statements, as in pg", async () => {
  await using at = await poolOn();
  for (let run = 0; run < 3; run++) await at.pool.query("create temp table if not exists several (n int); drop table several");
});

test("keeps `size` connections, opens `overflow` more under pressure and closes those on release", async () => {
  await using at = await poolOn({ min: 0, size: 2, overflow: 2, pipelined: 0 });
  const clients = await Promise.all([at.pool.connect(), at.pool.connect(), at.pool.connect(), at.pool.connect()]);
  assert.equal(at.pool.totalCount, 4);
  for (const client of clients) client.release();
  assert.equal(at.pool.totalCount, 2);
  assert.equal(at.pool.idleCount, 2);
  await eventually(async () => (await at.backends()).length === 2, "two backends left");
});

test("a full pool refuses in bounded time with a typed error, and serves who waited in time", async () => {
  await using at = await poolOn({ size: 1, overflow: 0, acquireTimeout: "100ms", pipelined: 0 });
  const client = await at.pool.connect();
  const startedMs = performance.now();
  await assert.rejects(at.pool.query("select 1"), (error: Error) => databaseErrors.is(error, "MILLRACE_DATABASE_POOL_EXHAUSTED"));
  const waitedMs = performance.now() - startedMs;
  assert.ok(waitedMs >= 95 && waitedMs < 2_000, `refused after ${waitedMs} ms`);
  const served = at.pool.query("select 2 as n");
  assert.equal(at.pool.waitingCount, 1);
  client.release();
  assert.deepEqual((await served).rows, [{ n: 2 }]);
});

test("when too many wait the next is refused at once", async () => {
  await using at = await poolOn({ size: 1, overflow: 0, acquireTimeout: "10s", maxWaiting: 2, pipelined: 0 });
  const client = await at.pool.connect();
  const waiting = [at.pool.query("select 1"), at.pool.query("select 1")];
  await assert.rejects(at.pool.query("select 1"), { code: "MILLRACE_DATABASE_POOL_EXHAUSTED" });
  client.release();
  await Promise.all(waiting);
});

test("first come, first served", async () => {
  await using at = await poolOn({ size: 1, overflow: 0, pipelined: 0 });
  const client = await at.pool.connect();
  const order: number[] = [];
  const all = [0, 1, 2, 3, 4].map((n) => at.pool.query("select 1").then(() => order.push(n)));
  client.release();
  await Promise.all(all);
  assert.deepEqual(order, [0, 1, 2, 3, 4]);
});

test("killing every idle backend costs no failed request, not even a write", async () => {
  await using at = await poolOn({ size: 5, pingAfter: "10m" });
  await at.pool.query("create table notes (n int)");
  for (let round = 0; round < 10; round++) {
    await Promise.all(Array.from({ length: 8 }, () => at.pool.query("select pg_sleep(0.005)")));
    await at.killAll();
    const results = await Promise.all(
      Array.from({ length: 12 }, (_, i) =>
        i % 2 ? at.pool.query("insert into notes values ($1)", [round * 100 + i]) : at.pool.query("select $1::int as n", [i]),
      ),
    );
    assert.equal(results.length, 12);
  }
  const { rows } = await at.pool.query("select count(*)::int as n, count(distinct n)::int as d from notes");
  assert.deepEqual(rows, [{ n: 60, d: 60 }], "every write once, none twice");
});

test("killing backends under load fails no read, on pipelined connections neither", async () => {
  await using at = await poolOn({ size: 4 });
  await at.pool.query("create table items (id int primary key, name text)");
  await at.pool.query("insert into items select i, 'item ' || i from generate_series(1, 1000) i");
  await at.pool.warmUp();
  let stop = false;
  let answered = 0;
  const workers = Array.from({ length: 16 }, async (_, worker) => {
    for (let i = worker; !stop; i++) {
      const id = (i % 1000) + 1;
      const { rows } = await at.pool.query<{ id: number; name: string }>("select id, name from items where id = $1", [id]);
      assert.deepEqual(rows, [{ id, name: `item ${id}` }]);
      answered++;
    }
  });
  for (let kill = 0; kill < 20; kill++) {
    await at.killAll();
    const before = answered;
    await eventually(async () => answered > before + 50, "requests go on after the kill");
  }
  stop = true;
  await Promise.all(workers);
});

test("a connection that was idle is pinged before it is handed out, and replaced when it does not answer", async () => {
  await using at = await poolOn({ size: 1, overflow: 0, pingAfter: "0s", pipelined: 0 });
  await at.pool.query("select 1");
  const failed = poolChannel.next((message) => message.event === "ping-failed" || message.event === "closed");
  await at.killAll();
  assert.deepEqual((await at.pool.query("select 1 as n")).rows, [{ n: 1 }]);
  await failed;
});

test("connections are recycled when they are old", async () => {
  await using at = await poolOn({ size: 1, overflow: 0, recycleAfter: "50ms", pipelined: 0 });
  const pid = async () => (await at.pool.query<{ pid: number }>("select pg_backend_pid() as pid")).rows[0]!.pid;
  const first = await pid();
  await poolChannel.next((message) => message.event === "recycled");
  assert.notEqual(await pid(), first);
});

test("idle connections beyond `min` are closed", async () => {
  await using at = await poolOn({ min: 1, size: 4, idleTimeout: "50ms", pipelined: 0 });
  await Promise.all(Array.from({ length: 4 }, () => at.pool.query("select pg_sleep(0.01)")));
  await eventually(async () => at.pool.totalCount === 1 && (await at.backends()).length === 1, "one connection left");
});

test("`connect` is the place for session settings, on shared connections too", async () => {
  await using at = await poolOn({ size: 2 });
  at.pool.on("connect", (client) => void client.query("set datestyle = 'German'"));
  await at.pool.warmUp();
  const dates = await Promise.all(
    Array.from({ length: 40 }, () => at.pool.query("select date '2026-11-21'::text as d where $1 = 1", [1])),
  );
  assert.deepEqual(new Set(dates.map(({ rows }) => rows[0]!["d"])), new Set(["21.11.2026"]));
});

test("a client given back inside a transaction is closed, not handed to the next", async () => {
  await using at = await poolOn({ size: 1, overflow: 0, pipelined: 0 });
  const client = await at.pool.connect();
  await client.query("begin");
  await client.query("create table half_done (n int)");
  client.release();
  assert.deepEqual((await at.pool.query("select to_regclass('half_done') as t")).rows, [{ t: null }]);
});

test("a deadline ends the wait, cancels the statement on the server, and the connection is used again", async () => {
  await using at = await poolOn({ size: 1, overflow: 0, pipelined: 0 });
  const pid = (await at.pool.query<{ pid: number }>("select pg_backend_pid() as pid")).rows[0]!.pid;
  using deadline = new Deadline({ timeoutMs: 50 });
  const startedMs = performance.now();
  await assert.rejects(at.pool.run("select pg_sleep(60)", [], { deadline }), { code: "MILLRACE_DEADLINE_EXCEEDED" });
  assert.ok(performance.now() - startedMs < 2_000);
  await eventually(
    async () => !(await at.backends()).some((backend) => backend.state === "active"),
    "the statement is gone from the server",
  );
  assert.deepEqual((await at.pool.query("select pg_backend_pid() as pid")).rows, [{ pid }]);
});

test("a cancel never hits the statement that runs next on the connection", async () => {
  await using at = await poolOn({ size: 1, overflow: 0, pipelined: 0 });
  for (let i = 0; i < 60; i++) {
    using deadline = new Deadline();
    const slow = at.pool.run("select pg_sleep($1::float8 / 1000)", [i % 7], { deadline }).catch(() => undefined);
    await new Promise((resolve) => setImmediate(resolve));
    deadline.abort(new Error("enough"));
    const { rows } = await at.pool.query("select 1 as n from pg_sleep(0.003)");
    assert.deepEqual(rows, [{ n: 1 }]);
    await slow;
  }
});

test("a column that changes its type does not fail prepared statements", async () => {
  await using at = await poolOn();
  await at.pool.query("create table shapes (id int primary key, side int)");
  await at.pool.query("insert into shapes values (1, 2)");
  await at.pool.warmUp();
  const read = () => Promise.all(Array.from({ length: 8 }, () => at.pool.query("select * from shapes where id = $1", [1])));
  await read();
  await read();
  await at.observer.query("alter table shapes alter side type text, add colour text default 'red'");
  for (const { rows } of await read()) assert.deepEqual(rows, [{ id: 1, side: "2", colour: "red" }]);
});

test("one-off texts are not prepared, and no connection holds more statements than allowed", async () => {
  await using at = await poolOn({ size: 1, overflow: 0, maxPreparedStatements: 3, pipelined: 0 });
  for (let i = 0; i < 20; i++) await at.pool.query(`select ${i} as once, $1::int as n`, [i]);
  for (let i = 0; i < 10; i++) for (let use = 0; use < 3; use++) await at.pool.query(`select ${i} as often, $1::int as n`, [i]);
  const { rows } = await at.pool.query<{ n: number }>("select count(*)::int as n from pg_prepared_statements");
  assert.equal(rows[0]!.n, 3);
});

test("a server that is stopped gives a typed error at once, and the pool recovers by itself when it is back", async () => {
  await using server = await testServer();
  const pool = createPool({ connectionString: server.url }, { connectTimeout: "2s" });
  try {
    await pool.query("select 1");
    await server.stop();
    for (let i = 0; i < 5; i++) {
      const startedMs = performance.now();
      await assert.rejects(pool.query("select $1::int", [i]), (error: Error) =>
        databaseErrors.is(error, "MILLRACE_DATABASE_UNAVAILABLE"),
      );
      assert.ok(performance.now() - startedMs < 2_500);
    }
    await server.start();
    assert.deepEqual((await pool.query("select 3 as n")).rows, [{ n: 3 }]);
    await Promise.all(Array.from({ length: 30 }, (_, i) => pool.query("select $1::int as n", [i])));
  } finally {
    await pool.end();
  }
});

test("end() waits for what is in use, then refuses", async () => {
  await using at = await poolOn();
  const running = at.pool.query("select 1 as n from pg_sleep(0.05)");
  const ended = at.pool.end();
  await assert.rejects(at.pool.query("select 1"), { code: "MILLRACE_DATABASE_UNAVAILABLE" });
  assert.deepEqual((await running).rows, [{ n: 1 }]);
  await ended;
  await eventually(async () => (await at.backends()).length === 0, "no backend left");
});
