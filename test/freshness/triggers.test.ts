// What the log table's source publishes, on the embedded PostgreSQL 18 and on a PostgreSQL 15 with wal_level=replica.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { type DebianServer, debianServer } from "../harness/debian-postgres.ts";
import { testDatabase, withDatabase } from "../harness/postgres.ts";
import { connect, hashOf, of, startTriggerFeed } from "./trigger-feed.ts";

const tables = `
  create table cities (id int primary key, name text);
  create table reports (id bigint generated always as identity primary key, city_id int references cities on delete cascade,
    kind varchar, note text, measured timestamptz default now());
  insert into cities select i, 'city ' || i from generate_series(1, 50) i;`;

interface Place {
  readonly title: string;
  open(): Promise<{ readonly url: string } & AsyncDisposable>;
}

let debian: DebianServer;
let databases = 0;
const places: readonly Place[] = [
  { title: "embedded PostgreSQL", open: testDatabase },
  {
    title: "PostgreSQL 15 with wal_level=replica",
    async open() {
      const name = `triggers_${++databases}`;
      await using admin = await connect(debian.url);
      await admin.query(`create database ${name}`);
      return { url: withDatabase(debian.url, name), [Symbol.asyncDispose]: async () => {} };
    },
  },
];

before(async () => {
  debian = await debianServer({ settings: { wal_level: "replica" } });
});
after(() => debian[Symbol.asyncDispose]());

