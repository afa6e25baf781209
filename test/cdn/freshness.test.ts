// From a write in PostgreSQL to a purge by the keys of the answers that were read from it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import pg from "pg";
import { createCache } from "../../src/cache/index.ts";
import { type CdnAdapter, akamaiDialect, createCdn } from "../../src/cdn/index.ts";
import { createDatabase } from "../../src/database/index.ts";
import { createFreshness } from "../../src/freshness/index.ts";
import { testDatabase } from "../harness/postgres.ts";

test("whoever writes, what is purged is what the answer depends on, twice, and nothing else", async () => {
  await using scratch = await testDatabase();
  const psql = new pg.Client({ connectionString: scratch.url });
  await psql.connect();
  await psql.query("create table reports (id int primary key, city_id int not null, text text not null)");
  await psql.query("insert into reports values (1, 5, 'Rain.'), (2, 6, 'Sun.')");
  const purged: string[] = [];
  const { promise: firstPurge, resolve: onPurge } = Promise.withResolvers<void>();
  const adapter: CdnAdapter = {
    name: "test",
    dialect: akamaiDialect,
    mostKeys: 100,
    purge: async (keys) => {
      purged.push(...keys);
      onPurge();
    },
    close: async () => {},
    [Symbol.asyncDispose]: async () => {},
  };
  await using database = await createDatabase({ url: scratch.url });
  await using freshness = await createFreshness({ database });
  await using cache = createCache({ ledger: freshness.ledger });
  await freshness.ready();
  const read = (city: number) =>
    cache.get(
      `city ${city}`,
      { ttl: "1m" },
      async () => (await database.pool.query("select text from reports where city_id = $1", [city])).rows,
    );
  // The first answers make the feed follow the table; only those that it follows are kept, and belong on a CDN.
  while (cache.stats().memory!.entries < 2) {
    await read(5);
    await read(6);
    await setTimeout(10);
  }
  // #region follow
  await using cdn = createCdn({ adapters: [adapter], bound: "100ms" });
  using _following = cdn.follow(freshness);
  // #endregion
  await psql.query("update reports set text = 'Snow.' where city_id = 5");
  await firstPurge;
  await cdn.idle();
  const keyOf = (city: number) =>
    cdn.answerFields([`public.reports:city_id=${city}`], { seconds: 60 })["edge-cache-tag"]!.split(",")[1]!;
  assert.equal(purged.filter((key) => key === keyOf(5)).length, 2);
  assert.equal(purged.includes(keyOf(6)), false);
  assert.equal(purged.includes("mall"), false);
  // A change of the schema may have changed anything.
  await psql.query("alter table reports add column weight int");
  while (!purged.includes("mall")) await setTimeout(10);
  await psql.end();
});
