// What statements read and write, row by row of the table in docs/dependencies.md, on a real server's catalogue.

import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import pg from "pg";
import { type StatementPlans, createStatementPlans, loadCatalogue, namesOf } from "../../src/freshness/dependencies/index.ts";
import { type TestDatabase, testDatabase } from "../harness/postgres.ts";

const schema = `
  create type mood as enum ('good', 'bad');
  create table orgs (id int primary key, name text not null);
  create table users (id int primary key, email text unique, name text not null, org_id int not null references orgs, born date,
    token uuid, score numeric, short char(4), mood mood, doubled int generated always as (id * 2) stored);
  create table reports (id int primary key, city_id int not null, user_id int not null references users, text text, at timestamptz);
  create table comments (id int primary key, report_id int not null references reports on delete cascade,
    user_id int not null references users, text text);
  create table tags (report_id int references reports on delete cascade, tag text, primary key (report_id, tag));
  create table likes (comment_id int references comments on delete set null, user_id int);
  create view city_reports as select reports.id, reports.city_id, users.name from reports join users on users.id = user_id;
  create view wild as select random() as r;
  create table events (id int, day int, tag text) partition by range (id);
  create table events_1 partition of events for values from (0) to (1000);
  create table base (id int primary key);
  create table derived () inherits (base);
  create unlogged table fast (id int primary key);
  create materialized view summary as select count(*) from reports;
  create sequence numbers;
  create table guarded (id int primary key, owner text);
  create table audited (id int primary key);
  create function audit() returns trigger language plpgsql as 'begin insert into likes values (1, 1); return new; end';
  create trigger audit after insert on audited for each row execute function audit();
  create function stable_read() returns bigint stable language sql as 'select count(*) from reports';
  create function pure(a int) returns int immutable language sql as 'select a + 1';
  create function writes() returns int volatile language sql as 'insert into likes values (1, 1) returning 1';
  insert into orgs select i, 'org ' || i from generate_series(1, 3) i;
  insert into users (id, email, name, org_id) select i, 'u' || i, 'user ' || i, i % 3 + 1 from generate_series(1, 5) i;
  insert into reports select i, i % 2 + 1, i % 5 + 1, 'text ' || i, now() from generate_series(1, 8) i;
  insert into comments select i, i % 8 + 1, i % 5 + 1, 'comment' from generate_series(1, 12) i;`;

/** What a statement depends on, when every column is followed: names without the schema, `:*` left out. */
type Row = readonly [what: string, text: string, values: readonly unknown[], names: readonly string[]];

