// Whatever takes a pg Pool works on ours: Kysely and Drizzle, reads, writes and transactions.

import assert from "node:assert/strict";
import { test } from "node:test";
import { drizzle } from "drizzle-orm/node-postgres";
import { eq } from "drizzle-orm";
import { integer, pgTable, text, timestamp } from "drizzle-orm/pg-core";
import { type Generated, Kysely, PostgresDialect } from "kysely";
import { Deadline, runInContext } from "millrace/concurrency";
import { createDatabase, queryChannel, sql } from "millrace/database";
import { testDatabase } from "../harness/postgres.ts";

async function cities() {
  const scratch = await testDatabase();
  const db = await createDatabase({ url: scratch.url });
  await db.query(
    sql`create table cities (id int generated always as identity primary key, name text not null, seen timestamptz not null default now())`,
  );
  return {
    db,
    async [Symbol.asyncDispose]() {
      await db.close();
      await scratch[Symbol.asyncDispose]();
    },
  };
}

interface Tables {
  cities: { id: Generated<number>; name: string; seen: Generated<Date> };
}

test("Kysely runs on the pool, and its reads are pipelined", async () => {
  await using at = await cities();
  // #region kysely
  const kysely = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: at.db.pool }) });
  await kysely
    .insertInto("cities")
    .values([{ name: "Seattle" }, { name: "New York City" }])
    .execute();
  const found = await kysely.selectFrom("cities").select(["id", "name"]).where("name", "like", "S%").execute();
  // #endregion
  assert.deepEqual(found, [{ id: 1, name: "Seattle" }]);

  const city = await kysely.transaction().execute(async (trx) => {
    await trx.insertInto("cities").values({ name: "Lima" }).execute();
    return await trx.selectFrom("cities").selectAll().where("name", "=", "Lima").executeTakeFirstOrThrow();
  });
  assert.equal(city.name, "Lima");
  assert.ok(city.seen instanceof Date);
  await assert.rejects(
    kysely.transaction().execute(async (trx) => {
      await trx.insertInto("cities").values({ name: "Atlantis" }).execute();
      throw new Error("sunk");
    }),
    /sunk/,
  );
  const { n } = await kysely
    .selectFrom("cities")
    .select((eb) => eb.fn.countAll<string>().as("n"))
    .executeTakeFirstOrThrow();
  assert.equal(n, "3");
});

const citiesTable = pgTable("cities", {
  id: integer("id").primaryKey().generatedAlwaysAsIdentity(),
  name: text("name").notNull(),
  seen: timestamp("seen", { withTimezone: true }).notNull().defaultNow(),
});

test("Drizzle runs on the pool, reads by pipelined connections and transactions on one of their own", async () => {
  await using at = await cities();
  // #region drizzle
  const orm = drizzle(at.db.pool);
  await orm.insert(citiesTable).values([{ name: "Seattle" }, { name: "Lima" }]);
  const found = await orm.select({ name: citiesTable.name }).from(citiesTable).where(eq(citiesTable.id, 2));
  // #endregion
  assert.deepEqual(found, [{ name: "Lima" }]);
  await assert.rejects(
    orm.transaction(async (tx) => {
      await tx.insert(citiesTable).values({ name: "Atlantis" });
      assert.equal((await tx.select().from(citiesTable)).length, 3);
      throw new Error("sunk");
    }),
    /sunk/,
  );
  assert.equal((await orm.select().from(citiesTable)).length, 2);

  const paths: string[] = [];
  using _subscription = queryChannel.subscribe((message) => paths.push(message.path));
  for (let i = 0; i < 500 && !paths.includes("pipelined"); i++) await orm.select().from(citiesTable).where(eq(citiesTable.id, 1));
  assert.ok(paths.includes("pipelined"));
});

test("a deadline reaches statements that an ORM runs, inside its transactions too", async () => {
  await using at = await cities();
  const kysely = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: at.db.pool }) });
  using deadline = new Deadline({ timeoutMs: 50 });
  const { sql: kyselySql } = await import("kysely");
  await assert.rejects(
    runInContext({ requestId: "r1", deadline }, () =>
      kysely.transaction().execute((trx) => kyselySql`select pg_sleep(60)`.execute(trx)),
    ),
    { code: "57014" },
  );
  const { rows } = await at.db.query(
    sql`select count(*)::int as n from pg_stat_activity where query like '%pg_sleep(60)%' and state = 'active' and pid <> pg_backend_pid()`,
  );
  assert.deepEqual(rows, [{ n: 0 }]);
});
