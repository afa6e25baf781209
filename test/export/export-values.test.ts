// What an export writes, against what PostgreSQL itself would write (row_to_json, COPY … CSV) for the same rows.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { type Database, type ExportFormat, type Sql, createDatabase, sql } from "../../src/database/index.ts";
import { type TestDatabase, testDatabase } from "../harness/postgres.ts";

let created: TestDatabase;
let db: Database;

before(async () => {
  created = await testDatabase();
  db = await createDatabase({ url: created.url });
  await db.query(sql`create type mood as enum ('sunny', 'wind "gusts"')`);
  await db.query(sql`create type reading as (at timestamptz, value numeric)`);
  await db.query(sql`create domain celsius as numeric check (value > -273.16)`);
});

after(async () => {
  await db.close();
  await created[Symbol.asyncDispose]();
});

async function exported(statement: Sql, format: ExportFormat): Promise<string> {
  return Buffer.concat(await db.export(statement, { format }).toArray()).toString();
}

async function ndjsonRows(statement: Sql): Promise<unknown[]> {
  const lines = (await exported(statement, "ndjson")).split("\n");
  assert.equal(lines.pop(), "");
  assert.deepEqual(JSON.parse(lines.pop()!), { end: true, rows: lines.length });
  return lines.map((line) => JSON.parse(line) as unknown);
}

/** The same rows as row_to_json has them. */
async function rowToJson(statement: Sql): Promise<string[]> {
  const rows = await db.many<{ row: string }>(sql`select row_to_json(exported)::text as row from (${statement}) as exported`);
  return rows.map(({ row }) => row);
}

/** Every common type with its awkward values, as SQL expressions. */
const values: Readonly<Record<string, readonly string[]>> = {
  bool: ["true", "false"],
  int2: ["0", "-32768", "32767", "-1", "255", "256"],
  int4: ["0", "'-2147483648'", "2147483647", "10", "-9"],
  int8: ["0", "'-9223372036854775808'", "9223372036854775807", "4294967296", "-4294967296", "1000000000", "9007199254740993", "-1"],
  numeric: [
    "0",
    "'NaN'",
    "'Infinity'",
    "'-Infinity'",
    "'-0.000000001'",
    "'123456789012345678901234567890.1234567890'",
    "1e30",
    "1.10",
  ],
  "numeric(10,2)": ["1", "-1.005"],
  float4: ["0.1", "'NaN'", "'Infinity'", "'-Infinity'", "1e20", "-1e-20", "'-0'"],
  float8: ["0.1", "'NaN'", "'Infinity'", "'-Infinity'", "1e300", "5e-324", "'-0'", "123456789.123456789"],
  text: [
    "''",
    "'plain'",
    `E'"quoted" \\\\ back\\bslash\\f\\n\\r\\t\\x0b\\x01\\x1f\\x7f'`,
    "'é 🌦 \u2028'",
    "repeat('long \" ', 2000)",
  ],
  varchar: ["'v'"],
  "char(5)": ["'ab'"],
  name: ["'a name'"],
  '"char"': ["'x'"],
  uuid: ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"],
  bytea: ["''", String.raw`'\x00ff5c22'`],
  date: [
    "'2024-02-29'",
    "'infinity'",
    "'-infinity'",
    "'0044-03-15 BC'",
    "'0001-01-01'",
    "'4713-01-01 BC'",
    "'12345-06-07'",
    "'5874897-12-31'",
    "'1999-12-31'",
  ],
  time: ["'04:05:06.789'", "'24:00:00'"],
  timetz: ["'04:05:06+02'"],
  timestamp: [
    "'2024-02-29 12:34:56.789012'",
    "'2024-01-01'",
    "'infinity'",
    "'-infinity'",
    "'0044-03-15 10:00:00.5 BC'",
    "'12345-01-01 00:00:00'",
    "'294276-12-31 23:59:59.999999'",
    "'4713-01-01 00:00:00 BC'",
    "'1714-09-30 12:00:00.000001'",
    "'2285-06-01 00:00:00.1'",
  ],
  timestamptz: [
    "'2024-02-29 12:34:56.789+02'",
    "'infinity'",
    "'-infinity'",
    "'0044-03-15 10:00:00+00 BC'",
    "'12345-01-01 00:00:00+00'",
    "'1850-01-01 00:00:00+00'",
    "'294276-12-31 23:59:59+00'",
  ],
  interval: ["'1 year 2 mons -3 days 04:05:06.7'", "'0'"],
  json: [`'{"a" :\n[1, "\\n", null]}'`, `'"text"'`, "'null'", "E'[1,\\r\\n\\t2]'"],
  jsonb: [String.raw`'{"b": 1.50, "a": "\\ \" \n \u0001", "c": []}'`, "'\"s\"'", "'7'"],
  inet: ["'10.0.0.1/24'", "'::1'"],
  cidr: ["'10.0.0.0/8'"],
  macaddr: ["'08:00:2b:01:02:03'"],
  money: ["'12.34'"],
  oid: ["42"],
  regclass: ["'pg_class'"],
  point: ["'(1,2)'"],
  tsvector: ["'a fat cat'"],
  bit: ["B'1'"],
  xid: ["'5'"],
  int4range: ["'[1,5)'", "'empty'"],
  tstzrange: ["'[2024-01-01 00:00+00,)'"],
  int4multirange: ["'{[1,2),[5,7)}'"],
  mood: ["'sunny'", "'wind \"gusts\"'"],
  celsius: ["21.5", "'NaN'"],
  reading: [`'("2024-01-01 00:00:00+00",1.5)'`, "'(,)'"],
  "int4[]": ["'{1,NULL,3}'", "'{}'", "'{{1,2},{3,4}}'"],
  "text[]": [`'{"a \\"b\\"",NULL,"\\\\\\\\"}'`],
  "timestamptz[]": ["'{2024-01-01 00:00:00+00,infinity}'"],
  "jsonb[]": [`array['{"a": 1}'::jsonb]`],
  "mood[]": ["'{sunny}'"],
  "reading[]": [`array['("2024-01-01 00:00:00+00",1.5)'::reading]`],
  int2vector: ["'1 2'"],
};

