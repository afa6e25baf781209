// Keyset pages against PostgreSQL's own ORDER BY and OFFSET, on random tables, orders and page sizes.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import fc from "fast-check";
import { type Database, type Page, Sql, createDatabase, sql } from "../../src/database/index.ts";
import { type TestDatabase, testDatabase } from "../harness/postgres.ts";

interface Item {
  readonly id: string;
}

/** Few values, so that there are ties, and the awkward ones of each type. */
const values = {
  small: fc.constantFrom(-1, 0, 1, 2),
  big: fc.constantFrom("-9007199254740993", "9007199254740992", "9007199254740993", "9223372036854775807"),
  real: fc.constantFrom("-Infinity", "-1.5", "-0", "0", "0.1", "0.30000000000000004", "NaN", "Infinity"),
  exact: fc.constantFrom("-1", "1.0", "1.00", "1.10", "99999999999999999999.5"),
  word: fc.constantFrom("", " ", "a", "A", "ä", "b", "Zebra", "zebra", "a'; drop table item; --", "\\", "日本"),
  folded: fc.constantFrom("a", "A", "b", "B", "ä"),
  moment: fc.constantFrom(
    "2026-01-01 00:00:00.000001+00",
    "2026-01-01 00:00:00.000002+00",
    "2026-01-01 00:00:00+00",
    "0044-03-15 12:00:00+00 BC",
    "infinity",
  ),
  day: fc.constantFrom("2026-01-01", "2026-01-02", "-infinity"),
  tag: fc.constantFrom("00000000-0000-0000-0000-000000000001", "ffffffff-0000-0000-0000-000000000000"),
  yes: fc.boolean(),
  lapse: fc.constantFrom("1 day", "24:00:00", "1 mon", "30 days", "-1 hour"),
} as const;

/** Each column exists twice: `x` may be NULL, `x_set` is declared NOT NULL. */
const columnNames = Object.keys(values).flatMap((name) => [name, `${name}_set`]);

const row = fc.record(
  Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) => [
      [name, fc.option(value as fc.Arbitrary<unknown>, { freq: 2 })],
      [`${name}_set`, value],
    ]),
  ),
);

const direction = fc.constantFrom("", " asc", " desc");
const nulls = fc.constantFrom("", " nulls first", " nulls last");
const orderBy = fc
  .tuple(
    fc.shuffledSubarray(columnNames, { minLength: 0, maxLength: 4 }),
    fc.array(fc.tuple(direction, nulls), { minLength: 5, maxLength: 5 }),
  )
  .map(([names, ways]) => [...names, "id"].map((name, i) => name + ways[i]![0] + ways[i]![1]));

/** Ways to write the same rows: the pages must not care. Two of them make columns NULL that the table declares NOT NULL. */
const bases: Readonly<Record<string, Sql<Item>>> = {
  plain: sql<Item>`select * from item`,
  filtered: sql<Item>`select * from item where small_set >= ${0} -- a comment at the end`,
  "its own order and limit": sql<Item>`select * from item order by id desc limit 15`,
  "a CTE": sql<Item>`with chosen as (select * from item where id > ${3}) select * from chosen`,
  "an outer join": sql<Item>`select other.id as other_id, item.*, other.small_set as joined from item left join item other on other.id = item.id and other.small_set > 0`,
  "values that an outer join made NULL": sql<Item>`
    select base.id, ${new Sql([columnNames.map((name) => `item.${name}`).join(", ")], [])} from item base left join item on item.id = base.id and item.small > 0`,
};

const seed = Date.now() % 2 ** 31;
const orderText = (order: readonly string[]) => new Sql([order.join(", ")], []);
const idsOf = (rows: readonly Item[]) => rows.map(({ id }) => id);

