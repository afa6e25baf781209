// An export as an endpoint's answer, and the two ways to read rows that docs/streaming-export.md shows.

import assert from "node:assert/strict";
import { once } from "node:events";
import { type IncomingMessage, get } from "node:http";
import { after, before, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { Type } from "typebox";
import { type Database, createDatabase, sql } from "../../src/database/index.ts";
import { createApp, endpoint } from "../../src/http/index.ts";
import { type TestDatabase, testDatabase } from "../harness/postgres.ts";
import { untilFree } from "./running.ts";

let created: TestDatabase;
let db: Database;

before(async () => {
  created = await testDatabase();
  db = await createDatabase({ url: created.url });
  await db.query(sql`
    create table reading as
    select i as id, i % 3 as station, timestamptz '2024-01-01 00:00+00' + i * interval '1 minute' as at, i / 10.0 as celsius
    from generate_series(1, 5000) as i`);
});

after(async () => {
  await db.close();
  await created[Symbol.asyncDispose]();
});

// #region endpoint
const exportReadings = endpoint(
  "GET /stations/:station/readings/export",
  {
    params: { station: Type.Integer() },
    query: { format: Type.Union([Type.Literal("ndjson"), Type.Literal("json"), Type.Literal("csv")]) },
    deadline: "none", // a slow reader may take as long as it likes
  },
  ({ params, query, db }) =>
    db.export(sql`select id, at, celsius from reading where station = ${params.station} order by id`, query),
);
// #endregion

const exportFailure = endpoint("GET /failure", { query: { at: Type.Integer() } }, ({ query, db }) =>
  db.export(sql`select i, repeat('x', 1000) as pad, 1 / (i - ${query.at}::int) as quotient from generate_series(1, 3000) as i`, {
    format: "json",
  }),
);

const exportForever = endpoint("GET /forever", {}, ({ db }) =>
  db.export(sql`/* forever */ select generate_series(1, 100000000) as i, repeat('x', 200) as pad`, { format: "ndjson" }),
);

async function withServer(work: (origin: string) => Promise<void>): Promise<void> {
  await using app = createApp({ endpoints: [exportReadings, exportFailure, exportForever], database: db, logger: false });
  await work(await app.listen({ port: 0 }));
}

const request = async (url: string, headers: Record<string, string> = {}): Promise<IncomingMessage> =>
  ((await once(get(url, { agent: false, headers }), "response")) as [IncomingMessage])[0];

test("an endpoint that returns db.export answers with the format's media type and every row", () =>
  withServer(async (origin) => {
    const csv = await fetch(`${origin}/stations/1/readings/export?format=csv`);
    assert.equal(csv.headers.get("content-type"), "text/csv; charset=utf-8; header=present");
    assert.match(await csv.text(), /^id,at,celsius\r\n1,2024-01-01T00:01:00\+00:00,0\.1/);
    const json = await fetch(`${origin}/stations/1/readings/export?format=json`);
    assert.equal(((await json.json()) as unknown[]).length, 1_667);
    const ndjson = await fetch(`${origin}/stations/1/readings/export?format=ndjson`);
    assert.equal(ndjson.headers.get("content-type"), "application/x-ndjson; charset=utf-8");
    assert.match(await ndjson.text(), /\n\{"end":true,"rows":1667\}\n$/);
  }));

test("an export is compressed on its way when the client asks for it", () =>
  withServer(async (origin) => {
    const response = await request(`${origin}/stations/1/readings/export?format=ndjson`, { "accept-encoding": "gzip" });
    assert.equal(response.headers["content-encoding"], "gzip");
    const plain = gunzipSync(Buffer.concat(await response.toArray())).toString();
    assert.match(plain, /\{"end":true,"rows":1667\}\n$/);
  }));

test("a statement that fails before its first row is a problem, not an empty export", () =>
  withServer(async (origin) => {
    const response = await fetch(`${origin}/failure?at=1`);
    assert.equal(response.status, 500);
    assert.equal(response.headers.get("content-type"), "application/problem+json");
    assert.doesNotMatch(await response.text(), /division/);
  }));

test("a statement that fails midway breaks the connection of a JSON export", () =>
  withServer(async (origin) => {
    const response = await request(`${origin}/failure?at=2500`);
    assert.equal(response.statusCode, 200);
    await assert.rejects(response.toArray(), { code: "ECONNRESET" });
  }));

test("a client that leaves in the middle ends the statement", () =>
  withServer(async (origin) => {
    const response = await request(`${origin}/forever`);
    await once(response, "data");
    response.destroy();
    await untilFree(db, "forever");
  }));

test("rows that the program looks at are read one by one", async () => {
  // #region rows
  let warmest = { at: new Date(0), celsius: -Infinity };
  for await (const row of db.stream(sql<{ at: Date; celsius: number }>`select at, celsius::float8 from reading`)) {
    if (row.celsius > warmest.celsius) warmest = row;
  }
  // #endregion
  assert.equal(warmest.celsius, 500);
});
