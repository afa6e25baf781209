// Attempts to make a statement that has effects look like one that only reads.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { readsOnly } from "./read-only.ts";

const functions = new Set([
  "lower",
  "upper",
  "now",
  "count",
  "max",
  "jsonb_agg",
  "generate_series",
  "left",
  "unnest",
  "date_trunc",
]);
const reads = (text: string) => readsOnly(text, functions);

suite("what only reads", () => {
  const statements = [
    "select 1",
    "  \n\tSELECT 1 ;\n",
    "table cities",
    "values (1, 'a'), ($1, $2)",
    "select id, name from cities where id = $1",
    'select c."Name", c."odd ""one""" from "public"."cities" c where c.id=$1',
    "select count(*), max(population) filter (where country = 'DE') from cities",
    "select lower(name) as low from cities where name ilike 'O''Brien (the; \"update\" one) -- no comment'",
    "select count(*) over (partition by country order by population desc rows between 1 preceding and current row) from cities",
    "select max(id) over () from cities",
    "with big as materialized (select * from cities where population > 1e6), small as not materialized (select 1) select * from big",
    "with recursive t(n) as (values (1) union all select n + 1 from t where n < 5) select * from t",
    "with t(n) as (select 1) select n from t",
    "select * from generate_series(1, 10) as g(n) join lateral (select g.n * 2) x on true",
    "select * from a left join (select 1 as id) b using (id) where (a.x, a.y) > ($1, $2) and a.z in (1, 2) and not (a.q is null)",
    "select distinct on (country) country, name from cities order by country, population desc limit 10 offset (5)",
    "select name::varchar(10), cast(x as numeric(10, 2)), t::character varying (5), extract(year from now()) from cities",
    "select substring(name for 2), position('a' in name), date_trunc('day', now()) from cities",
    "select country, count(*) from cities group by (country) having (count(*) > 5) union (select 'x', 1)",
    "select a.tags[1:2], a.doc->>'key', a.doc @> '{\"a\": 1}', -1 - -2, 1.5e-3, .5, 5 from a where id = any($1)",
    "select array(select id from a), array[1, 2], row(1, 2), exists (select 1), case when (a) then (b) else (c) end from a",
    "select coalesce((select jsonb_agg(x) from (select 1) x), '[]')",
    "select 'é', \"straße\" from cities where name = 'Zürich'",
    'with q as not materialized (select * from a where b = $1\n), r0 as materialized (select * from (select q.*, q."b"::text as "k" from q where ' +
      '(q."b", q."id") > ($2, $3) order by q."b" limit 32) as r limit $4 - (select count(*) from r0)) select * from (select * from r0 union all select * from r0) as p',
    "select pg_catalog.lower('A'), pg_catalog . lower ('A')",
  ];
  for (const text of statements) test(text.trim(), () => assert.equal(reads(text), true));
});

