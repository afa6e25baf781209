import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { testDatabase } from "../harness/postgres.ts";
import { type RunningFeed, run, startFeed, tableNamed, until } from "./feed-recorder.ts";

interface Bench extends AsyncDisposable {
  readonly url: string;
  readonly one: RunningFeed;
  /** Runs statements and returns which of `names` the commits since touched, when everything has been told. */
  touchedBy(statements: string | readonly string[], names: readonly string[]): Promise<string[]>;
}

async function bench(...tables: string[]): Promise<Bench> {
  const database = await testDatabase();
  await run(database.url, ...tables);
  const one = await startFeed({ url: database.url, source: "logical" });
  return {
    url: database.url,
    one,
    async touchedBy(statements, names) {
      await one.caughtUp();
      const from = one.heard.commits.length;
      await run(database.url, ...[statements].flat());
      await one.caughtUp();
      return names.filter((name) => one.heard.touched(name, from));
    },
    async [Symbol.asyncDispose]() {
      await one.feed.close();
      assert.deepEqual(one.heard.violations, []);
      // The server's side of a connection that was closed ends a moment later.
      const left = "select from pg_stat_activity where application_name like 'millrace %' and datname = current_database()";
      await until("a closed feed leaves no connection", async () => (await run(database.url, left)).length === 0);
      await database[Symbol.asyncDispose]();
    },
  };
}

const reports = "create table reports (id int primary key, city_id int, note text)";
const names = [
  "public.reports",
  "public.reports:*",
  "public.reports:city_id=42",
  "public.reports:city_id=43",
  "public.reports:id=1",
];