for (const place of places) {
  describe(`the log table on ${place.title}`, () => {
    it("names the table and the old and new values of followed columns, whatever the statement", async () => {
      await using database = await place.open();
      await using writer = await connect(database.url);
      await writer.query(tables);
      await using feed = await startTriggerFeed(database.url);
      assert.equal(await feed.follow("reports", ["city_id", "kind"]), undefined);
      await feed.settled();
      assert.deepEqual(
        feed.batches.flatMap(({ followed }) => followed.map(({ table, column }) => [table, column])),
        [
          ["public.reports", undefined],
          ["public.reports", "city_id"],
          ["public.reports", "kind"],
        ],
      );

      const expect = async (statement: string, touched: readonly string[], not: readonly string[]): Promise<void> => {
        feed.clear();
        await writer.query(statement);
        await feed.settled();
        for (const name of touched) assert.ok(feed.touched(name), `${statement}\nshould touch ${name}`);
        for (const name of not) assert.ok(!feed.touched(name), `${statement}\nshould not touch ${name}`);
      };
      const row = (city: number) => of.row("reports", "city_id", String(city));
      await expect(
        "insert into reports (city_id, kind) values (1, 'rain'), (2, 'rain'), (2, null)",
        [of.table("reports"), row(1), row(2), of.row("reports", "kind", "rain")],
        [row(3), of.rows("reports"), of.table("cities")],
      );
      await expect(
        "update reports set city_id = 3 where city_id = 1",
        [of.table("reports"), row(1), row(3)],
        [row(2), of.rows("reports")],
      );
      await expect("update reports set note = 'x' where city_id = 3", [of.table("reports"), row(3)], [row(1)]);
      await expect("delete from reports where city_id = 3", [of.table("reports"), row(3)], [row(2)]);
      await expect("update reports set note = 'nothing' where city_id = 49", [], [of.table("reports")]);
      await expect(
        "merge into reports r using (values (2), (9)) v(city) on r.city_id = v.city when matched then update set city_id = 10 when not matched then insert (city_id) values (v.city)",
        [row(2), row(9), row(10)],
        [of.rows("reports")],
      );
      await expect(
        "copy reports (city_id) from program 'printf \"11\\n12\\n\"'",
        [row(11), row(12)],
        [row(10), of.rows("reports")],
      );
      await expect("delete from cities where id = 11", [of.table("reports"), row(11)], [row(12)]);
      await expect(
        "insert into reports (id, city_id) overriding system value values (1000, 20); insert into reports (id, city_id) overriding system value values (1000, 21) on conflict (id) do update set city_id = excluded.city_id",
        [row(20), row(21)],
        [row(22), of.rows("reports")],
      );
      await expect(
        "with gone as (delete from reports where city_id = 21 returning 1) select count(*) from gone",
        [row(21)],
        [row(20)],
      );
      await expect("truncate reports", [of.table("reports"), of.rows("reports")], []);
    });

    it("hears of writes by trigger functions, by other roles and with triggers of replication switched off", async () => {
      await using database = await place.open();
      await using writer = await connect(database.url);
      await writer.query(tables);
      const role = `writer_${Date.now()}_${process.pid}`;
      await writer.query(`
        create table counts (city_id int primary key, n int);
        create function count_up() returns trigger language plpgsql as $$ begin
          insert into counts values (new.city_id, 1) on conflict (city_id) do update set n = counts.n + 1; return new; end $$;
        create trigger count_up before insert on reports for each row execute function count_up();
        create role ${role} nosuperuser; grant insert, select on reports, counts, cities to ${role}; grant update on counts to ${role};`);
      await using feed = await startTriggerFeed(database.url);
      await feed.follow("counts", ["city_id"]);
      await feed.follow("reports", ["city_id"]);
      await feed.settled();
      feed.clear();
      try {
        await writer.query(`set role ${role}`);
        await assert.rejects(writer.query("select from millrace.changes"), { code: "42501" });
        await writer.query("set search_path = pg_temp, public");
        await writer.query("create temp table changes (x int)");
        await writer.query("insert into reports (city_id) values (7)");
        await writer.query("reset role");
        await feed.settled();
        assert.ok(feed.touched(of.row("reports", "city_id", "7")));
        assert.ok(feed.touched(of.row("counts", "city_id", "7")));
        await writer.query("set session_replication_role = replica");
        await writer.query("insert into reports (city_id) values (8)");
        await feed.settled();
        assert.ok(feed.touched(of.row("reports", "city_id", "8")));
      } finally {
        await writer.query(`reset role; drop owned by ${role}; drop role ${role}`);
      }
    });

    it("publishes a transaction when it is seen, once, though others that began later came before it", async () => {
      await using database = await place.open();
      await using early = await connect(database.url);
      await using late = await connect(database.url);
      await early.query(tables);
      await using feed = await startTriggerFeed(database.url);
      await feed.follow("reports", ["city_id"]);
      await feed.settled();
      const count = (city: string) =>
        feed.batches
          .filter(({ commits }) => commits.length > 0)
          .flatMap(({ commits }) => commits)
          .filter(({ dependencies }) => {
            const wanted = of.row("reports", "city_id", city);
            return hashesOf(dependencies).has(hashOf(wanted));
          }).length;
      feed.clear();
      await early.query("begin");
      await early.query("insert into reports (city_id) values (31)");
      for (let i = 0; i < 10; i++) {
        await late.query("insert into reports (city_id) values (32)");
        await feed.settled();
      }
      assert.equal(count("31"), 0, "it is not committed");
      assert.equal(count("32"), 10);
      await early.query("savepoint s");
      await early.query("insert into reports (city_id) values (33)");
      await early.query("rollback to s");
      await early.query("savepoint s2");
      await early.query("insert into reports (city_id) values (34)");
      await early.query("release s2");
      await early.query("commit");
      await feed.settled();
      await feed.settled();
      assert.equal(count("31"), 1);
      assert.equal(count("34"), 1);
      assert.equal(count("33"), 0);
      assert.equal(count("32"), 10);
      await early.query("begin; insert into reports (city_id) values (35); rollback");
      await feed.settled();
      assert.equal(count("35"), 0);
      const numbers = feed.batches.map(({ upTo }) => upTo);
      assert.deepEqual(
        numbers,
        numbers.toSorted((a, b) => a - b),
      );
      for (const { prev, upTo, commits } of feed.batches)
        for (const { number } of commits) assert.ok(number > prev && number <= upTo);
    });

    it("names values up to a bound, and any value beyond it", async () => {
      await using database = await place.open();
      await using writer = await connect(database.url);
      await writer.query("create table items (id int, city_id int, note text)");
      await using feed = await startTriggerFeed(database.url);
      await feed.follow("items", ["city_id"]);
      await feed.settled();
      feed.clear();
      await writer.query("insert into items select i, i % 3, 'x' from generate_series(1, 100000) i");
      await feed.settled();
      assert.ok(feed.touched(of.row("items", "city_id", "2")));
      assert.ok(!feed.touched(of.rows("items")), "three values are named, however many rows");
      feed.clear();
      await writer.query("update items set city_id = id");
      await feed.settled();
      assert.ok(feed.touched(of.table("items")));
      assert.ok(feed.touched(of.rows("items")), "a hundred thousand are not");
    });

    it("follows partitions by the topmost parent's name, new ones too, and inheriting tables by their own", async () => {
      await using database = await place.open();
      await using writer = await connect(database.url);
      await writer.query(`
        create table events (id int, day date, city_id int) partition by range (day);
        create table events_1 partition of events for values from ('2026-01-01') to ('2026-02-01') partition by list (city_id);
        create table events_1_a partition of events_1 for values in (1, 2);
        create table animals (id int, city_id int); create table dogs (loud boolean) inherits (animals);`);
      await using feed = await startTriggerFeed(database.url);
      assert.equal(await feed.follow("events", ["city_id"]), undefined);
      assert.equal(await feed.follow("dogs", ["city_id"]), undefined);
      await feed.settled();
      const expect = async (statement: string, touched: readonly string[], not: readonly string[] = []): Promise<void> => {
        feed.clear();
        await writer.query(statement);
        await feed.settled();
        for (const name of touched) assert.ok(feed.touched(name), `${statement}\nshould touch ${name}`);
        for (const name of not) assert.ok(!feed.touched(name), `${statement}\nshould not touch ${name}`);
      };
      const city = (value: string) => of.row("events", "city_id", value);
      await expect("insert into events values (1, '2026-01-02', 1)", [of.table("events"), city("1")], [of.rows("events")]);
      await expect("insert into events_1 values (1, '2026-01-02', 2)", [of.table("events"), city("2")]);
      await expect("insert into events_1_a values (1, '2026-01-02', 2)", [of.table("events"), city("2")]);
      await expect("insert into dogs values (1, 5, true)", [of.table("dogs"), of.row("dogs", "city_id", "5")]);
      await expect("update animals set city_id = 6", [of.table("animals"), of.table("dogs")]);
      await writer.query("create table events_2 partition of events for values from ('2026-02-01') to ('2026-03-01')");
      await expect("insert into events_2 values (1, '2026-02-02', 3)", [of.table("events"), city("3")]);
    });

    it("says when the schema changed, but not for temporary tables", async () => {
      await using database = await place.open();
      await using writer = await connect(database.url);
      await writer.query(tables);
      await using feed = await startTriggerFeed(database.url);
      await feed.follow("reports", ["city_id"]);
      await feed.settled();
      const everything = () => feed.batches.some(({ commits }) => commits.some((commit) => commit.everything));
      assert.ok(!everything(), "following is no DDL of the user's");
      await writer.query("create temp table t (x int); drop table t");
      await feed.settled();
      assert.ok(!everything());
      for (const statement of [
        "alter table reports add column extra int",
        "create view v as select 1",
        "drop view v",
        "alter table reports disable trigger all",
        "alter table reports rename column city_id to town_id",
      ]) {
        feed.clear();
        await writer.query(statement);
        await feed.settled();
        assert.ok(everything(), statement);
      }
      feed.clear();
      await writer.query("insert into reports (town_id) values (5)");
      await feed.settled();
      assert.ok(feed.touched(of.table("reports")), "triggers that were disabled are back, and the renamed column harms no write");
    });
  });
}

const hashesOf = (dependencies: Uint32Array): Set<string> => {
  const found = new Set<string>();
  for (let i = 0; i < dependencies.length; i += 2) found.add(`${dependencies[i]}:${dependencies[i + 1]}`);
  return found;
};
