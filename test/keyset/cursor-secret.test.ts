import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createDatabase, databaseErrors, ensureCursorSecret, sql } from "../../src/database/index.ts";
import { testDatabase } from "../harness/postgres.ts";

describe("the secret that signs cursors", () => {
  it("is made once, however many processes ask for it at the same time", async () => {
    await using database = await testDatabase();
    const databases = await Promise.all(Array.from({ length: 6 }, () => createDatabase({ url: database.url })));
    try {
      const secrets = await Promise.all(databases.map((db) => ensureCursorSecret(db)));
      assert.equal(secrets[0]!.length, 32);
      for (const secret of secrets) assert.deepEqual(secret, secrets[0]);
    } finally {
      await Promise.all(databases.map((db) => db.close()));
    }
  });

  it("lets one process read the cursors of another", async () => {
    await using database = await testDatabase();
    await using one = await createDatabase({ url: database.url });
    await using other = await createDatabase({ url: database.url });
    const request = { orderBy: ["n"], limit: 2 };
    const numbers = sql<{ n: number }>`select n from generate_series(1, 3) as n`;
    const { page } = await one.page(request, numbers);
    assert.deepEqual((await other.page({ ...request, cursor: page.next! }, numbers)).data, [{ n: 3 }]);
  });

  it("is made although the first page is asked for inside a transaction that is rolled back", async () => {
    await using database = await testDatabase();
    await using db = await createDatabase({ url: database.url });
    await assert.rejects(
      db.transaction(async (tx) => {
        await tx.page({ orderBy: ["n"], limit: 1 }, sql`select 1 as n`);
        throw new Error("rolled back on purpose");
      }),
      /on purpose/,
    );
    assert.equal((await db.one<{ count: number }>(sql`select count(*)::int as count from millrace.secret`)).count, 1);
  });

  it("is asked for as an option when the role may not keep one in the database", async () => {
    await using database = await testDatabase();
    await using db = await createDatabase({ url: database.url });
    const role = `limited_${new URL(database.url).pathname.slice(-8)}`;
    await db.query(sql`create role ${sql.identifier(role)}`);
    try {
      await assert.rejects(
        db.transaction(async (tx) => {
          await tx.query(sql`set local role ${sql.identifier(role)}`);
          await ensureCursorSecret(tx);
        }),
        (error) => databaseErrors.is(error, "MILLRACE_CURSOR_SECRET_UNAVAILABLE") && error.message.includes("cursorSecret"),
      );
    } finally {
      await db.query(sql`drop role ${sql.identifier(role)}`);
    }
  });
});