suite("what does not, or might not", () => {
  const attempts: Record<string, readonly string[]> = {
    "another kind of statement": [
      "",
      "  ",
      ";",
      "insert into a values (1)",
      "update a set b = 1",
      "explain analyze delete from a",
      "begin",
      "set role x",
      "listen a",
      "call f()",
      "do 'begin end'",
      "selects",
      "(select 1)",
      "show all",
      "execute p",
    ],
    "several statements": ["select 1; select 2", "select 1; delete from a", "select 1;;", "select 1; -- x", "; select 1"],
    "a write in a common table expression": [
      "with x as (insert into a values (1) returning *) select * from x",
      "with x as (UPDATE a set b = 1 returning *) select * from x",
      "with x as (\ndelete\nfrom a returning *) select * from x",
      "with x as (merge into a using b on true when matched then do nothing) select 1",
      "with x as (select 1) insert into a select * from x",
      "with x as not materialized (delete from a returning 1) table x",
    ],
    "a row lock": [
      "select * from a for update",
      "select * from a FOR UPDATE",
      "select * from a for\n\tupdate of a nowait",
      "select * from a for/**/update",
      "select * from a for--\nupdate",
      "select * from a for no key update",
      "select * from a for  No\nkey update",
      "select * from a for share skip locked",
      "select * from a for key share",
      "select * from a where x = 'a'for update",
      "select * from (select * from a for update) b",
    ],
    "a new table": ["select * into b from a", "select 1 into\ttemp b", "select 1 INTO unlogged b", "select 1,2into b"],
    "a function that is not known to change nothing": [
      "select nextval('s')",
      "values (nextval('s'))",
      "select NEXTVAL ('s')",
      "select setval('s', 1)",
      "select pg_advisory_lock(1)",
      "select\npg_advisory_lock\n(1)",
      "select pg_advisory_lock/**/(1)",
      "select pg_advisory_lock--\n(1)",
      "select pg_advisory_lock\f(1)",
      "select pg_advisory_lock\v(1)",
      "select pg_catalog.pg_sleep(1)",
      "select pg_catalog . pg_sleep ( 1 )",
      "select set_config('role', 'x', false)",
      "select * from pg_sleep(1)",
      "select * from a, lateral pg_sleep(1)",
      "select * from rows from (pg_sleep(1)) as x(a)",
      "select lower(pg_sleep(1)::text)",
      "select a[pg_sleep(1)] from a",
      "select 1 where exists (select pg_notify('a', 'b'))",
      "select 1 order by pg_sleep(1)",
      "select 1 limit pg_backend_pid()",
      "select -pg_sleep(1)",
      "select 1from pg_sleep(1)",
      "select case when pg_sleep(1) is null then 1 end",
      "select array[pg_sleep(1)]",
      "select 1::text||pg_sleep(1)",
    ],
    "a quoted function name": [
      'select "pg_sleep"(1)',
      'select "pg_sleep" (1)',
      'select pg_catalog."pg_sleep"(1)',
      'select "pg_catalog"."pg_sleep"\n(1)',
      'select "odd""name"(1)',
      'select U&"pg\\005fsleep"(1)',
      "select U&\"pg!005fsleep\" uescape '!' (1)",
      "select u&\"pg!005fsleep\" UESCAPE '!'\n(1)",
      'select "a" "pg_sleep"(1)',
    ],
    "a call hidden by quotes that open where a naive reader sees them": [
      "select 1 as \"it's\", pg_sleep(1), 'x'",
      "select '\"', pg_sleep(1), '\"'",
      "select E'\\'', pg_sleep(1), 'x'",
      "select e'\\'' || pg_sleep(1) || '",
      "select '\\', pg_sleep(1), '\\'",
      "select '\\', ' || pg_sleep(1) || '", // live where standard_conforming_strings is off
      "select U&'\\0027', pg_sleep(1), 'x'",
      "select $$'$$, pg_sleep(1), $$'$$",
      "select $a$'$a$, pg_sleep(1), '...'",
      "select $é$'$é$, pg_sleep(1), '...'",
      "select $1$a$ ' $a$, pg_sleep(1), '...'",
      "select 1 -- '\n, pg_sleep(1) -- '",
      "select 1 /* ' */, pg_sleep(1) /* ' */",
      "select 1 /* /* */ ' */, pg_sleep(1) /* ' */",
      "select 1 +-- '\n pg_sleep(1) -- '",
      "select 1 */*'*/pg_sleep(1)/*'*/",
      "select 'a''', pg_sleep(1), '''b'",
      'select "a""\'", pg_sleep(1), "\'"',
      "select n'a', pg_sleep(1)",
      "select b'1''0', pg_sleep(1), ''",
      "select 'unterminated, pg_sleep(1)",
      'select "unterminated, pg_sleep(1)',
    ],
    "a function with the name of a word of the grammar": [
      "select next(1)",
      "select filter(1)",
      "select distinct on (a) filter (a) from b",
      "select distinct on (a) over () from b",
      "select distinct on (a) over (order by b) from b",
      "select first(1), rows(1)",
      "select partition(1)",
      "select by(1)",
      "select a, by (1)",
      "select range(1)",
      "select sets(1)",
      "select cross(1)",
      "select join(1)",
      "select join((select 1))",
      "select materialized(1)",
      "select varying(1)",
      "select recursive(1)",
      "select within(1)",
      "select public.coalesce(1)",
      "select public.values(1)",
      "select public . extract (1)",
      "select public.filter(1)",
    ],
    "letters that are not what they look like": [
      "select pg_ſleep(1)",
      "select loweK(1)",
      "select 😀(1)",
      "select x😀lower(1)",
      "select é.lower(1)",
      "select \u00a0lower(1)",
      "select lower\u00a0(1)",
      "select ｎextval('s')",
      "select a\u200blower(1)",
      "select 1\0",
      "select 'a\0', pg_sleep(1)",
      "select $$lower(1)",
      "select a$lower(1)",
      "select lower$(1)",
      "select \\lower(1)",
      "\ufeffselect 1",
    ],
    "an operator by its qualified name": ["select 1 operator(public.+++) 2"],
  };
  for (const [kind, texts] of Object.entries(attempts)) {
    test(kind, () => {
      for (const text of texts) assert.equal(reads(text), false, text);
    });
  }

  test("nothing at all while no function is known, but what calls none", () => {
    assert.equal(readsOnly("select lower('a')", new Set()), false);
    assert.equal(readsOnly("select 1", new Set()), true);
  });
});

