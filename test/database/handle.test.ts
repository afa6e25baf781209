// The database handle as a user meets it: the ways to ask for rows, what they refuse, and the types that come back.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { createDatabase, createPool, sql } from "millrace/database";
import { testDatabase } from "../harness/postgres.ts";

async function handle() {
  const scratch = await testDatabase();
  const db = await createDatabase({ url: scratch.url });
  await db.query(sql`create table cities (id int primary key, name text not null, founded date, population bigint)`);
  await db.query(sql`insert into cities values (1, 'Seattle', '1851-11-13', 737015), (2, 'Lima', '1535-01-18', 10092000)`);
  return {
    db,
    url: scratch.url,
    async [Symbol.asyncDispose]() {
      await db.close();
      await scratch[Symbol.asyncDispose]();
    },
  };
}

test("rows are asked for as many, one, or maybe one", async () => {
  await using at = await handle();
  const { db } = at;
  const id = 1;
  // #region rows
  interface City {
    id: number;
    name: string;
  }
  const all = await db.many(sql<City>`select id, name from cities order by id`);
  const city = await db.one(sql<City>`select id, name from cities where id = ${id}`);
  const missing = await db.maybeOne(sql<City>`select id, name from cities where id = ${99}`);
  const { rowCount } = await db.query(sql`update cities set name = ${"Lima"} where id = ${2}`);
  // #endregion
  assert.deepEqual(all, [
    { id: 1, name: "Seattle" },
    { id: 2, name: "Lima" },
  ]);
  assert.deepEqual(city, { id: 1, name: "Seattle" });
  assert.equal(missing, undefined);
  assert.equal(rowCount, 1);
});

test("one() refuses no row and several, maybeOne() several, each with its own code", async () => {
  await using at = await handle();
  await assert.rejects(at.db.one(sql`select 1 where false`), { code: "MILLRACE_DATABASE_ROW_MISSING" });
  await assert.rejects(at.db.one(sql`select * from cities`), { code: "MILLRACE_DATABASE_ROWS_UNEXPECTED" });
  await assert.rejects(at.db.maybeOne(sql`select * from cities`), { code: "MILLRACE_DATABASE_ROWS_UNEXPECTED" });
});

test("dates come as text, not as Dates that move by a day; bigint as text, as in pg", async () => {
  await using at = await handle();
  assert.deepEqual(await at.db.one(sql`select founded, population from cities where id = 1`), {
    founded: "1851-11-13",
    population: "737015",
  });
});

test("what the server says of a statement stays pg's error, with its SQLSTATE", async () => {
  await using at = await handle();
  await assert.rejects(at.db.query(sql`insert into cities values (1, 'Twice')`), { code: "23505", constraint: "cities_pkey" });
});

test("a signal ends a statement, in the database too", async () => {
  await using at = await handle();
  await assert.rejects(at.db.query(sql`select pg_sleep(60)`, { signal: AbortSignal.timeout(50) }), { name: "TimeoutError" });
  await assert.rejects(at.db.query(sql`select 1`, { signal: AbortSignal.abort(new Error("gone before")) }), /gone before/);
});

test("the URL that is shown has no user and no password", async () => {
  const db = await createDatabase({ url: "postgresql://annabel:secret@127.0.0.1:1/weather" });
  assert.equal(db.url, "postgresql://127.0.0.1:1/weather");
  await db.close();
});

test("a program starts without its database and hears why a statement fails", async () => {
  const db = await createDatabase({ url: "postgresql://annabel:secret@127.0.0.1:1/weather" });
  await assert.rejects(db.query(sql`select 1`), (error: Error & { code: string }) => {
    assert.equal(error.code, "MILLRACE_DATABASE_UNAVAILABLE");
    assert.match(error.message, /127\.0\.0\.1:1/);
    assert.doesNotMatch(error.message, /secret|annabel/);
    return true;
  });
  await db.close();
});

test("COPY FROM STDIN is refused and costs nobody the connection, on the handle and in a transaction", async () => {
  await using at = await handle();
  for (let run = 0; run < 5; run++) {
    await assert.rejects(at.db.query(sql`copy cities from stdin`), { code: "57014" });
    await assert.rejects(
      at.db.transaction((tx) => tx.query(sql`copy cities from stdin`)),
      { code: "57014" },
    );
    assert.deepEqual(await at.db.transaction((tx) => tx.many(sql`select ${run}::int as run`)), [{ run }]);
  }
});

test("a URL that is none is refused, and so is a short secret, without being shown", async () => {
  for (const options of [{ url: "hello annabel" }, { url: "mysql://annabel@localhost/x" }, { cursorSecret: "annabel" }]) {
    await assert.rejects(createDatabase(options), (error: Error & { code: string }) => {
      assert.equal(error.code, "MILLRACE_OPTION_INVALID");
      assert.doesNotMatch(error.message, /annabel/);
      return true;
    });
  }
});

test("unknown and wrong options are refused with the nearest name", async () => {
  const dataDir = join(tmpdir(), `millrace-never-made-${process.pid}`);
  await assert.rejects(
    createDatabase({ embedded: { dataDir }, pool: { sise: 3 } } as object),
    /has no option "sise".*Did you mean "size"/s,
  );
  assert.equal(existsSync(dataDir), false, "no server is started for options that are refused");
  await assert.rejects(createDatabase({ cursorSecret: "short" }), { code: "MILLRACE_OPTION_INVALID" });
});

test("the pool works alone, in a program that uses nothing else", async () => {
  await using at = await handle();
  const url = at.url;
  // #region pool-alone
  const pool = createPool({ connectionString: url }, { size: 20, acquireTimeout: "500ms" });
  const { rows } = await pool.query("select name from cities where id = $1", [2]);
  await pool.end();
  // #endregion
  assert.deepEqual(rows, [{ name: "Lima" }]);
});