// #region reads
const reads: readonly Row[] = [
  ["a primary key", "select * from users where id = $1", [3], ["users:id=3"]],
  ["a unique key, the value first", "select * from users where $1 = email", ["u1"], ["users:email=u1"]],
  ["any column", "select * from reports where city_id = $1 and text <> ''", [2], ["reports:city_id=2"]],
  [
    "ORDER BY and LIMIT under an equality",
    "select id from reports where city_id = $1 order by at desc limit 2",
    [2],
    ["reports:city_id=2"],
  ],
  ["a list", "select * from users where id in (1, $1)", [2], ["users:id=1", "users:id=2"]],
  ["an array", "select * from users where id = any($1::int[])", [[1, 4, null]], ["users:id=1", "users:id=4"]],
  [
    "alternatives",
    "select * from users where id = 1 or $1 = id or id in (4, $2)",
    [2, 3],
    ["users:id=1", "users:id=2", "users:id=3", "users:id=4"],
  ],
  [
    "alternatives, each with more",
    "select * from users where (id = 1 and name <> 'x') or (org_id = 1 and id = any($1))",
    [[2]],
    ["users:id=1", "users:id=2"],
  ],
  ["alternatives of which one says less", "select * from users where id = 1 or id > 4", [], ["users"]],
  [
    "a unique key before any other",
    "select * from users where mood = 'bad' and org_id = 1 and email = 'u1'",
    [],
    ["users:email=u1"],
  ],
  ["a foreign key before a state", "select * from users where mood = 'bad' and org_id = 1", [], ["users:org_id=1"]],
  ["a parameter that is NULL equals nothing", "select * from users where id = $1", [null], []],
  ["a range", "select * from reports where id > $1", [1], ["reports"]],
  ["an aggregate", "select count(*) from reports", [], ["reports"]],
  ["an aggregate under an equality", "select count(*) from reports where city_id = 1", [], ["reports:city_id=1"]],
  ["either of two columns", "select * from reports where city_id = 1 or user_id = 1", [], ["reports"]],
  ["a type whose equality is not spelling", "select * from users where score = $1", [1], ["users"]],
  ["char(n)", "select * from users where short = 'a'", [], ["users"]],
  ["a generated column", "select * from users where doubled = 4", [], ["users"]],
  ["an enum", "select * from users where mood = 'bad'", [], ["users:mood=bad"]],
  ["a cast to a wider kind of number", "select * from users where id = $1::numeric", [1], ["users"]],
  [
    "a many-to-one join by foreign key",
    "select reports.id, users.id, users.name from reports join users on users.id = user_id where city_id = 1 and reports.id < 5",
    [],
    ["reports:city_id=1", "users:id=3", "users:id=5"],
  ],
  [
    "the same, the key in JSON",
    "select reports.id, json_build_object('id', users.id, 'name', users.name) as author from reports, users where users.id = user_id and reports.id = 2",
    [],
    ["reports:id=2", "users:id=3"],
  ],
  [
    "the same, but the other table decides",
    "select reports.id, users.id from reports join users on users.id = user_id where city_id = 1 and users.name <> 'x' and reports.id = 2",
    [],
    ["reports:id=2", "users"],
  ],
  [
    "the same, when nothing is read of it",
    "select reports.id from reports join users on users.id = user_id where reports.id = 2",
    [],
    ["reports:id=2"],
  ],
  [
    "children in the select list",
    "select id, (select count(*) from comments where report_id = reports.id) as n from reports where city_id = 1 and id < 5",
    [],
    ["comments:report_id=2", "comments:report_id=4", "reports:city_id=1"],
  ],
  [
    "children that decide about the order",
    "select id, (select count(*) from comments where report_id = reports.id) as n from reports where city_id = 1 order by n limit 2",
    [],
    ["comments", "reports:city_id=1"],
  ],
  [
    "children by LEFT JOIN",
    "select reports.id, comments.text from reports left join comments on report_id = reports.id where city_id = 1 and reports.id < 5",
    [],
    ["comments:report_id=2", "comments:report_id=4", "reports:city_id=1"],
  ],
  [
    "children by inner join: a parent without them is not in the result",
    "select reports.id, comments.text from reports join comments on report_id = reports.id where city_id = 1",
    [],
    ["comments", "reports:city_id=1"],
  ],
  [
    "equality is passed on",
    "select * from reports r join comments c on c.report_id = r.id where r.id = $1",
    [3],
    ["comments:report_id=3", "reports:id=3"],
  ],
  [
    "ON of a LEFT JOIN narrows the right side only",
    "select r.id from reports r left join comments c on r.city_id = 1 and c.user_id = 2",
    [],
    ["comments:user_id=2", "reports"],
  ],
  ["JOIN USING", "select * from events join tags using (tag) where tag = 'a'", [], ["events:tag=a", "tags:tag=a"]],
  ["NATURAL JOIN", "select * from base natural join orgs where id = 2", [], ["base:id=2", "derived:id=2", "orgs:id=2"]],
  [
    "FULL JOIN narrows nothing",
    "select * from reports full join comments on reports.id = comments.report_id and comments.report_id = 1",
    [],
    ["comments", "reports"],
  ],
  [
    "many parents at once",
    `select comment.* from unnest($1::int[]) as report (id) cross join lateral (
       select comments.id, json_build_object('id', users.id, 'name', users.name) as author from comments join users on users.id = user_id
       where report_id = report.id order by comments.id limit 3) as comment`,
    [[2, 3]],
    ["comments:report_id=2", "comments:report_id=3", "users:id=1", "users:id=2", "users:id=3", "users:id=5"],
  ],
  [
    "a keyset page",
    `with q as not materialized (select * from reports where city_id = $1)
     select * from (select q.*, q.id::text as "millrace:key:0" from q where q.id > $2 order by q.id limit 4) as p order by p.id limit $3`,
    [1, 0, 2],
    ["reports:city_id=1"],
  ],
  ["a view", "select * from city_reports where city_id = 2 and id = 1", [], ["reports:id=1", "users"]],
  [
    "UNION",
    "select id from reports where city_id = 1 union select id from users where id = 2",
    [],
    ["reports:city_id=1", "users:id=2"],
  ],
  ["IN with a query", "select * from users where id in (select user_id from reports where id = 1)", [], ["reports:id=1", "users"]],
  [
    "EXISTS",
    "select * from users u where id = 1 and exists (select from reports where user_id = u.id)",
    [],
    ["reports:user_id=1", "users:id=1"],
  ],
  [
    "NOT EXISTS narrows by correlation",
    "select * from users u where id = 1 and not exists (select from reports where user_id = u.id)",
    [],
    ["reports:user_id=1", "users:id=1"],
  ],
  [
    "a filter outside of LIMIT is not one inside",
    "select * from (select * from reports order by at limit 3) q where city_id = 1",
    [],
    ["reports"],
  ],
  [
    "a filter outside of a window is not one inside",
    "select * from (select city_id, row_number() over (order by at) from reports) q where city_id = 1",
    [],
    ["reports"],
  ],
  [
    "GROUP BY lets its key through",
    "select * from (select city_id, count(*) from reports group by city_id) q where city_id = 1",
    [],
    ["reports:city_id=1"],
  ],
  [
    "WITH RECURSIVE",
    "with recursive q (id) as (select id from orgs where id = 1 union select q.id + 1 from q join users on users.id = q.id) select * from q",
    [],
    ["orgs:id=1", "users"],
  ],
  ["a partition goes by its topmost table", "select * from events_1 where day = 2", [], ["events:day=2"]],
  ["inheritance children are read along", "select * from base where id = 2", [], ["base:id=2", "derived:id=2"]],
  ["ONLY leaves them out", "select * from only base where id = 2", [], ["base:id=2"]],
  ["more values than 64", "select * from users where id = any($1)", [Array.from({ length: 65 }, (_, i) => i)], ["users"]],
  [
    "a condition on a copy of an outer column",
    "select r.id from reports r left join lateral (select r.city_id as y) q on q.y = 1",
    [],
    ["reports"],
  ],
  [
    "a LEFT JOIN by a list repeats rows",
    "select count(*) from orgs left join users on users.id in (1, 2)",
    [],
    ["orgs", "users:id=1", "users:id=2"],
  ],
  ["a function that is IMMUTABLE", "select pure(id) from users where id = 1", [], ["users:id=1"]],
];
// #endregion