describe(`keyset pages (seed ${seed})`, () => {
  let database: TestDatabase;
  let db: Database;

  before(async () => {
    database = await testDatabase();
    db = await createDatabase({ url: database.url, cursorSecret: "a secret of thirty-two characters" });
    await db.query(sql`create collation folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`);
    const types = {
      small: "int", big: "bigint", real: "float8", exact: "numeric", word: `text collate "en-x-icu"`, folded: "text collate folded",
      moment: "timestamptz", day: "date", tag: "uuid", yes: "boolean", lapse: "interval",
    }; // prettier-ignore
    const columns = Object.entries(types).flatMap(([name, type]) => [`${name} ${type}`, `${name}_set ${type} not null`]);
    await db.query(new Sql([`create table item (id bigint primary key, ${columns.join(", ")})`], []));
  });
  after(async () => {
    await db.close();
    await database[Symbol.asyncDispose]();
  });

  const fill = async (rows: readonly object[]) => {
    await db.query(sql`delete from item`);
    await insert(rows.map((each, i) => ({ id: i + 1, ...each })));
  };
  const insert = async (rows: readonly object[]) => {
    await db.query(sql`insert into item select * from jsonb_populate_recordset(null::item, ${sql.json(rows)}::jsonb)`);
  };

  it("hold the same rows as OFFSET, forwards and backwards, whatever the table, the order and the statement", async () => {
    const scenario = fc.record({
      rows: fc.array(row, { maxLength: 25 }),
      orderBy,
      limit: fc.integer({ min: 1, max: 7 }),
      base: fc.constantFrom(...Object.keys(bases)),
    });
    await fc.assert(
      fc.asyncProperty(scenario, async ({ rows, orderBy: order, limit, base }) => {
        await fill(rows);
        const statement = bases[base]!;
        const all = idsOf(await db.many(sql<Item>`select * from (${statement}\n) as q order by ${orderText(order)}`));
        const request = { orderBy: order, limit };

        const forwards: Page<Item>[] = [await db.page(request, statement)];
        for (let next = forwards[0]!.page.next; next !== null; next = forwards.at(-1)!.page.next) {
          forwards.push(await db.page({ ...request, cursor: next }, statement));
          assert.ok(forwards.length <= all.length + 1, "pages without end");
        }
        assert.equal(forwards.length, Math.max(1, Math.ceil(all.length / limit)));
        for (const [i, { data }] of forwards.entries()) {
          const offset = idsOf(
            await db.many(
              sql<Item>`select * from (${statement}\n) as q order by ${orderText(order)} limit ${limit} offset ${i * limit}`,
            ),
          );
          assert.deepEqual(idsOf(data), offset);
        }
        assert.equal(forwards[0]!.page.previous, null);

        const backwards: Page<Item>[] = [forwards.at(-1)!];
        for (let previous = backwards[0]!.page.previous; previous !== null; previous = backwards[0]!.page.previous) {
          backwards.unshift(await db.page({ ...request, cursor: previous }, statement));
          assert.ok(backwards.length <= all.length + 1, "pages without end");
        }
        assert.deepEqual(
          backwards.flatMap(({ data }) => idsOf(data)),
          all,
        );
        for (const [i, page] of backwards.entries()) assert.equal(page.page.next === null, i === backwards.length - 1);
      }),
      { numRuns: 120, seed },
    );
  });

  it("neither lose nor repeat a row that nobody touches while others come and go between pages", async () => {
    const change = fc.record({ insert: fc.array(row, { maxLength: 3 }), remove: fc.array(fc.nat(40), { maxLength: 3 }) });
    const scenario = fc.record({
      rows: fc.array(row, { minLength: 1, maxLength: 20 }),
      orderBy,
      limit: fc.integer({ min: 1, max: 4 }),
      backward: fc.boolean(),
      changes: fc.array(change, { minLength: 1, maxLength: 8 }),
    });
    await fc.assert(
      fc.asyncProperty(scenario, async ({ rows, orderBy: order, limit, backward, changes }) => {
        await fill(rows);
        const request = { orderBy: order, limit };
        const untouched = new Set(rows.map((_, i) => String(i + 1)));
        let newest = 1_000;
        const applyChange = async ({ insert: added, remove }: (typeof changes)[number]) => {
          await insert(added.map((each) => ({ id: ++newest, ...each })));
          const removed = await db.many(sql<Item>`delete from item where id = any(${remove}) returning id`);
          for (const { id } of removed) untouched.delete(id);
        };

        let page = await db.page(request, bases["plain"]!);
        // Backwards begins at the end, where going forwards arrives.
        if (backward) while (page.page.next !== null) page = await db.page({ ...request, cursor: page.page.next }, bases["plain"]!);
        const seen = idsOf(page.data);
        for (let step = 0, cursor = backward ? page.page.previous : page.page.next; cursor !== null; step++) {
          if (step < changes.length) await applyChange(changes[step]!);
          page = await db.page({ ...request, cursor }, bases["plain"]!);
          if (backward) seen.unshift(...idsOf(page.data));
          else seen.push(...idsOf(page.data));
          cursor = backward ? page.page.previous : page.page.next;
          assert.ok(step < 200, "pages without end");
        }
        assert.equal(new Set(seen).size, seen.length, "a row came twice");
        const ordered = idsOf(await db.many(sql<Item>`select * from item q order by ${orderText(order)}`));
        const kept = (ids: readonly string[]) => ids.filter((id) => untouched.has(id));
        assert.deepEqual(kept(seen), kept(ordered));
      }),
      { numRuns: 80, seed },
    );
  });
});
