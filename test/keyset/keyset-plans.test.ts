// What a page costs PostgreSQL: blocks touched, at any depth, under the generic plans that prepared statements end up with.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Client } from "pg";
import { type Database, type QueryOptions, type Queryable, Sql, createDatabase, pageOf, sql } from "../../src/database/index.ts";
import { type TestDatabase, testDatabase } from "../harness/postgres.ts";

const secret = Buffer.alloc(32, 1);
const rows = 150_000;
const limit = 20;
/** 21 rows in 21 different blocks at the worst, and three blocks down the index per range. */
const maxBlocks = 30;

interface Plan {
  readonly "Node Type": string;
  readonly "Shared Hit Blocks": number;
  readonly "Shared Read Blocks": number;
  readonly Plans?: readonly Plan[];
}

/** Each order with the statement that is paged and whether its columns can be NULL. */
const lists: readonly { readonly name: string; readonly orderBy: readonly string[]; readonly statement: Sql }[] = [
  { name: "one direction", orderBy: ["score desc", "id desc"], statement: sql`select * from big` },
  { name: "mixed directions", orderBy: ["score desc", "id"], statement: sql`select * from big` },
  { name: "NULLs last", orderBy: ["seen desc nulls last", "id desc"], statement: sql`select * from big` },
  {
    name: "NULLs first, of one city",
    orderBy: ["seen desc", "id desc"],
    statement: sql`select id, seen from big where city_id = ${7} and score >= ${0}`,
  },
  {
    name: "many ties",
    orderBy: ["city_id", "id desc"],
    statement: sql`select big.id, city_id, filling from big where length(filling) > ${1}`,
  },
];

describe("a keyset page of 20", () => {
  let database: TestDatabase;
  let db: Database;
  let client: Client;

  before(async () => {
    database = await testDatabase();
    db = await createDatabase({ url: database.url });
    client = new Client({ connectionString: database.url });
    await client.connect();
    await client.query(`
      create table big (id bigint primary key, city_id int not null, score int not null, seen timestamptz, filling text not null);
      insert into big select i, i % 100, i * 7919 % 1000, case when i % 10 > 0 then timestamptz '2026-01-01' + (i * 7919 % 100000) * interval '1 second' end, repeat('x', 100)
        from generate_series(1, ${rows}) i;
      create index on big (score desc, id desc);
      create index on big (score desc, id);
      create index on big (seen desc nulls last, id desc);
      create index on big (city_id, seen desc, id desc);
      create index on big (city_id, id desc);
      analyze big;
      set plan_cache_mode = force_generic_plan;
      set max_parallel_workers_per_gather = 0`);
    await client.query("vacuum big");
  });
  after(async () => {
    await client.end();
    await db.close();
    await database[Symbol.asyncDispose]();
  });

  /** The plan of the last statement that `work` runs with query(), which is the page's, as a generic plan. */
  async function planOf(work: (queryable: Queryable) => Promise<unknown>): Promise<Plan> {
    let last: Sql | undefined;
    const recording = {
      query: (statement: Sql, options?: QueryOptions) => db.query((last = statement), options),
      many: (statement: Sql) => db.many(statement),
      one: (statement: Sql) => db.one(statement),
    } as unknown as Queryable; // pageOf uses these three
    await work(recording);
    const { text, values } = last!.render();
    await client.query(`prepare page as ${text}`);
    try {
      const literals = values.map((value) => client.escapeLiteral(String(value))).join(", ");
      const { rows: plans } = await client.query<{ "QUERY PLAN": { Plan: Plan }[] }>(
        `explain (analyze, buffers, format json) execute page (${literals})`,
      );
      return plans[0]!["QUERY PLAN"][0]!.Plan;
    } finally {
      await client.query("deallocate page");
    }
  }

  const scans = (plan: Plan): string[] => [plan["Node Type"], ...(plan.Plans ?? []).flatMap(scans)];

  for (const { name, orderBy, statement } of lists) {
    it(`touches at most ${maxBlocks} blocks at any depth and in both directions: ${name}`, async (t) => {
      const order = orderBy.map((entry) => `q.${entry}`).join(", ");
      const { count } = await db.one<{ count: number }>(sql`select count(*)::int as count from (${statement}) as q`);
      // Cursors from deep inside, without walking there: a page of one row whose statement begins at the depth.
      for (const depth of [0, 0.1, 0.5, 0.89, 0.91, 0.999]) {
        const offset = Math.floor(count * depth);
        const from = sql`select * from (${statement}) as q order by ${new Sql([order], [])} offset ${offset}`;
        const cursor = (await pageOf(db, { orderBy, limit: 1 }, from, secret)).page.next!;
        const forwards = await pageOf(db, { orderBy, limit: 1, cursor }, statement, secret);
        for (const at of [cursor, forwards.page.previous!]) {
          const plan = await planOf((queryable) => pageOf(queryable, { orderBy, limit, cursor: at }, statement, secret));
          const blocks = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"];
          t.diagnostic(`depth ${depth}: ${blocks} blocks`);
          assert.ok(blocks <= maxBlocks, `${blocks} blocks at depth ${depth}`);
          assert.ok(!scans(plan).includes("Seq Scan"));
        }
      }
    });
  }
});
