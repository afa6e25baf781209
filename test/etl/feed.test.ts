// What a run writes by COPY ends cached answers, in the process that ran it and in others, by either feed.

import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { test } from "node:test";
import { createCache } from "../../src/cache/index.ts";
import { createDatabase, sql } from "../../src/database/index.ts";
import { etl } from "../../src/etl/index.ts";
import { createFreshness } from "../../src/freshness/index.ts";
import { eventually } from "../harness/patience.ts";
import { testDatabase } from "../harness/postgres.ts";

/** A service with a cache. */
async function service(url: string, source: "logical" | "triggers") {
  const database = await createDatabase({ url });
  const freshness = await createFreshness({ database, source });
  const cache = createCache({ ledger: freshness.ledger });
  await freshness.ready();
  const read = () =>
    cache.read("count", { ttl: "10m" }, async () => {
      const { n } = await database.one(sql<{ n: number }>`select count(*)::int as n from readings`);
      return n;
    });
  return {
    database,
    read,
    async [Symbol.asyncDispose]() {
      await cache.close();
      await freshness.close();
      await database.close();
    },
  };
}

for (const source of ["logical", "triggers"] as const) {
  test(`rows that were copied are in cached answers by themselves (${source})`, async () => {
    await using disposable = await testDatabase();
    await using setup = await createDatabase({ url: disposable.url });
    await setup.query(sql`create table readings (id integer primary key, temp double precision)`);
    await using here = await service(disposable.url, source);
    await using there = await service(disposable.url, source);
    for (const { read } of [here, there]) {
      await eventually("the empty answer is kept", async () => (await read()).state === "hit");
      assert.equal((await read()).value, 0);
    }
    const rows = Array.from({ length: 5_000 }, (_, id) => `${id},1.5\n`).join("");
    const result = await etl({
      source: { stream: Readable.from([`id,temp\n${rows}`]), format: "csv", columns: { id: "INTEGER", temp: "DOUBLE" } },
      target: { database: here.database, table: "readings" },
    });
    assert.equal(result.rowsChanged, 5_000);
    assert.equal((await here.read()).value, 5_000, "who has written sees it at once");
    await eventually("the other process sees it", async () => (await there.read()).value === 5_000);
    await eventually("it is kept again", async () => (await there.read()).state === "hit");
  });
}
