// The cache over PostgreSQL as its users see it: nobody names a dependency, nobody invalidates, and nothing is older than promised.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { suite, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { drizzle } from "drizzle-orm/node-postgres";
import { sql as drizzleSql } from "drizzle-orm";
import { Kysely, PostgresDialect } from "kysely";
import pg from "pg";
import { type Cache, type FillTools, createCache } from "millrace/cache";
import { Deadline, runInContext } from "millrace/concurrency";
import { type Database, createDatabase, sql } from "millrace/database";
import { type FreshnessOptions, createFreshness } from "millrace/freshness";
import { testDatabase } from "../harness/postgres.ts";

const schema = `
  create table cities (id int primary key, name text not null);
  create table reports (id int primary key, city_id int not null references cities, text text not null);
  create view named as select r.id, r.city_id, c.name, r.text from reports r join cities c on c.id = r.city_id;
  insert into cities values (1, 'Seattle'), (2, 'Lima'), (3, 'Oslo');
  insert into reports select n, 1 + n % 3, 'report ' || n from generate_series(1, 30) n`;

type Process = Awaited<ReturnType<typeof createProcess>>;

/** What one process has: a pool, the feed and a cache of its own. */
async function createProcess(url: string, options: Partial<FreshnessOptions> = {}) {
  // #region create
  const database = await createDatabase({ url });
  const freshness = await createFreshness({ database, ...options });
  const cache = createCache({ ledger: freshness.ledger });
  // #endregion
  await freshness.ready();
  return {
    database,
    freshness,
    cache,
    async [Symbol.asyncDispose]() {
      await cache.close();
      await freshness.close();
      await database.close();
    },
  };
}

async function openDatabase() {
  const { url, ...scratch } = await testDatabase();
  const outsider = new pg.Client({ connectionString: url });
  await outsider.connect();
  await outsider.query(schema);
  return {
    url,
    /** Somebody who knows nothing of Millrace: psql. */
    psql: (text: string) => outsider.query(text),
    async [Symbol.asyncDispose]() {
      await outsider.end();
      await scratch[Symbol.asyncDispose]();
    },
  };
}

// #region fill
const countOf = (database: Database, city: number) => async () =>
  (await database.one(sql<{ n: number }>`select count(*)::int as n from reports where city_id = ${city}`)).n;
// #endregion

/** Reads until the answer is kept: the first read of a table only makes the feed follow it. */
async function warm<Value>(cache: Cache, key: string, fill: (tools: FillTools) => Promise<Value>): Promise<Value> {
  const endMs = performance.now() + 20_000;
  for (;;) {
    const outcome = await cache.read(key, { ttl: "10m" }, fill);
    if (outcome.state === "hit") return outcome.value;
    if (performance.now() > endMs) throw new Error(`${key} is not kept: ${outcome.reason ?? outcome.refusal ?? outcome.state}`);
    await sleep(10);
  }
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 20_000;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`${what}: not within 20 s`);
    await sleep(5);
  }
}