// #region refused
const refused: readonly (readonly [text: string, reason: RegExp])[] = [
  ["select random() from users", /volatile function random\(\)/],
  ["select * from wild", /volatile function random\(\)/],
  ["select writes()", /volatile function writes\(\)/],
  ["select stable_read()", /stable_read\(\), which may read tables unseen/],
  ["select * from users for update", /locks rows/],
  ["with q as (delete from likes returning *) select * from q", /writes in a WITH query/],
  ["select * from fast", /unlogged/],
  ["select * from summary", /materialised view/],
  ["select last_value from numbers", /sequence/],
  ["select * from pg_class", /catalogue/],
  ["select current_setting('a.b', true)", /depends on the session/],
  ["select pg_backend_pid()", /volatile|session/],
  ["select * from users tablesample system (10)", /TABLESAMPLE/],
  ["select 'users'::regclass", /regclass/],
  ["select 1; select 2", /several statements/],
  ["show search_path", /shows a setting/],
  ["insert into likes values (1, 1)", /not a query/],
  ["selec", /not understood/],
];
// #endregion

const writes: readonly (readonly [text: string, tables: readonly string[] | "everything"])[] = [
  ["select * from users", []],
  ["insert into likes values (1, 1)", ["likes"]],
  ["update users set name = 'x'", ["users"]],
  ["delete from reports", ["comments", "likes", "reports", "tags"]],
  ["with q as (delete from comments returning *) select * from q", ["comments", "likes"]],
  ["merge into orgs using users on orgs.id = org_id when matched then do nothing", ["orgs"]],
  ["copy orgs from stdin", ["orgs"]],
  ["copy orgs to stdout", []],
  ["truncate likes", ["likes"]],
  ["truncate users cascade", "everything"],
  ["insert into events values (1)", ["events"]],
  ["insert into audited values (1)", "everything"],
  ["insert into city_reports values (1)", "everything"],
  ["select writes()", "everything"],
  ["call p()", "everything"],
  ["do 'begin end'", "everything"],
  ["create table x ()", "everything"],
  ["select * into x from users", "everything"],
  ["begin", []],
  ["savepoint a", []],
  ["selec", "everything"],
];