/** A template of constant text, for expressions of the table above; application code has no way to do this. */
const constant = (text: string): Sql => sql(Object.assign([text], { raw: [text] }));

const rowsOfType = (type: string): Sql =>
  constant(
    `${[...values[type]!, "null"].map((value, i) => `select ${i} as i, cast(${value} as ${type}) as v`).join(" union all ")} order by i`,
  );

for (const type of Object.keys(values)) {
  test(`${type} is exported as row_to_json writes it`, async () => {
    const expected = await rowToJson(rowsOfType(type));
    assert.deepEqual(
      await ndjsonRows(rowsOfType(type)),
      expected.map((row) => JSON.parse(row) as unknown),
    );
    // Numbers beyond a double's digits and signs of zero are lost by JSON.parse: compare the digits too, but for white space in json.
    if (!/json/.test(type)) {
      const lines = (await exported(rowsOfType(type), "ndjson")).split("\n").slice(0, -2);
      assert.deepEqual(lines, expected);
    }
    assert.deepEqual(
      JSON.parse(await exported(rowsOfType(type), "json")),
      expected.map((row) => JSON.parse(row) as unknown),
    );
  });

  test(`${type} in CSV can be loaded by COPY and is the same again`, async () => {
    const csv = await exported(rowsOfType(type), "csv");
    await db.transaction(async (tx) => {
      await tx.query(constant(`create temporary table loaded (i int, v ${type}) on commit drop`));
      await copyIn(tx.client, "copy loaded from stdin (format csv, header)", csv);
      const differing = sql`select i, v::text from loaded except all select i, v::text from (${rowsOfType(type)}) as original`;
      assert.deepEqual(await tx.many(differing), []);
      const { count } = await tx.one<{ count: string }>(sql`select count(*) from loaded`);
      assert.equal(Number(count), values[type]!.length + 1);
    });
  });
}