describe("the change feed by logical decoding", () => {
  it("names the table and the old and new values of followed columns", async () => {
    await using b = await bench(reports);
    await b.one.follow("public.reports", "city_id", "id");
    const [table, rows, city42, city43, id1] = names as [string, string, string, string, string];
    assert.deepEqual(await b.touchedBy("insert into reports values (1, 42, 'a')", names), [table, city42, id1]);
    assert.deepEqual(await b.touchedBy("update reports set city_id = 43", names), [table, city42, city43, id1]);
    assert.deepEqual(await b.touchedBy("update reports set city_id = null", names), [table, city43, id1]);
    assert.deepEqual(await b.touchedBy("delete from reports", names), [table, id1]);
    assert.deepEqual(await b.touchedBy("truncate reports", names), [table, rows]);
    assert.deepEqual(await b.touchedBy(["begin", "insert into reports values (1, 42, 'a')", "rollback"], names), []);
    const copy = "copy reports from program 'printf \"1\\t42\\tx\\n2\\t43\\ty\\n\"'";
    assert.deepEqual(await b.touchedBy(copy, names), [table, city42, city43, id1]);
  });

  it("names all rows where the log does not have old values, and refuses no UPDATE", async () => {
    await using b = await bench(
      reports.replace(" primary key", ""),
      "create table other (id int primary key, city_id int, note text)",
      "insert into other values (1, 42, '')",
    );
    await b.one.follow("public.reports", "city_id");
    assert.deepEqual(await b.touchedBy(["insert into reports values (1, 42, 'a')", "update reports set city_id = 43"], names), [
      "public.reports",
      "public.reports:city_id=42",
      "public.reports:city_id=43",
    ]);
    await b.one.follow("public.other", "city_id");
    // A person takes the old values away again.
    await run(b.url, "alter table other replica identity default");
    const other = ["public.other", "public.other:*", "public.other:city_id=42"];
    assert.deepEqual(await b.touchedBy("update other set note = 'b'", other), ["public.other", "public.other:*"]);
  });

  it("names a large value that an UPDATE left where it was", async () => {
    await using b = await bench(
      "create table pages (id int primary key, slug text, hits int)",
      "alter table pages alter slug set storage external",
    );
    await b.one.follow("public.pages", "slug");
    const slug = "x".repeat(10_000);
    const name = [`public.pages:slug=${slug}`, "public.pages:*"];
    assert.deepEqual(await b.touchedBy(`insert into pages values (1, '${slug}', 0)`, name), [name[0]]);
    assert.deepEqual(await b.touchedBy("update pages set hits = 1", name), [name[0]]);
  });

  it("names the topmost parent of a partition, also when a partition is emptied or made later", async () => {
    await using b = await bench(
      "create table parts (id int primary key, v int) partition by range (id)",
      "create table parts_1 partition of parts for values from (0) to (10) partition by range (id)",
      "create table parts_1_1 partition of parts_1 for values from (0) to (10)",
    );
    await b.one.follow("public.parts", "id");
    const parts = ["public.parts", "public.parts:*", "public.parts:id=1", "public.parts:id=11"];
    assert.deepEqual(await b.touchedBy("insert into parts values (1, 1)", parts), [parts[0], parts[2]]);
    assert.deepEqual(await b.touchedBy("truncate parts_1_1", parts), [parts[0], parts[1]]);
    await run(b.url, "create table parts_2 partition of parts for values from (10) to (20)");
    assert.deepEqual(await b.touchedBy("insert into parts values (11, 1)", parts), [parts[0], parts[3]]);
  });

  it("names only tables in a transaction that touches very many values", async () => {
    await using b = await bench(reports);
    await b.one.follow("public.reports", "id");
    const from = b.one.heard.commits.length;
    await run(b.url, "insert into reports select n, 42, '' from generate_series(1, 20000) n");
    await b.one.caughtUp();
    assert.ok(b.one.heard.touched("public.reports:*", from));
    assert.ok(b.one.heard.commits.slice(from).every(({ dependencies }) => dependencies.length < 5_000));
  });

  it("carries a commit that is too large for one notification whole, and knows its transaction", async () => {
    await using b = await bench(reports);
    await b.one.follow("public.reports", "id");
    const from = b.one.heard.commits.length;
    const [row] = await run(
      b.url,
      "with w as (insert into reports select n, 42, '' from generate_series(1, 1900) n) select pg_current_xact_id()::text as xid",
    );
    await b.one.caughtUp();
    const commits = b.one.heard.commits.slice(from);
    assert.equal(commits.length, 1);
    assert.equal(String(commits[0]!.xid), row!["xid"]);
    for (const id of [1, 950, 1900]) assert.ok(b.one.heard.touched(`public.reports:id=${id}`, from));
    assert.ok(!b.one.heard.touched("public.reports:*", from));
  });

  it("tells of a change of the schema as a commit of everything, and what is still followed after it", async () => {
    await using b = await bench(reports);
    await b.one.follow("public.reports", "city_id");
    const { heard } = b.one;
    const from = heard.commits.length;
    await run(b.url, "alter table reports add extra int");
    await until("everything", () => heard.commits.slice(from).some((commit) => commit.everything));
    await until("what is followed", () => heard.followed.has("public.reports:city_id"));
    await run(b.url, "drop table reports", reports);
    await b.one.caughtUp();
    await b.one.caughtUp();
    assert.ok(!heard.followed.has("public.reports"), "another table of the same name is not followed");
    await b.one.follow("public.reports", "city_id");
    const touched = await b.touchedBy("insert into reports values (1, 42, 'a')", names);
    assert.deepEqual(touched, ["public.reports", "public.reports:city_id=42"]);
    assert.deepEqual(await b.touchedBy("create temporary table mine (id int)", []), []);
  });

  it("follows a renamed column under its new name when asked again", async () => {
    await using b = await bench(reports);
    await b.one.follow("public.reports", "city_id");
    await run(b.url, "alter table reports rename city_id to town_id");
    await b.one.caughtUp();
    await b.one.follow("public.reports", "town_id");
    const touched = await b.touchedBy("insert into reports values (1, 42, 'a')", ["public.reports:town_id=42"]);
    assert.deepEqual(touched, ["public.reports:town_id=42"]);
  });

  it("invalidates names that are in no table", async () => {
    await using b = await bench();
    const { hashDependencies } = await import("../../src/cache/index.ts");
    await b.one.caughtUp();
    const number = await b.one.feed.invalidate(hashDependencies(["forecast:42"]));
    await until("the invalidation", () => b.one.heard.upTo >= number);
    assert.ok(b.one.heard.touched("forecast:42"));
  });

  it("says why a table cannot be followed", async () => {
    await using b = await bench("create unlogged table quick (id int)", "create table nopk (id int) partition by range (id)");
    for (const [table, reason] of [
      ["quick", /unlogged/],
      ["nopk", /no primary key/],
    ] as const) {
      const name = await tableNamed(b.url, table);
      b.one.feed.follow(name, ["id"]);
      assert.match(await until("the refusal", () => b.one.feed.refusalOf(name)), reason);
    }
  });
});
