// The README's first example, as it stands there.

import assert from "node:assert/strict";
import { test } from "node:test";
// #region endpoint
import { createApp, createCache, createDatabase, createFreshness, endpoint, keyset, page, sql } from "millrace";
import { Type } from "typebox";

const Report = Type.Object({ id: Type.Integer(), text: Type.String(), createdAt: Type.String({ format: "date-time" }) });

const listReports = endpoint(
  "GET /cities/:cityId/reports",
  {
    params: { cityId: Type.Integer() },
    query: keyset({ orderBy: ["createdAt desc", "id desc"], max: 100 }), // ?limit=…&cursor=…
    response: page(Report),
    deadline: "800ms", // the statement is cancelled on the server, too
  },
  ({ params, query, db }) =>
    db.page(query, sql`select id, text, created_at as "createdAt" from reports where city_id = ${params.cityId}`),
);
// #endregion
import { testDatabase } from "./harness/postgres.ts";

test("the README's endpoint serves pages, refuses what it did not declare, and describes itself", async () => {
  await using empty = await testDatabase();
  const { url } = empty;
  // #region app
  await using database = await createDatabase({ url }); // without a url: the PostgreSQL that comes along
  await using freshness = await createFreshness({ database }); // hears of every commit
  await using cache = createCache({ ledger: freshness.ledger });
  await using app = createApp({ endpoints: [listReports], database, cache, cacheTokens: freshness.tokens });
  const address = await app.listen({ port: 0 });
  // #endregion
  await database.query(
    sql`create table reports (id int generated always as identity, city_id int, text text, created_at timestamptz)`,
  );
  await database.query(
    sql`insert into reports (city_id, text, created_at) select 5, 'report ' || n, timestamptz '2026-01-01' + n * interval '1 minute' from generate_series(1, 5) n`,
  );

  const first = await fetch(`${address}/cities/5/reports?limit=2`);
  assert.equal(first.status, 200);
  const body = (await first.json()) as { data: { text: string }[]; page: { next: string } };
  assert.deepEqual(
    body.data.map(({ text }) => text),
    ["report 5", "report 4"],
  );
  const second = (await (await fetch(`${address}/cities/5/reports?limit=2&cursor=${body.page.next}`)).json()) as typeof body;
  assert.deepEqual(
    second.data.map(({ text }) => text),
    ["report 3", "report 2"],
  );

  // Nobody has named a tag or invalidates anything.
  const statusOf = async () => (await fetch(`${address}/cities/5/reports?limit=2`)).headers.get("cache-status")!;
  const untilMs = performance.now() + 20_000;
  while (!(await statusOf()).includes("; hit;")) assert.ok(performance.now() < untilMs, await statusOf());
  await database.query(sql`insert into reports (city_id, text, created_at) values (5, 'report 6', '2026-02-01')`);
  const third = (await (await fetch(`${address}/cities/5/reports?limit=2`)).json()) as typeof body;
  assert.equal(third.data[0]!.text, "report 6");

  const refused = await fetch(`${address}/cities/5/reports?limt=2`);
  assert.equal(refused.status, 400);
  assert.match(await refused.text(), /limit/);

  const description = (await (await fetch(`${address}/openapi.json`)).json()) as { paths: Record<string, unknown> };
  assert.ok("/cities/{cityId}/reports" in description.paths);
});