suite("a live call is found whatever stands around it", () => {
  /** Pieces of text after which PostgreSQL is outside of quotes and comments again. */
  const piece = fc.oneof(
    fc.string({ unit: "grapheme", maxLength: 12 }).map((inner) => `'${inner.replaceAll("'", "''")}'`),
    fc.string({ unit: "grapheme", maxLength: 12 }).map((inner) => `"a${inner.replaceAll('"', '""')}"`),
    fc.string({ maxLength: 12 }).map((inner) => `E'${inner.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`),
    fc.string({ maxLength: 12 }).map((inner) => `$t$${inner.replaceAll("$", "")}$t$`),
    fc.string({ maxLength: 12 }).map((inner) => `--${inner.replaceAll(/[\r\n]/g, "")}\n`),
    fc.string({ maxLength: 12 }).map((inner) => `/*${inner.replaceAll(/[*/]/g, "")}*/`),
    fc.constantFrom(
      ",",
      " ",
      "\n",
      "||",
      "lower(x)",
      "1",
      "$1",
      "(",
      ")",
      "coalesce(",
      ".",
      "as",
      "from a",
      "&",
      "U&",
      "::text",
      "-",
      "*",
      "/",
    ),
  );
  const pieces = fc.array(piece, { maxLength: 6 }).map((all) => all.join(" "));
  const space = fc.constantFrom("", " ", "\n", "\t ", "\f", "/**/", "--'\n", '/*"*/');
  const call = fc.constantFrom("pg_advisory_lock", "PG_Sleep", "nextval", '"set_config"', "pg_catalog.pg_notify", "next", "filter");

  test("in a select list", () => {
    fc.assert(
      fc.property(pieces, call, space, pieces, (before, name, gap, after) => {
        assert.equal(reads(`select ${before} , ${name}${gap}(1) ${after}`), false);
      }),
      { numRuns: 2_000 },
    );
  });

  test("and no one character put beside it hides it", () => {
    const before = "select lower('a'), \"b\", ";
    const live = "pg_advisory_lock(1)";
    const after = ", 'c' from d";
    // A quote in front and one behind make text of the call, for PostgreSQL too: quotes are the other property's.
    const character = fc
      .oneof(
        fc.string({ unit: "grapheme", minLength: 1, maxLength: 1 }),
        fc.constantFrom("$", "\\", "&", "/", "*", "-", "\0", ".", "E", "U"),
      )
      .filter((value) => value !== "'" && value !== '"');
    fc.assert(
      fc.property(fc.nat(before.length + after.length), character, (at, value) => {
        const around = [before, after];
        const side = at <= before.length ? 0 : 1;
        const offset = side === 0 ? at : at - before.length;
        around[side] = around[side]!.slice(0, offset) + value + around[side]!.slice(offset);
        const text = around.join(live);
        assert.equal(reads(text), false, text);
      }),
      { numRuns: 2_000 },
    );
  });
});
