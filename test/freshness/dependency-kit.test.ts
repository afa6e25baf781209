// The statements that the kit makes by itself, against random writes: keyset pages from their cursors, and rows loaded beside their
// parents. What they were said to depend on must foretell every change.

import assert from "node:assert/strict";
import { test } from "node:test";
import pg from "pg";
import { type StatementObserver, createDatabase, loadMany, loadOne, sql } from "../../src/database/index.ts";
import { type StatementPlans, createStatementPlans, loadCatalogue, namesOf } from "../../src/freshness/dependencies/index.ts";
import { testDatabase } from "../harness/postgres.ts";
import { type TableRows, everyRow, touched } from "./dependency-oracle.ts";
import { Dice, randomOf } from "./dependency-world.ts";

const schema = `
  create table users (id int primary key, name text not null);
  create table reports (id int primary key, city_id int not null, user_id int references users on delete set null, rank int, text text);
  create table comments (id int primary key, report_id int not null references reports on delete cascade, text text);
  insert into users select i, 'user ' || i from generate_series(1, 4) i;
  insert into reports select i, i % 3, i % 5 + nullif(0, i % 5), nullif(i % 4, 0), 'report ' || i from generate_series(1, 14) i where i % 5 > 0;
  insert into comments select i, (array[1, 2, 3, 4, 6])[i % 5 + 1], 'comment ' || i from generate_series(1, 12) i;`;
const written = ["users", "reports", "comments"];

/** Hears what one round of statements depends on. */
class Listener implements StatementObserver {
  readonly names = new Set<string>();
  readonly refused: string[] = [];
  readonly plans: StatementPlans;
  constructor(plans: StatementPlans) {
    this.plans = plans;
  }
  onStatement: StatementObserver["onStatement"] = ({ text, values }) => {
    const plan = this.plans.planOf(text);
    if (!plan.read.cacheable) this.refused.push(`${plan.read.reason}: ${text}`);
    return ({ rows, fields }) => {
      for (const each of plan.dependencies({ values, rows, fields })) for (const name of namesOf(each, true)) this.names.add(name);
    };
  };
}

test("pages and what is loaded beside rows: no answer changes without a write to what it depends on", async (t) => {
  await using database = await testDatabase();
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  try {
    await client.query(schema);
    await using db = await createDatabase({ url: database.url });
    const plans = await createStatementPlans(await loadCatalogue(client));
    const rowsText = everyRow(written, plans.catalogue);
    const everything = async (): Promise<TableRows> => (await client.query<{ data: TableRows }>(rowsText)).rows[0]!.data;
    const dice = new Dice(randomOf(3));
    type Report = { readonly id: number; readonly user_id: number | null };
    const orders = [["id"], ["id desc"], ["rank", "id"], ["rank desc nulls last", "id"], ["text", "id desc"]];
    const ask = async (order: readonly string[], city: number, pages: number): Promise<string> => {
      const seen: unknown[] = [];
      let cursor: string | undefined;
      for (let i = 0; i < pages; i++) {
        const { data, page } = await db.page(
          { orderBy: order, limit: 2, cursor },
          sql<Report>`select id, user_id, rank, text from reports where city_id = ${city}`,
        );
        const withUsers = await loadOne(
          db,
          data,
          { key: "user_id", as: "user", by: "id" },
          (ids) => sql<{ id: number }>`select id, name from users where id = any(${ids})`,
        );
        const withComments = await loadMany(
          db,
          withUsers,
          { key: "id", as: "comments", by: "report_id" },
          (ids) => sql<{ report_id: number }>`select id, report_id, text from comments where report_id = any(${ids}) order by id`,
        );
        seen.push(withComments, page.next === null, page.previous === null);
        if (page.next === null) break;
        cursor = page.next;
      }
      return JSON.stringify(seen);
    };
    await ask(["id"], 1, 1); // makes the secret of cursors, and asks what columns there are
    const write = (): string => {
      const [id, other] = [1 + dice.below(15), dice.below(5)];
      return dice.one([
        `update reports set rank = nullif(${other}, 0) where id = ${id}`,
        `update reports set city_id = ${other % 3} where id = ${id}`,
        `update reports set user_id = nullif(${other}, 0), text = 'x${other}' where id = ${id}`,
        `insert into reports values (${id}, ${other % 3}, 1, ${other}, 'new')`,
        `delete from reports where id = ${id}`,
        `update comments set report_id = ${id}, text = 'y' where id = ${other}`,
        `insert into comments values (${20 + id}, ${id}, 'z')`,
        `update users set name = 'n${id}' where id = ${other}`,
        `delete from users where id = ${other} and ${id} = 1`,
      ]);
    };
    let [changes, survived] = [0, 0];
    for (let round = 0; round < 120; round++) {
      const [order, city, pages] = [dice.one(orders), dice.below(3), 1 + dice.below(3)];
      await ask(order, city, pages); // so that its columns are known already
      const listener = new Listener(plans);
      const hearing = db.pool.observe(listener);
      const before = await ask(order, city, pages);
      hearing[Symbol.dispose]();
      assert.deepEqual(listener.refused, []);
      const rows = await everything();
      const text = write();
      await client.query(text).catch(() => undefined); // a key that is there already, or a report that is not
      const bumped = touched(rows, await everything(), plans.catalogue);
      const foretold = [...listener.names].some((each) => bumped.has(each));
      if ((await ask(order, city, pages)) !== before) {
        changes++;
        assert.ok(
          foretold,
          `${text} changed ${pages} pages by ${order.join()} of ${city}, which depend on ${[...listener.names].join()}`,
        );
      } else if (!foretold && bumped.size > 0) survived++;
    }
    t.diagnostic(JSON.stringify({ changes, survived }));
    assert.ok(changes > 10, "answers changed");
    assert.ok(survived > 10, "answers survived writes");
  } finally {
    await client.end();
  }
});
