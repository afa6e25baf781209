// Whoever observes a pool hears of every statement, whoever runs it and however, before its caller hears of the end.

import assert from "node:assert/strict";
import { AsyncLocalStorage } from "node:async_hooks";
import { test } from "node:test";
import { drizzle } from "drizzle-orm/node-postgres";
import { sql as drizzleSql } from "drizzle-orm";
import { Kysely, PostgresDialect } from "kysely";
import Cursor from "pg-cursor";
import { createDatabase, sql, unobserved } from "millrace/database";
import { testDatabase } from "../harness/postgres.ts";

interface Heard {
  readonly text: string;
  readonly values: readonly unknown[];
  readonly who: string | undefined;
  readonly shared: boolean;
  /** undefined until the end. */
  idleAtEnd?: boolean | undefined;
  rows?: number | undefined;
  failed?: boolean;
}

async function observed() {
  const scratch = await testDatabase();
  const db = await createDatabase({ url: scratch.url, pool: { pipelined: 1 } });
  await db.query(sql`create table t (id int primary key, name text)`);
  await db.query(sql`insert into t select n, 'n' || n from generate_series(1, 3) n`);
  const heard: Heard[] = [];
  const who = new AsyncLocalStorage<string>();
  const subscription = db.pool.observe({
    onStatement({ text, values = [], session }) {
      const one: Heard = { text, values, who: who.getStore(), shared: session === undefined };
      heard.push(one);
      return ({ error, rows }) => Object.assign(one, { idleAtEnd: session?.idle, rows: rows?.length, failed: error !== undefined });
    },
  });
  return {
    db,
    heard,
    who,
    subscription,
    async [Symbol.asyncDispose]() {
      await db.close();
      await scratch[Symbol.asyncDispose]();
    },
  };
}

test("a single statement, pipelined or not, in the context of whoever runs it", async () => {
  await using at = await observed();
  const { db, heard, who } = at;
  await who.run("reader", () => db.many(sql`select * from t where id > ${1}`));
  await who.run("reader", () => db.many(sql`select * from t where id > ${1}`, { pipeline: false }));
  await who.run("writer", () => db.query(sql`update t set name = 'x' where id = ${2}`));
  const seen = heard.map(({ text, values, who, rows, failed }) => ({ text, values, who, rows, failed }));
  const read = { text: "select * from t where id > $1", values: [1], who: "reader", rows: 2, failed: false };
  assert.deepEqual(seen, [
    read,
    read,
    { text: "update t set name = 'x' where id = $1", values: [2], who: "writer", rows: 0, failed: false },
  ]);
  assert.deepEqual(
    heard.slice(1).map(({ shared, idleAtEnd }) => ({ shared, idleAtEnd })),
    [
      { shared: false, idleAtEnd: true },
      { shared: false, idleAtEnd: true },
    ],
  );
});

test("a transaction: its session is busy until the commit has been acknowledged", async () => {
  await using at = await observed();
  const { db, heard } = at;
  await db.transaction(async (tx) => {
    await tx.query(sql`insert into t values (10, 'ten')`);
    await tx.transaction((nested) => nested.many(sql`select * from t`));
    assert.ok(heard.every(({ idleAtEnd }) => idleAtEnd === false));
  });
  assert.equal(heard.at(-1)!.text, "commit");
  assert.equal(heard.at(-1)!.idleAtEnd, true);
  assert.deepEqual(
    heard.map(({ text }) => text.replace(/ isolation.*/, "")),
    [
      "begin",
      "insert into t values (10, 'ten')",
      "savepoint millrace_1",
      "select * from t",
      "release savepoint millrace_1",
      "commit",
    ],
  );
});

test("Kysely, Drizzle, raw clients, callbacks, cursors, streams and exports", async () => {
  await using at = await observed();
  const { db, heard } = at;
  const texts = () => heard.splice(0).map(({ text, rows }) => [text.trim(), rows]);
  const kysely = new Kysely<{ t: { id: number; name: string } }>({ dialect: new PostgresDialect({ pool: db.pool }) });
  await kysely.selectFrom("t").selectAll().where("id", "=", 1).execute();
  assert.deepEqual(texts(), [['select * from "t" where "id" = $1', 1]]);
  await drizzle(db.pool).execute(drizzleSql`select id from t where id < ${3}`);
  assert.deepEqual(texts(), [["select id from t where id < $1", 2]]);

  const client = await db.pool.connect();
  await client.query("select 1; select 2");
  await new Promise((resolve) => client.query("select 3", resolve));
  const cursor = client.query(new Cursor("select id from t order by id", []));
  assert.equal((await cursor.read(10)).length, 3);
  await cursor.close();
  client.release();
  assert.deepEqual(texts(), [
    ["select 1; select 2", undefined],
    ["select 3", 1],
    ["select id from t order by id", undefined],
  ]);
  for await (const row of db.stream(sql<{ id: number }>`select id from t`)) assert.ok(row.id);
  assert.deepEqual(texts(), [["select id from t", undefined]]);
  await db
    .export(sql`select id from t`, { format: "ndjson" })
    .resume()
    .toArray();
  assert.ok(texts().some(([text]) => text === "select id from t"));
});

test("not what the kit asks for itself, such as facts about the columns of a page", async () => {
  await using at = await observed();
  const { db, heard } = at;
  await unobserved(() => db.query(sql`select 1`, { pipeline: false }));
  await unobserved(() => db.query(sql`select 2`));
  await db.page({ limit: 2, orderBy: ["id"] }, sql`select id from t`);
  assert.equal(heard.length, 1);
  assert.match(heard[0]!.text, /^with q as not materialized \(select id from t/);
});

test("failures, also of a connection that is gone, and nothing after the subscription's end", async () => {
  await using at = await observed();
  const { db, heard } = at;
  await assert.rejects(db.query(sql`insert into t values (1, 'again')`), { code: "23505" });
  assert.deepEqual(
    heard.splice(0).map(({ failed }) => failed),
    [true],
  );
  const client = await db.pool.connect();
  await client.query("begin");
  await assert.rejects(client.query("select pg_terminate_backend(pg_backend_pid())"));
  client.release(true);
  assert.deepEqual(
    heard.splice(0).map(({ failed, idleAtEnd }) => [failed, idleAtEnd]),
    [
      [false, false],
      [true, true],
    ],
  );
  at.subscription[Symbol.dispose]();
  await db.many(sql`select 1`);
  assert.deepEqual(heard, []);
});
