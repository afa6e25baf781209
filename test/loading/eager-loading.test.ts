import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import {
  type Database,
  createDatabase,
  databaseErrors,
  jsonArray,
  jsonObject,
  loadMany,
  loadOne,
  queryChannel,
  sql,
} from "../../src/database/index.ts";
import { type TestDatabase, testDatabase } from "../harness/postgres.ts";

interface Report {
  readonly id: string;
  readonly authorId: number | null;
  readonly text: string;
}
interface Comment {
  readonly id: string;
  readonly reportId: string;
  readonly text: string;
}
interface Author {
  readonly id: number;
  readonly name: string;
}

/** The statements that `work` runs on the test's own tables. */
async function statementsOf(work: () => Promise<unknown>): Promise<number> {
  let statements = 0;
  using _watching = queryChannel.subscribe(({ text }) => void (/report|comment|author/.test(text) && statements++));
  await work();
  return statements;
}

describe("eager loading", () => {
  let database: TestDatabase;
  let db: Database;
  let reports: Report[];

  before(async () => {
    database = await testDatabase();
    db = await createDatabase({ url: database.url });
    await db.query(sql`create table author (id int primary key, name text not null)`);
    await db.query(sql`create table report (id bigint primary key, author_id int, text text not null)`);
    await db.query(sql`create table comment (id bigint primary key, report_id bigint not null, text text not null)`);
    await db.query(sql`insert into author select i, 'author ' || i from generate_series(1, 3) i`);
    await db.query(sql`insert into report select i, nullif(i % 4, 0), 'report ' || i from generate_series(1, 8) i`);
    // Report n has n - 1 comments.
    await db.query(
      sql`insert into comment select r.id * 100 + c, r.id, 'comment ' || c from report r, generate_series(1, r.id::int - 1) c`,
    );
    reports = await db.many(sql<Report>`select id, author_id as "authorId", text from report order by id`);
  });
  after(async () => {
    await db.close();
    await database[Symbol.asyncDispose]();
  });

  const commentsOf = (ids: string[]) =>
    sql<Comment>`select id, report_id as "reportId", text from comment where report_id = any(${ids}) order by id`;
  const comments = { key: "id", as: "comments", by: "reportId" } as const;
  const authorsOf = (ids: number[]) => sql<Author>`select id, name from author where id = any(${ids})`;
  const author = { key: "authorId", as: "author", by: "id" } as const;

  it("takes one statement per relation, however many parents there are", async () => {
    const statements = await statementsOf(async () => {
      // #region relations
      const list = await db.many(sql<Report>`select id, author_id as "authorId", text from report order by id`);
      const withAuthors = await loadOne(
        db,
        list,
        { key: "authorId", as: "author", by: "id" },
        (ids) => sql<Author>`select id, name from author where id = any(${ids})`,
      );
      const withComments = await loadMany(
        db,
        withAuthors,
        { key: "id", as: "comments", by: "reportId" },
        (ids) => sql<Comment>`select id, report_id as "reportId", text from comment where report_id = any(${ids}) order by id`,
      );
      // #endregion
      const [, second] = withComments;
      assert.deepEqual(second, {
        id: "2",
        authorId: 2,
        text: "report 2",
        author: { id: 2, name: "author 2" },
        comments: [{ id: "201", reportId: "2", text: "comment 1" }],
      });
      assert.deepEqual(
        withComments.map((report) => report.comments.length),
        [0, 1, 2, 3, 4, 5, 6, 7],
      );
      assert.deepEqual(withComments.map((report) => report.author?.name ?? null).slice(2, 5), ["author 3", null, "author 1"]);
    });
    assert.equal(statements, 3);
  });

  it("runs no statement when there is nothing to load for", async () => {
    const statements = await statementsOf(async () => {
      assert.deepEqual(await loadMany(db, [] as Report[], comments, commentsOf), []);
      assert.deepEqual(await loadOne(db, [{ id: "1", authorId: null, text: "" }] as Report[], author, authorsOf), [
        { id: "1", authorId: null, text: "", author: null },
      ]);
    });
    assert.equal(statements, 0);
  });

  it("asks for each key once, and not for NULL", async () => {
    const asked: number[][] = [];
    await loadOne(db, reports, author, (ids) => (asked.push(ids), authorsOf(ids)));
    assert.deepEqual(asked, [[1, 2, 3]]);
  });

  it("leaves the parents as they are and keeps their order", async () => {
    const parents = reports.toReversed();
    const before_ = structuredClone(parents);
    const loaded = await loadMany(db, parents, comments, commentsOf);
    assert.deepEqual(parents, before_);
    assert.deepEqual(
      loaded.map(({ id }) => id),
      parents.map(({ id }) => id),
    );
  });

  it("matches a bigint column, which comes as text, with an integer one", async () => {
    const numbered = reports.map(({ id, text }) => ({ id: Number(id), text }));
    const loaded = await loadMany(db, numbered, comments, (ids) => commentsOf(ids.map(String)));
    assert.equal(loaded.at(-1)!.comments.length, 7);
  });

  it("loads the first few of each parent in a given order", async () => {
    // #region limit
    const newest = await loadMany(
      db,
      reports,
      { key: "id", as: "newest", by: "reportId", orderBy: ["id desc"], limitPerParent: 2 },
      (ids) => sql<Comment>`select id, report_id as "reportId", text from comment where report_id = any(${ids})`,
    );
    // #endregion
    assert.deepEqual(
      newest.map((report) => report.newest.length),
      [0, 1, 2, 2, 2, 2, 2, 2],
    );
    assert.deepEqual(newest.at(-1)!.newest, [
      { id: "807", reportId: "8", text: "comment 7" },
      { id: "806", reportId: "8", text: "comment 6" },
    ]);
  });

  it("sees a transaction's rows when given its handle", async () => {
    await assert.rejects(
      db.transaction(async (tx) => {
        await tx.query(sql`insert into comment values (1, 1, 'new')`);
        const [first] = await loadMany(tx, reports.slice(0, 1), comments, commentsOf);
        assert.equal(first!.comments[0]!.text, "new");
        throw new Error("rolled back on purpose");
      }),
      /on purpose/,
    );
  });

  it("refuses rows without the column that they are matched by, and several rows where one is meant", async () => {
    // @ts-expect-error -- the types refuse it too, where they know the columns
    const untyped: Promise<unknown> = loadOne(db, [] as Report[], { ...author, by: "uid" }, authorsOf);
    await untyped;
    const nameless = (ids: number[]) => sql<Author>`select name from author where id = any(${ids})`;
    await assert.rejects(loadOne(db, reports, author, nameless), (error) =>
      databaseErrors.is(error, "MILLRACE_RELATION_COLUMN_MISSING"),
    );
    const twice = (ids: number[]) => sql<Author>`select a.id, a.name from author a, generate_series(1, 2) where a.id = any(${ids})`;
    await assert.rejects(loadOne(db, reports, author, twice), (error) => databaseErrors.is(error, "MILLRACE_RELATION_NOT_UNIQUE"));
  });

  it("refuses a limit per parent without an order, or below one", async () => {
    for (const relation of [
      { ...comments, limitPerParent: 2 },
      { ...comments, orderBy: ["id"], limitPerParent: 0 },
    ]) {
      await assert.rejects(loadMany(db, reports, relation, commentsOf), (error) =>
        databaseErrors.is(error, "MILLRACE_RELATION_LIMIT_INVALID"),
      );
    }
  });

  it("can come as JSON in the parents' own statement", async () => {
    const statements = await statementsOf(async () => {
      // #region json
      const list = await db.many(sql<{ id: string; author: Author | null; comments: { text: string }[] }>`
        select id,
          ${jsonObject(sql`select a.id, a.name from author a where a.id = report.author_id`)} as author,
          ${jsonArray(sql`select c.text from comment c where c.report_id = report.id order by c.id limit ${3}`)} as comments
        from report order by id`);
      // #endregion
      assert.deepEqual(list[0], { id: "1", author: { id: 1, name: "author 1" }, comments: [] });
      assert.deepEqual(list[7], {
        id: "8",
        author: null,
        comments: [{ text: "comment 1" }, { text: "comment 2" }, { text: "comment 3" }],
      });
    });
    assert.equal(statements, 1);
  });
});
