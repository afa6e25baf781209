import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { type Database, type Page, type Sql, createDatabase, databaseErrors, queryChannel, sql } from "../../src/database/index.ts";
import { type TestDatabase, testDatabase } from "../harness/postgres.ts";

interface Report {
  readonly id: number;
  readonly author: string;
  readonly created_at: Date;
}

const secret = "a secret of thirty-two characters";
const newestFirst = { orderBy: ["created_at desc", "id desc"], limit: 2 };

describe("a keyset page", () => {
  let database: TestDatabase;
  let db: Database;

  before(async () => {
    database = await testDatabase();
    db = await createDatabase({ url: database.url, cursorSecret: secret });
    await db.query(sql`create table report (id int primary key, author text not null, created_at timestamptz not null)`);
    // All in one millisecond: a Date could not tell them apart.
    await db.query(sql`
      insert into report select i, 'author ' || i % 2, timestamptz '2026-03-01 12:00:00+00' + i * interval '1 microsecond' from generate_series(1, 5) i`);
  });
  after(async () => {
    await db.close();
    await database[Symbol.asyncDispose]();
  });

  const ids = (page: Page<Report>) => page.data.map((report) => report.id);
  const refuses = (work: () => Promise<unknown>, code: keyof typeof databaseErrors.table) =>
    assert.rejects(work, (error) => databaseErrors.is(error, code) && !/select \*|\bq\.|millrace:/i.test(error.message));
  const page = (cursor?: string, statement: Sql<Report> = sql<Report>`select * from report`) =>
    db.page({ ...newestFirst, cursor }, statement);

  it("leads forwards and back again through rows that lie microseconds apart", async () => {
    // #region walk
    const request = { orderBy: ["created_at desc", "id desc"], limit: 2 };
    const reports = sql<Report>`select id, author, created_at from report`;

    const first = await db.page(request, reports);
    const second = await db.page({ ...request, cursor: first.page.next! }, reports);
    const last = await db.page({ ...request, cursor: second.page.next! }, reports);
    const back = await db.page({ ...request, cursor: last.page.previous! }, reports);
    // #endregion
    assert.deepEqual([first, second, last, back].map(ids), [[5, 4], [3, 2], [1], [3, 2]]);
    assert.equal(first.page.previous, null);
    assert.equal(last.page.next, null);
  });

  it("holds the statement's own columns and nothing else", async () => {
    assert.deepEqual(Object.keys((await page()).data[0]!), ["id", "author", "created_at"]);
  });

  it("is empty and leads nowhere when there are no rows", async () => {
    const empty = await page(undefined, sql<Report>`select * from report where false`);
    assert.deepEqual(empty, { data: [], page: { next: null, previous: null } });
  });

  it("has no next page when the last rows fill it exactly", async () => {
    const all = await db.page({ ...newestFirst, limit: 5 }, sql<Report>`select * from report`);
    assert.deepEqual([all.data.length, all.page.next], [5, null]);
  });

  it("leads back to the rows that are left when everything behind the cursor is gone", async () => {
    const { next } = (await page()).page;
    const gone = await page(next!, sql<Report>`select * from report where id > 3`);
    assert.deepEqual([gone.data, gone.page.next], [[], null]);
    const left = await page(gone.page.previous!, sql<Report>`select * from report where id > 3`);
    assert.deepEqual([ids(left), left.page.previous, left.page.next], [[5, 4], null, null]);
  });

  it("leads to the start of the list when everything before the cursor is gone", async () => {
    const second = await page((await page()).page.next!);
    const gone = await page(second.page.previous!, sql<Report>`select * from report where id < 4`);
    assert.deepEqual([gone.data, gone.page.previous], [[], null]);
    assert.deepEqual(ids(await page(gone.page.next!, sql<Report>`select * from report where id < 4`)), [3, 2]);
  });

  it("works inside a transaction and sees its rows", async () => {
    await assert.rejects(
      db.transaction(async (tx) => {
        await tx.query(sql`insert into report values (6, 'author 6', now() + interval '100 years')`);
        assert.deepEqual(ids(await tx.page(newestFirst, sql<Report>`select * from report`)), [6, 5]);
        throw new Error("rolled back on purpose");
      }),
      /on purpose/,
    );
  });

  it("costs one statement once the columns are known", async () => {
    const { page: links } = await page();
    const texts: string[] = [];
    using _watching = queryChannel.subscribe(({ text }) => void texts.push(text));
    await page(links.next!);
    assert.equal(texts.length, 1, texts.join("\n"));
  });

  it("uses one statement text for page sizes that are near each other", async () => {
    const texts = new Set<string>();
    using _watching = queryChannel.subscribe(({ text }) => void texts.add(text));
    for (let limit = 4; limit <= 7; limit++) await db.page({ ...newestFirst, limit }, sql<Report>`select * from report`);
    assert.equal(texts.size, 1);
  });

  it("is refused when it would end between rows that the order cannot tell apart", async () => {
    await refuses(() => db.page({ orderBy: ["author"], limit: 1 }, sql`select * from report`), "MILLRACE_KEYSET_ORDER_NOT_UNIQUE");
    // Different text, equal values: 1.0 and 1.00, and a NULL beside a NULL.
    const twins = sql`select * from (values (1.0, null::int), (1.00, null)) as twin (amount, other)`;
    await refuses(() => db.page({ orderBy: ["amount", "other"], limit: 1 }, twins), "MILLRACE_KEYSET_ORDER_NOT_UNIQUE");
    const distinct = sql`select * from (values (1.0), (1.01)) as amounts (amount)`;
    assert.equal((await db.page({ orderBy: ["amount"], limit: 1 }, distinct)).data.length, 1);
  });

  it("is refused for a limit or an order that cannot work", async () => {
    for (const limit of [0, -1, 1.5, NaN, 10_001]) {
      await refuses(() => db.page({ ...newestFirst, limit }, sql`select * from report`), "MILLRACE_KEYSET_LIMIT_INVALID");
    }
    await refuses(
      () => db.page({ orderBy: ["lower(author)"], limit: 1 }, sql`select * from report`),
      "MILLRACE_KEYSET_ORDER_INVALID",
    );
    await refuses(() => db.page({ orderBy: ["missing"], limit: 1 }, sql`select * from report`), "MILLRACE_KEYSET_COLUMN_UNKNOWN");
  });

  it("is refused for a cursor of another order, another scope or another secret", async () => {
    const reports = sql<Report>`select * from report`;
    const { next } = (await db.page({ ...newestFirst, scope: "/reports" }, reports)).page;
    const cursor = next!;
    await refuses(() => db.page({ ...newestFirst, cursor, scope: "/others" }, reports), "MILLRACE_CURSOR_FOREIGN");
    await refuses(
      () => db.page({ ...newestFirst, orderBy: ["id"], cursor, scope: "/reports" }, reports),
      "MILLRACE_CURSOR_FOREIGN",
    );
    await using other = await createDatabase({ url: database.url, cursorSecret: secret.toUpperCase() });
    await refuses(() => other.page({ ...newestFirst, cursor, scope: "/reports" }, reports), "MILLRACE_CURSOR_INVALID");
    assert.deepEqual(ids(await db.page({ ...newestFirst, cursor, scope: "/reports" }, reports)), [3, 2]);
  });

  it("is refused for an altered or hostile cursor, without asking PostgreSQL", async () => {
    const { next } = (await page()).page;
    const texts: string[] = [];
    using _watching = queryChannel.subscribe(({ text }) => void texts.push(text));
    const hostile = [
      "",
      "0",
      "'; drop table report; --",
      `${next!.slice(0, -2)}AA`,
      next!.slice(0, 8) + next!.slice(12),
      "\0",
      "ÿ".repeat(30),
      "A".repeat(5_000),
    ];
    for (const cursor of hostile) await refuses(() => page(cursor), "MILLRACE_CURSOR_INVALID");
    assert.deepEqual(texts, []);
  });

  it("is refused as out of date when a column's type has changed under the cursor", async () => {
    await db.query(sql`create table changing (id text primary key)`);
    await db.query(sql`insert into changing values ('x1'), ('x2')`);
    const request = { orderBy: ["id"], limit: 1 };
    const { next } = (await db.page(request, sql`select id from changing`)).page;
    for (const type of ["int4", "timestamptz", "uuid"]) {
      await db.query(sql`drop table changing`);
      await db.query(sql`create table changing (id ${sql.identifier(type)} primary key)`);
      await refuses(() => db.page({ ...request, cursor: next! }, sql`select id from changing`), "MILLRACE_CURSOR_OUTDATED");
    }
  });

  it("leaves errors of the statement's own parameters to the statement", async () => {
    const { next } = (await page()).page;
    const failing = sql<Report>`select * from report where id = ${"not a number"}`;
    await assert.rejects(() => page(next!, failing), { code: "22P02" });
  });

  it("reaches rows whose NULLs appeared after the column was found to be NOT NULL", async () => {
    await db.query(sql`create table loosened (id int primary key, score int not null)`);
    await db.query(sql`insert into loosened select i, i from generate_series(1, 3) i`);
    const request = { orderBy: ["score desc", "id"], limit: 1 };
    const rows = sql<{ id: number }>`select * from loosened`;
    await db.page(request, rows);
    await db.query(sql`alter table loosened alter column score drop not null`);
    await db.query(sql`update loosened set score = null where id = 2`);
    // NULLs come first: the first page ends at one, and its cursor says so.
    const first = await db.page(request, rows);
    const second = await db.page({ ...request, cursor: first.page.next! }, rows);
    assert.deepEqual([first.data[0]!.id, second.data[0]!.id], [2, 3]);
  });
});