for (const source of ["logical", "triggers"] as const) {
  suite(`the cache over PostgreSQL, fed by ${source}`, () => {
    test("keeps what was read, until somebody writes it; what others read stays", async () => {
      await using at = await openDatabase();
      await using process = await createProcess(at.url, { source });
      const { cache, database } = process;
      for (const city of [1, 2, 3]) assert.equal(await warm(cache, `reports of ${city}`, countOf(database, city)), 10);
      await at.psql("insert into reports values (100, 2, 'by psql')");
      await until(
        "the new report is counted",
        async () => (await cache.get("reports of 2", { ttl: "10m" }, countOf(database, 2))) === 11,
      );
      for (const city of [1, 3]) {
        const outcome = await cache.read(`reports of ${city}`, { ttl: "10m" }, countOf(database, city));
        assert.deepEqual([outcome.state, outcome.value], ["hit", 10]);
      }
      const { dependencies } = await cache.why("reports of 1");
      assert.ok(dependencies.includes("public.reports:city_id=1"), dependencies.join(" "));
    });

    test("an UPDATE that moves a row, a DELETE and a TRUNCATE are seen by all whom they concern", async () => {
      await using at = await openDatabase();
      await using process = await createProcess(at.url, { source });
      const { cache, database } = process;
      const read = (city: number) => cache.get(`reports of ${city}`, { ttl: "10m" }, countOf(database, city));
      const become = (what: string, expected: readonly number[]) =>
        until(what, async () => (await Promise.all([1, 2, 3].map(read))).join() === expected.join());
      for (const city of [1, 2, 3]) await warm(cache, `reports of ${city}`, countOf(database, city));
      await at.psql("update reports set city_id = 2 where id = 3"); // was city 1
      await become("moved", [9, 11, 10]);
      await at.psql("delete from reports where id = 2"); // was city 3
      await become("deleted", [9, 11, 9]);
      await at.psql("truncate reports");
      await become("truncated", [0, 0, 0]);
    });

    test("in the process that wrote, the next read sees it: every time", async () => {
      await using at = await openDatabase();
      await using process = await createProcess(at.url, { source });
      const { cache, database } = process;
      await warm(cache, "reports of 1", countOf(database, 1));
      for (let i = 0; i < 60; i++) {
        if (i % 3 === 0) await database.query(sql`insert into reports values (${1000 + i}, 1, 'single')`);
        else if (i % 3 === 1) {
          await database.transaction(async (tx) => {
            await tx.query(sql`insert into reports values (${1000 + i}, 1, 'in a transaction')`);
          });
        } else {
          const client = await database.pool.connect();
          await client.query("begin");
          await client.query("insert into reports values ($1, 1, 'raw')", [1000 + i]);
          await client.query("commit");
          client.release();
        }
        assert.equal(await cache.get("reports of 1", { ttl: "10m" }, countOf(database, 1)), 11 + i);
      }
    });

    test("in another process, a reader with the writer's token sees it at once, and one without within the bound", async () => {
      await using at = await openDatabase();
      await using writer = await createProcess(at.url, { source });
      await using reader = await createProcess(at.url, { source });
      const read = (demand?: ReturnType<Process["freshness"]["tokens"]["read"]>) =>
        reader.cache.read("reports of 1", { ttl: "10m" }, countOf(reader.database, 1), { demand });
      await warm(reader.cache, "reports of 1", countOf(reader.database, 1));
      for (let i = 0; i < 20; i++) {
        const context = { requestId: `r${i}`, deadline: new Deadline() };
        const token = await runInContext(context, async () => {
          await writer.database.query(sql`insert into reports values (${2000 + i}, 1, 'elsewhere')`);
          return await writer.freshness.tokens.issue();
        });
        const demand = reader.freshness.tokens.read(token!);
        assert.ok(demand);
        assert.equal((await read(demand)).value, 11 + i);
      }
      await writer.database.query(sql`insert into reports values (3000, 1, 'last')`);
      const writtenMs = performance.now();
      while ((await read()).value !== 31) assert.ok(performance.now() - writtenMs < 20_000);
      assert.equal(await writer.freshness.tokens.issue({ requestId: "reads only", deadline: new Deadline() }), undefined);
    });
  });
}

