// A database whose source of changes is exchanged, and one where nothing may be made.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { testDatabase } from "../harness/postgres.ts";
import { run, startFeed, until } from "./feed-recorder.ts";

const left = `
  select 'slot' as kind from pg_replication_slots where database = current_database()
  union all select 'publication' from pg_publication
  union all select 'trigger' from pg_trigger where tgname like 'millrace%'
  union all select 'log table' from pg_class where oid = to_regclass('millrace.changes')
  union all select 'event trigger ' || evtname from pg_event_trigger where evtname like 'millrace%'
  order by 1`;

describe("the source of the change feed", () => {
  it("can be exchanged: the other one's slot or triggers go, and a new generation begins", async () => {
    await using database = await testDatabase();
    await run(database.url, "create table reports (id int primary key, city_id int)");
    let generation = 0;
    const with_ = async (source: "logical" | "triggers", id: number, expected: readonly string[]) => {
      await using one = await startFeed({ url: database.url, source });
      await until("the feed", () => one.feed.state.elected && one.feed.state.state === "running");
      await one.follow("public.reports", "city_id");
      const from = one.heard.commits.length;
      await run(database.url, `insert into reports values (${id}, 42)`);
      await one.caughtUp();
      assert.ok(one.heard.touched("public.reports:city_id=42", from));
      const before = generation;
      ({ generation } = one.heard.restarts.at(-1)!);
      assert.ok(generation > before);
      assert.deepEqual(
        (await run(database.url, left)).map(({ kind }) => kind),
        expected,
      );
      if (source === "logical") assert.deepEqual(one.heard.violations, []); // by triggers, commits of one look share a number
      const [identity] = await run(database.url, "select relreplident::text as now from pg_class where relname = 'reports'");
      assert.equal(identity!["now"], source === "logical" ? "f" : "d");
    };
    const logical = ["event trigger millrace_tell_ddl", "event trigger millrace_tell_drop", "publication", "slot"];
    const triggers = ["event trigger millrace_log_ddl", "event trigger millrace_log_drop", "log table"];
    await with_("logical", 1, logical);
    await with_("triggers", 2, [...triggers, "trigger", "trigger", "trigger", "trigger"]);
    await with_("logical", 3, logical);
  });

  it("forgets tables that were dropped, and follows one that was renamed under its new name", async () => {
    await using database = await testDatabase();
    await run(database.url, "create table reports (id int primary key)", "create table others (id int primary key)");
    await using one = await startFeed({ url: database.url, source: "logical" });
    await one.follow("public.reports", "id");
    await one.follow("public.others", "id");
    await run(database.url, "drop table others", "alter table reports rename to notes");
    await one.follow("public.notes", "id");
    await until("the registry", async () => {
      const rows = await run(database.url, "select distinct table_name as name from millrace.followed");
      return rows.length === 1 && rows[0]!["name"] === "notes";
    });
    const from = one.heard.commits.length;
    await run(database.url, "insert into notes values (7)");
    await one.caughtUp();
    assert.ok(one.heard.touched("public.notes:id=7", from));
    assert.deepEqual(one.heard.violations, []);
  });

  it("makes nothing with setup: false, and says everything that is missing", async () => {
    await using database = await testDatabase();
    for (const source of ["logical", "triggers"] as const) {
      await using one = await startFeed({ url: database.url, source, setup: false });
      const problem = await until("the problem", () => one.feed.state.problem);
      assert.match(problem, /the tables in the schema millrace are not all there/);
      assert.match(problem, source === "logical" ? /the publication millrace is incomplete/ : /The log table is not installed/);
      assert.match(problem, /Run `millrace freshness setup`/);
    }
    assert.deepEqual(await run(database.url, "select from pg_namespace where nspname = 'millrace'"), []);
  });
});
