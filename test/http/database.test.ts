import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Type } from "typebox";
import { type Database, createDatabase, sql } from "../../src/database/index.ts";
import { type App, bytes, createApp, endpoint, keyset, page } from "../../src/http/index.ts";
import { type TestDatabase, testDatabase } from "../harness/postgres.ts";
import { open, problemOf, send, sendJson } from "./client.ts";

const Item = Type.Object({ id: Type.Integer(), kind: Type.String() });

const endpoints = [
  endpoint(
    "GET /items",
    {
      query: { ...keyset({ orderBy: ["kind", "id desc"], max: 50, default: 3 }), kind: Type.Optional(Type.String()) },
      response: page(Item),
    },
    ({ query, db }) =>
      db.page(
        query,
        sql<{
          id: number;
          kind: string;
        }>`select id, kind from items ${query.kind === undefined ? sql.empty : sql`where kind = ${query.kind}`}`,
      ),
  ),
  endpoint("GET /others", { query: keyset({ orderBy: ["id"], max: 50 }), response: page(Item) }, ({ query, db }) =>
    db.page(query, sql<{ id: number; kind: string }>`select id, kind from items`),
  ),
  endpoint(
    "POST /items",
    { body: Type.Object({ id: Type.Integer(), kind: Type.String() }), response: { 201: Item } },
    ({ body, db }) =>
      db.one(sql<{ id: number; kind: string }>`insert into items (id, kind) values (${body.id}, ${body.kind}) returning id, kind`),
  ),
  endpoint("GET /sleep", { deadline: "100ms" }, ({ db }) => db.many(sql`select pg_sleep(20) /* millrace-sleep */`)),
  endpoint("GET /nap", {}, ({ db }) => db.many(sql`select pg_sleep(20) /* millrace-nap */`)),
  endpoint("GET /export", { deadline: "none", response: bytes("application/x-ndjson") }, ({ db }) =>
    db.export(sql`select i /* millrace-export */, repeat('x', 200) as t from generate_series(1, 3000000) i`, { format: "ndjson" }),
  ),
];

let server: TestDatabase;
let database: Database;
let app: App;
let url: string;

before(async () => {
  server = await testDatabase();
  database = await createDatabase({ url: server.url });
  await database.query(sql`create table items (id int primary key, kind varchar(10) not null)`);
  await database.query(sql`insert into items select i, chr(97 + i % 3) from generate_series(1, 20) i`);
  app = createApp({ endpoints, database, logger: false, checkResponses: true });
  url = await app.listen({ port: 0 });
});
after(async () => {
  await app.close();
  await database.close();
  await server[Symbol.asyncDispose]();
});

/** Waits until a statement with this mark runs, or does not run any more. */
async function untilRunning(mark: string, running: boolean): Promise<void> {
  const untilMs = performance.now() + 10_000;
  for (;;) {
    const { count } = await database.one(sql<{ count: number }>`
      select count(*)::int as count from pg_stat_activity
      where datname = current_database() and state = 'active' and pid <> pg_backend_pid() and query like ${`%${mark}%`} and query not like '%pg_stat_activity%'`);
    if (count > 0 === running) return;
    assert.ok(performance.now() < untilMs, `${mark} ${running ? "never ran" : "still runs"}`);
  }
}

test("links lead through a whole list and back, keeping the rest of the query", async () => {
  const ids: number[] = [];
  let next: string | undefined = "/items?limit=4&kind=a";
  let previous: string | undefined;
  while (next) {
    const answer = await send(url + next);
    const body = JSON.parse(answer.text) as { data: { id: number; kind: string }[]; page: { next: string | null } };
    ids.push(...body.data.map(({ id }) => id));
    const links = Object.fromEntries(
      [...String(answer.headers["link"]).matchAll(/<([^>]+)>; rel="(\w+)"/g)].map(([, target, rel]) => [rel!, target!]),
    );
    assert.equal(links["next"] !== undefined, body.page.next !== null);
    for (const link of Object.values(links)) assert.match(link, /limit=4&kind=a&cursor=/);
    previous = links["prev"];
    next = links["next"];
  }
  assert.deepEqual(ids, [18, 15, 12, 9, 6, 3]);
  const back = JSON.parse((await send(url + previous!)).text) as { data: { id: number }[] };
  assert.deepEqual(
    back.data.map(({ id }) => id),
    [18, 15, 12, 9],
  );
});

test("a limit outside of its range, and a cursor that is tampered with, foreign or nonsense, are 400 with the field's name", async () => {
  const {
    page: { next },
  } = JSON.parse((await send(`${url}/items`)).text) as { page: { next: string } };
  const tampered = (next.startsWith("A") ? "B" : "A") + next.slice(1);
  for (const path of [
    `/items?cursor=${tampered}`,
    `/others?cursor=${next}`,
    "/items?cursor=nonsense",
    `/items?cursor=${"A".repeat(9_000)}`,
    "/items?cursor=",
  ]) {
    const answer = await send(url + path);
    assert.equal(answer.status, 400, path);
    assert.equal(problemOf(answer).errors?.[0]?.field, "cursor", path);
  }
  for (const limit of ["0", "51", "-1", "x", "1.5", ""]) {
    const answer = await send(`${url}/items?limit=${limit}`);
    assert.equal(problemOf(answer).errors?.[0]?.field, "limit");
  }
});

test("what the database refuses is the client's fault where it is", async () => {
  assert.equal((await sendJson(`${url}/items`, { id: 1_000, kind: "x" })).status, 201);
  assert.equal((await sendJson(`${url}/items`, { id: 1_000, kind: "x" })).status, 409);
  assert.equal((await sendJson(`${url}/items`, { id: 1_001, kind: "longer than ten" })).status, 400);
  assert.equal((await sendJson(`${url}/items`, { id: 2 ** 40, kind: "x" })).status, 400);
  assert.equal((await sendJson(`${url}/items`, { id: 1_002, kind: "'; drop t" })).status, 201);
});

test("a deadline cancels the statement on the server", async () => {
  assert.equal((await send(`${url}/sleep`)).status, 504);
  await untilRunning("millrace-sleep", false);
});

test("a client that leaves cancels its statement on the server", async () => {
  const socket = await open(url);
  socket.write("GET /nap HTTP/1.1\r\nhost: x\r\n\r\n");
  await untilRunning("millrace-nap", true);
  socket.destroy();
  await untilRunning("millrace-nap", false);
});

test("a client that leaves in the middle of an export ends it on the server", async () => {
  const socket = await open(url);
  socket.write("GET /export HTTP/1.1\r\nhost: x\r\n\r\n");
  await new Promise((resolve) => socket.once("data", resolve));
  socket.pause();
  await untilRunning("millrace-export", true);
  socket.destroy();
  await untilRunning("millrace-export", false);
});

test("readiness follows the database, health does not", async () => {
  await using own = await testDatabase();
  const gone = await createDatabase({ url: own.url });
  await using probing = createApp({ endpoints: [], database: gone, logger: false });
  const probes = await probing.listen({ port: 0 });
  assert.equal((await send(`${probes}/readyz`)).status, 200);
  await gone.close();
  const answer = await send(`${probes}/readyz`);
  assert.equal(answer.status, 503);
  assert.equal(answer.headers["retry-after"], "1");
  assert.equal(answer.headers["cache-control"], "no-store");
  assert.equal((await send(`${probes}/healthz`)).status, 200);
});