suite("dependencies of statements", () => {
  let database: TestDatabase;
  let client: pg.Client;
  let plans: StatementPlans;

  before(async () => {
    database = await testDatabase();
    client = new pg.Client({ connectionString: database.url });
    await client.connect();
    await client.query(schema);
    plans = await createStatementPlans(await loadCatalogue(client));
  });

  after(async () => {
    await client.end();
    await database[Symbol.asyncDispose]();
  });

  for (const [what, text, values, expected] of reads) {
    test(`read: ${what}`, async () => {
      const plan = plans.planOf(text);
      assert.deepEqual(plan.read.cacheable || plan.read.reason, true);
      const { rows, fields } = await client.query<unknown[]>({ text, values: [...values], rowMode: "array" });
      const found = plan.dependencies({ values, rows, fields }).flatMap((each) => namesOf(each, true));
      const names = found.filter((each) => !each.endsWith(":*")).map((each) => each.replace("public.", ""));
      assert.deepEqual(names.toSorted(), expected);
      // Whoever depends on rows depends on writes of which only the table is known.
      for (const each of plan.dependencies({ values, rows, fields })) {
        if (each.rows) assert.ok(found.includes(`public.${each.table.name}:*`));
      }
      assert.deepEqual(plan.write, { writes: [], session: undefined });
    });
  }

  for (const [text, reason] of refused) {
    test(`not kept: ${text}`, () => {
      const { read } = plans.planOf(text);
      assert.equal(read.cacheable, false);
      assert.match(read.cacheable ? "" : read.reason, reason);
    });
  }

  for (const [text, tables] of writes) {
    test(`write: ${text}`, () => {
      const { writes: found } = plans.planOf(text).write;
      assert.deepEqual(found === "everything" ? found : found.map((each) => each.name).toSorted(), tables);
    });
  }

  test("what depends on the clock says so", () => {
    for (const text of [
      "select now()",
      "select * from reports where at < current_date",
      "select age(at) from reports",
      "select 'today'::date",
    ]) {
      assert.equal(plans.planOf(text).timeDependent([]), true, text);
    }
    assert.equal(plans.planOf("select age(at, at) from reports").timeDependent([]), false);
    const byDay = plans.planOf("select * from users where born = $1::date");
    assert.equal(byDay.timeDependent(["2020-01-01"]), false);
    assert.equal(byDay.timeDependent(["yesterday"]), true);
  });

  test("what changes the meaning of later statements says so", () => {
    for (const text of [
      "set search_path = a",
      "set role x",
      "reset all",
      "select set_config('timezone', 'UTC', false)",
      "set local row_security = off",
      "discard all",
    ]) {
      assert.match(plans.planOf(text).write.session ?? "", /session/, text);
    }
    for (const text of [
      "set statement_timeout = 1",
      "select set_config('work_mem', '8MB', true)",
      "begin",
      "set transaction read only",
    ]) {
      assert.equal(plans.planOf(text).write.session, undefined, text);
    }
  });

  test("a temporary table that hides another is not mistaken for it", async () => {
    await client.query("create temporary table tags (report_id int)");
    try {
      const { read } = (await createStatementPlans(await loadCatalogue(client))).planOf("select * from tags");
      assert.match(read.cacheable ? "" : read.reason, /temporary table/);
    } finally {
      await client.query("drop table pg_temp.tags");
    }
  });

  test("row-level security that applies is followed into its policies", async () => {
    await client.query(`
      alter table guarded enable row level security;
      alter table guarded force row level security;
      create policy seen on guarded using (exists (select from users where email = owner));
      create role guarded_reader;
      grant select on guarded, users to guarded_reader;`);
    try {
      await client.query("set role guarded_reader");
      const followed = (await createStatementPlans(await loadCatalogue(client))).planOf("select * from guarded where id = 1");
      const names = followed.dependencies({ values: [], rows: [], fields: [] }).flatMap((each) => namesOf(each, true));
      assert.deepEqual(names.toSorted(), ["public.guarded:*", "public.guarded:id=1", "public.users"]);
      await client.query(
        "reset role; alter policy seen on guarded using (owner = current_setting('app.user')); set role guarded_reader",
      );
      const refusedNow = (await createStatementPlans(await loadCatalogue(client))).planOf("select * from guarded");
      assert.match(refusedNow.read.cacheable ? "" : refusedNow.read.reason, /current_setting/);
    } finally {
      await client.query("reset role; drop policy seen on guarded; drop owned by guarded_reader; drop role guarded_reader");
    }
  });
});