suite("the cache over PostgreSQL", () => {
  test("knows what Kysely, Drizzle, raw pg and views read", async () => {
    await using at = await openDatabase();
    await using process = await createProcess(at.url);
    const { cache, database } = process;
    const kysely = new Kysely<{ reports: { id: number; city_id: number; text: string } }>({
      dialect: new PostgresDialect({ pool: database.pool }),
    });
    const fills: Readonly<Record<string, () => Promise<unknown>>> = {
      kysely: () => kysely.selectFrom("reports").selectAll().where("city_id", "=", 1).orderBy("id").execute(),
      drizzle: async () =>
        (await drizzle(database.pool).execute(drizzleSql`select text from reports where city_id = ${1} order by id`)).rows,
      raw: async () => (await database.pool.query("select text from reports where city_id = $1 order by id", [1])).rows,
      client: async () => {
        const client = await database.pool.connect();
        try {
          return (await client.query("select text from reports where city_id = 1 order by id")).rows;
        } finally {
          client.release();
        }
      },
      view: () => database.many(sql`select text from named where city_id = 1 order by id`),
    };
    for (const [name, fill] of Object.entries(fills)) await warm(cache, name, fill);
    await at.psql("update reports set text = 'changed' where city_id = 1");
    for (const [name, fill] of Object.entries(fills)) {
      await until(`${name} sees the change`, async () =>
        JSON.stringify(await cache.get(name, { ttl: "10m" }, fill)).includes("changed"),
      );
    }
  });

  test("does not keep what it cannot follow, and says why", async () => {
    await using at = await openDatabase();
    await using process = await createProcess(at.url);
    const { cache, database } = process;
    await warm(cache, "reports of 1", countOf(database, 1));
    const reasonOf = async (fill: () => Promise<unknown>) => {
      const { stored, reason } = await cache.read(`key ${Math.random()}`, { ttl: "10m" }, fill);
      assert.equal(stored, false);
      return reason ?? "";
    };
    assert.match(await reasonOf(() => database.many(sql`select random() from cities`)), /random/);
    assert.match(await reasonOf(() => database.many(sql`select * from cities where id = 1 for update`)), /update/i);
    assert.match(await reasonOf(() => database.query(sql`update cities set name = name where id = 1`)), /writes/);
    await database.query(sql`create unlogged table notes (n int)`);
    await process.freshness.ledger.settled();
    await until(
      "the catalogue is known again",
      async () => !/catalogue/.test(await reasonOf(() => database.many(sql`select * from notes`))),
    );
    assert.match(await reasonOf(() => database.many(sql`select * from notes`)), /unlogged/);
  });

  test("a cached function inside a cached answer passes on what it was read from", async () => {
    await using at = await openDatabase();
    await using process = await createProcess(at.url);
    const { cache, database } = process;
    const name = () =>
      cache.get("name of 1", { ttl: "10m" }, () => database.one(sql<{ name: string }>`select name from cities where id = 1`));
    await warm(cache, "name of 1", () => database.one(sql<{ name: string }>`select name from cities where id = 1`));
    const greeting = async () => `Hello ${(await name()).name}`;
    assert.equal(await warm(cache, "greeting", greeting), "Hello Seattle");
    await at.psql("update cities set name = 'Emerald City' where id = 1");
    await until(
      "the greeting follows",
      async () => (await cache.get("greeting", { ttl: "10m" }, greeting)) === "Hello Emerald City",
    );
  });

  test("while the feed is silent, those who ask together share one fill, and none misses what was written before", async () => {
    await using at = await openDatabase();
    // The feed has a role of its own, which loses its sessions and may open no others; the pool's go on.
    const role = `millrace_feed_${randomBytes(6).toString("hex")}`;
    await at.psql(`create role ${role} superuser login password 'feed'`);
    await using _role = {
      async [Symbol.asyncDispose]() {
        await at.psql(`drop owned by ${role}; drop role ${role}`);
      },
    };
    const url = new URL(at.url);
    url.searchParams.set("user", role);
    url.searchParams.set("password", "feed");
    await using process = await createProcess(at.url, { url: url.href });
    const { cache, database } = process;
    await warm(cache, "reports of 1", countOf(database, 1));
    await at.psql(`alter role ${role} nologin`);
    await at.psql(`select pg_terminate_backend(pid) from pg_stat_activity where usename = '${role}'`);
    let fills = 0;
    const counted = (city: number) => () => {
      fills++;
      return countOf(database, city)();
    };
    const read = (key: string, city: number) => Promise.resolve(cache.read(key, { ttl: "10m" }, counted(city)));
    await until("the feed is silent", async () => (await read("reports of 1", 1)).refusal === "feed-silent");
    for (let round = 0; round < 3; round++) {
      await database.query(sql`insert into reports values (${500 + round}, 1, 'while nothing is heard')`);
      fills = 0;
      const outcomes = await Promise.all(Array.from({ length: 200 }, () => read("reports of 1", 1)));
      assert.equal(fills, 1);
      for (const { value, stored, state } of outcomes) assert.deepEqual([value, stored, state], [11 + round, false, "bypass"]);
    }
    // What is for its caller alone is not shared, silent or not.
    fills = 0;
    const volatile = () => (fills++, database.one(sql`select random() from cities limit 1`));
    await Promise.all(Array.from({ length: 20 }, () => cache.get("by chance", { ttl: "10m" }, volatile)));
    assert.equal(fills, 20);
    await at.psql(`alter role ${role} login`);
    await warm(cache, "reports of 1", countOf(database, 1));
    assert.equal(await cache.get("reports of 1", { ttl: "10m" }, () => -1), 13);
  });

  test("a name of the cache's own is invalidated in all processes", async () => {
    await using at = await openDatabase();
    await using one = await createProcess(at.url);
    await using other = await createProcess(at.url);
    let forecast = "sun";
    const read = (process: Process) => process.cache.get("forecast", { ttl: "10m", depends: ["forecast:42"] }, () => forecast);
    assert.deepEqual([await read(one), await read(other)], ["sun", "sun"]);
    forecast = "rain";
    assert.deepEqual([await read(one), await read(other)], ["sun", "sun"]);
    await one.cache.invalidate("forecast:42");
    assert.equal(await read(one), "rain");
    await until("the other follows", async () => (await read(other)) === "rain");
  });

  test("DDL while serving: a column that was added appears, and a view that became another is followed as such", async () => {
    await using at = await openDatabase();
    await using process = await createProcess(at.url);
    const { cache, database } = process;
    const all = () => database.many(sql`select * from cities where id = 1`);
    const view = () => database.many(sql`select name from named where id = 1`);
    await warm(cache, "city", all);
    await warm(cache, "view", view);
    await at.psql("alter table cities add column country text not null default 'US'");
    await until("the column appears", async () => JSON.stringify(await cache.get("city", { ttl: "10m" }, all)).includes("US"));
    await at.psql("create table towns (id int primary key, name text); insert into towns values (1, 'Bree')");
    await at.psql("create or replace view named as select id, 1 as city_id, name, ''::text as text from towns");
    await until("the view is another", async () => JSON.stringify(await cache.get("view", { ttl: "10m" }, view)).includes("Bree"));
    await warm(cache, "view", view);
    await at.psql("update towns set name = 'Dale'");
    await until("the view is followed", async () => JSON.stringify(await cache.get("view", { ttl: "10m" }, view)).includes("Dale"));
  });
});