async function copyIn(client: import("pg").ClientBase, text: string, content: string): Promise<void> {
  const { from } = await import("pg-copy-streams");
  const { pipeline } = await import("node:stream/promises");
  await pipeline([content], client.query(from(text)));
}

test("rows of random numbers, texts and times are what row_to_json says", async () => {
  const row = fc.record({
    text: fc.string({ unit: "binary", maxLength: 40 }).map((s) => s.replaceAll("\0", "").toWellFormed()),
    double: fc.double({ noDefaultInfinity: true, noNaN: true }),
    big: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    seconds: fc.double({ min: -2e11, max: 8e12, noNaN: true }),
    days: fc.integer({ min: -730_000, max: 5_000_000 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(row, { minLength: 1, maxLength: 20 }), async (rows) => {
      const given = JSON.stringify(rows.map((each) => ({ ...each, big: String(each.big) })));
      const statement = sql`
        select text, double, big, to_timestamp(seconds) as at, to_timestamp(seconds) at time zone 'UTC' as local, date '2000-01-01' + days as day
        from json_to_recordset(${given}) as t (text text, double float8, big int8, seconds float8, days int4)`;
      assert.deepEqual((await exported(statement, "ndjson")).split("\n").slice(0, -2), await rowToJson(statement));
    }),
    { numRuns: 60 },
  );
});

test("a time zone other than UTC is exported with its offset, as row_to_json writes it", async () => {
  await using abroad = await createDatabase({ url: withOptions(created.url, "-c TimeZone=Asia/Kathmandu -c DateStyle=German") });
  const statement = sql`select timestamptz '2024-02-29 12:34:56.7+00' as at, timestamptz '1850-01-01 00:00+00' as before_zones, date '2024-02-29' as day, timestamp '2024-02-29 01:02:03' as local`;
  const text = async (format: ExportFormat) => Buffer.concat(await abroad.export(statement, { format }).toArray()).toString();
  const { row } = await abroad.one<{ row: string }>(sql`select row_to_json(t)::text as row from (${statement}) as t`);
  assert.equal((await text("ndjson")).split("\n")[0], row);
  const { at, before_zones, day, local } = JSON.parse(row) as Record<string, string>;
  assert.equal(at, "2024-02-29T18:19:56.7+05:45");
  assert.equal(await text("csv"), `at,before_zones,day,local\r\n${at},${before_zones},${day},${local}\r\n`);
});

function withOptions(url: string, options: string): string {
  const changed = new URL(url);
  changed.searchParams.set("options", options);
  return changed.href;
}

test("parameters stay parameters: SQL in them is data, and types are inferred as in any query", async () => {
  const hostile = `'; drop table x; -- " \\ $1 $$`;
  const statement = sql`select ${hostile}::text as a, ${[1, 2]}::int[] as b, ${null}::int as c, ${new Date(0)}::timestamptz as d, ${Buffer.from([0, 255])}::bytea as e, ${7} + 1 as f`;
  assert.deepEqual(await ndjsonRows(statement), [
    { a: hostile, b: [1, 2], c: null, d: "1970-01-01T00:00:00+00:00", e: "\\x00ff", f: 8 },
  ]);
});

test("a statement may end in a semicolon or a comment, have unnamed columns, and be a CTE or VALUES", async () => {
  assert.deepEqual(await ndjsonRows(sql`select array[1] as a; `), [{ a: [1] }]);
  assert.deepEqual(await ndjsonRows(sql`select array[1] as a -- the end`), [{ a: [1] }]);
  assert.deepEqual(await ndjsonRows(sql`select array[1], 2`), [{ array: [1], "?column?": 2 }]);
  assert.deepEqual(await ndjsonRows(sql`with t as (select array[${1}::int] as a) select * from t`), [{ a: [1] }]);
  assert.deepEqual(await ndjsonRows(sql`values (1, array['x'])`), [{ column1: 1, column2: ["x"] }]);
  assert.deepEqual(await ndjsonRows(sql`select array[i] as "a ""b""" from generate_series(3, 1, -1) as i order by i desc`), [
    { 'a "b"': [3] },
    { 'a "b"': [2] },
    { 'a "b"': [1] },
  ]);
});
