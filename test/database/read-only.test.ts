// What readsOnly() believes of functions, held against a real server's catalogue.

import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import pg from "pg";
import { readOnlyFunctionsQuery, readsOnly } from "../../src/database/pool/read-only.ts";
import { type TestDatabase, testDatabase } from "../harness/postgres.ts";

suite("the functions that change nothing", () => {
  let database: TestDatabase;
  let client: pg.Client;
  let functions: ReadonlySet<string>;

  before(async () => {
    database = await testDatabase();
    client = new pg.Client({ connectionString: database.url });
    await client.connect();
    await client.query(`
      create schema other;
      create function touch(a int, b int) returns int volatile language sql as 'select pg_backend_pid()';
      create function other.upper(a int) returns int volatile language sql as 'select pg_backend_pid()';
      create function steady(a int) returns int stable language sql as 'select 1';
      create aggregate touch_all(int) (sfunc = touch, stype = int);
      create aggregate steady_all(int) (sfunc = int4larger, stype = int);
      create table visits (at timestamptz);
      create function visit() returns int volatile language sql as 'insert into visits values (now()) returning 1';
      create view visiting as select visit() as visited`);
    const { rows } = await client.query<[string]>({ text: readOnlyFunctionsQuery, rowMode: "array" });
    functions = new Set(rows.map(([name]) => name));
  });

  after(async () => {
    await client.end();
    await database[Symbol.asyncDispose]();
  });

  test("include no name that the server declares volatile for any arguments", async () => {
    const { rows } = await client.query<{ proname: string }>("select distinct proname from pg_proc where provolatile = 'v'");
    assert.ok(rows.length > 100, "the catalogue was read");
    assert.deepEqual(
      rows.map(({ proname }) => proname).filter((name) => functions.has(name)),
      [],
    );
  });

  test("leave out a name that only one schema makes volatile", () => {
    assert.equal(functions.has("upper"), false);
    assert.equal(functions.has("lower"), true);
    assert.equal(functions.has("steady"), true);
  });

  test("leave out an aggregate that is made of a volatile function, although PostgreSQL calls every aggregate immutable", async () => {
    const { rows } = await client.query("select provolatile from pg_proc where proname = 'touch_all'");
    assert.deepEqual(rows, [{ provolatile: "i" }]);
    assert.equal(functions.has("touch_all"), false);
    assert.equal(functions.has("steady_all"), true);
  });

  test("leave out every function that acts on sessions, files, locks and settings", () => {
    const acting =
      "nextval setval set_config pg_notify pg_sleep pg_advisory_lock pg_try_advisory_lock pg_advisory_xact_lock pg_advisory_unlock_all " +
      "pg_terminate_backend pg_cancel_backend pg_reload_conf pg_read_file pg_logical_emit_message pg_create_logical_replication_slot " +
      "pg_export_snapshot lo_import lo_unlink query_to_xml ts_stat ts_rewrite setseed pg_stat_reset";
    assert.deepEqual(
      acting.split(" ").filter((name) => functions.has(name)),
      [],
    );
  });

  test("let common reads be pipelined", () => {
    const statements = [
      "select count(*), sum(a), avg(a), min(a), max(a) from t",
      "select coalesce(lower(name), left(name, 1), concat(name, 'x')), length(trim(name)), replace(name, 'a', 'b') from t",
      "select now(), current_timestamp, to_char(at, 'YYYY'), date_trunc('day', at), extract(epoch from at), age(at) from t",
      "select json_agg(t), jsonb_agg(t), json_build_object('a', 1), jsonb_build_object('a', 1), row_to_json(t), to_jsonb(t) from t",
      "select array_agg(a order by b desc), string_agg(a, ','), unnest($1::int[]), array_length(b, 1), generate_series(1, 5) from t",
      "select row_number() over (partition by a order by b), lag(a) over (order by b), first_value(a) over w from t window w as (order by a)",
      "select round(a, 2), abs(a), floor(a), greatest(a, b), nullif(a, b), percentile_cont(0.5) within group (order by a) from t",
      "select id from t where tags @> $1 and similarity_is_not_called is null and starts_with(name, $2) and name like concat($2, '%')",
      "select id from t where document @@ to_tsquery('simple', $1) order by ts_rank(document, to_tsquery('simple', $1)) desc limit 20",
      "select jsonb_path_query(a, '$.b'), jsonb_array_elements(a), a -> 'b' ->> 'c' from t, lateral jsonb_each_text(a) e",
      "select md5(a), encode(sha256(b), 'hex'), pg_typeof(a), current_setting('a', true), has_table_privilege('t', 'select') from t",
    ];
    for (const text of statements) assert.equal(readsOnly(text, functions), true, text);
  });

  test("and where a view hides one that writes, the server itself refuses it on a read-only session", async () => {
    assert.equal(readsOnly("select * from visiting", functions), true, "the text does not show it");
    await client.query("set default_transaction_read_only = on");
    try {
      await assert.rejects(client.query("select * from visiting"), { code: "25006" });
    } finally {
      await client.query("reset default_transaction_read_only");
    }
    assert.deepEqual((await client.query("select * from visits")).rows, []);
  });

  test("are not enough for a call that is easy to overlook, and that the server does make", async () => {
    // PostgreSQL accepts each of these and calls a volatile function.
    const texts = [
      "select 1 as \"it's\", clock_timestamp(), 'x'",
      "select E'\\'', clock_timestamp(), 'x'",
      "select $é$'$é$, clock_timestamp(), '...'",
      "select u&\"clock!005ftimestamp\" uescape '!' ()",
      'select "clock_timestamp" ()',
      "select clock_timestamp/* */()",
      "select pg_catalog . CLOCK_TIMESTAMP\n()",
      "select -extract(day from clock_timestamp())",
      "select b'10', clock_timestamp(), ''",
    ];
    for (const text of texts) {
      const { rows } = await client.query({ text, values: [], rowMode: "array" });
      assert.equal(rows.length, 1, text);
      assert.equal(readsOnly(text, functions), false, text);
    }
  });
});
