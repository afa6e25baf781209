// The code of docs/{endpoints,problems,identity,health-and-drain,compression,http-safety}.md, run.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fastify as createFastify } from "fastify";
import { Type } from "typebox";
import { type Database, createDatabase, sql } from "../../src/database/index.ts";
import {
  bearer,
  bytes,
  createApp,
  createToken,
  endpoint,
  hashPassword,
  hashToken,
  keyset,
  millracePlugin,
  page,
  problem,
  verifyPassword,
} from "../../src/http/index.ts";
import { testDatabase } from "../harness/postgres.ts";
import { problemOf, send, sendJson } from "./client.ts";

// #region endpoint
const Report = Type.Object({ id: Type.Integer(), text: Type.String(), createdAt: Type.String({ format: "date-time" }) });
type Report = { id: number; text: string; createdAt: Date };

const listReports = endpoint(
  "GET /cities/:cityId/reports",
  {
    params: { cityId: Type.Integer({ minimum: 1, maximum: 2_147_483_647 }) },
    query: { ...keyset({ orderBy: ["createdAt desc", "id desc"], max: 100 }), author: Type.Optional(Type.String()) },
    response: page(Report),
    deadline: "800ms",
    summary: "Reports of a city, newest first",
    tags: ["reports"],
  },
  ({ params, query, db }) => {
    const byAuthor = query.author === undefined ? sql.empty : sql`and author = ${query.author}`;
    return db.page(
      query,
      sql<Report>`select id, text, created_at as "createdAt" from reports where city_id = ${params.cityId} ${byAuthor}`,
    );
  },
);
// #endregion

// #region problem
const getReport = endpoint(
  "GET /reports/:reportId",
  { params: { reportId: Type.Integer({ minimum: 1, maximum: 2_147_483_647 }) }, response: { 200: Report, 404: "No such report." } },
  async ({ params, db }) => {
    const report = await db.maybeOne(
      sql<Report>`select id, text, created_at as "createdAt" from reports where id = ${params.reportId}`,
    );
    if (!report) throw problem(404, "REPORT_NOT_FOUND", `No report has the id ${params.reportId}.`);
    return report;
  },
);
// #endregion

// #region stream
const exportReports = endpoint("GET /reports/export", { deadline: "none", response: bytes("text/csv") }, ({ db }) =>
  db.export(sql`select id, text from reports order by id`, { format: "csv" }),
);
// #endregion

// #region multipart
const uploadNotes = endpoint("POST /notes", { multipart: { files: 2, fileBytes: 1_000_000 } }, async ({ parts }) => {
  const sizes: Record<string, number> = {};
  for await (const part of parts) {
    if (part.kind !== "file") continue;
    let size = 0;
    for await (const chunk of part.stream) size += (chunk as Buffer).length;
    sizes[part.name] = size;
  }
  return sizes;
});
// #endregion

// #region bearer
interface User {
  id: number;
  email: string;
}

const signedIn = bearer<User>({
  identify: async (token, { db }) =>
    (await db.maybeOne(
      sql<User>`select u.id, email from users u join sessions s on s.user_id = u.id where token_hash = ${hashToken(token)}`,
    )) ?? null,
  principalId: (user) => String(user.id),
});

const me = endpoint(
  "GET /me",
  { auth: signedIn, response: Type.Object({ id: Type.Integer(), email: Type.String() }) },
  ({ principal }) => principal,
);
// #endregion

const Credentials = Type.Object({
  email: Type.String({ format: "email", maxLength: 254 }),
  password: Type.String({ minLength: 8, maxLength: 200 }),
});

// #region password
const signUp = endpoint(
  "POST /users",
  { body: Credentials, response: { 201: Type.Object({ id: Type.Integer() }) } },
  async ({ body, db }) => {
    const passwordHash = await hashPassword(body.password);
    return db.one(
      sql<{ id: number }>`insert into users (email, password_hash) values (${body.email}, ${passwordHash}) returning id`,
    );
  },
);

const signIn = endpoint(
  "POST /sessions",
  { body: Credentials, response: { 201: Type.Object({ token: Type.String() }) } },
  async ({ body, db }) => {
    const user = await db.maybeOne(
      sql<{ id: number; hash: string }>`select id, password_hash as hash from users where email = ${body.email}`,
    );
    // Also without a user: an answer that comes sooner would tell which addresses have an account.
    if (!(await verifyPassword(body.password, user?.hash)) || !user)
      throw problem(401, "CREDENTIALS_WRONG", "The email or the password is wrong.");
    const token = createToken();
    await db.query(sql`insert into sessions (user_id, token_hash) values (${user.id}, ${hashToken(token)})`);
    return { token };
  },
);
// #endregion

const endpoints = [listReports, getReport, exportReports, uploadNotes, me, signUp, signIn];

async function prepared(url: string): Promise<Database> {
  const database = await createDatabase({ url });
  await database.query(
    sql`create table reports (id int primary key generated always as identity, city_id int, author text, text text not null, created_at timestamptz not null default now())`,
  );
  await database.query(
    sql`create table users (id int primary key generated always as identity, email text unique not null, password_hash text not null)`,
  );
  await database.query(sql`create table sessions (user_id int references users, token_hash text unique not null)`);
  await database.query(
    sql`insert into reports (city_id, author, text) select 1, 'ada', 'rain ' || i from generate_series(1, 30) i`,
  );
  return database;
}

/** What a composition root does. */
async function serveUntilSignal(database: Database, listening: (url: string) => void): Promise<void> {
  // #region app
  await using app = createApp({ endpoints, database, title: "Weather", logger: false, drainDelay: "5s" });
  listening(await app.listen({ host: "127.0.0.1", port: 0 }));
  await app.untilSignal();
  // #endregion
}

async function inExistingApp(
  database: Database,
): Promise<{ inject(url: string): Promise<{ statusCode: number }>; close(): Promise<unknown> }> {
  // #region plugin
  const fastify = createFastify();
  await fastify.register(millracePlugin, { endpoints, database, prefix: "/v1" });
  // #endregion
  return { inject: (url) => fastify.inject(url), close: () => fastify.close() };
}

test("the documentation's endpoints do what their pages say", async () => {
  await using server = await testDatabase();
  await using database = await prepared(server.url);
  const { promise: listening, resolve } = Promise.withResolvers<string>();
  const ended = serveUntilSignal(database, resolve);
  const url = await listening;

  const list = await send(`${url}/cities/1/reports?limit=2`);
  assert.equal((JSON.parse(list.text) as { data: unknown[] }).data.length, 2);
  assert.match(String(list.headers["link"]), /rel="next"/);
  assert.equal((await send(`${url}/reports/1`)).status, 200);
  assert.equal(problemOf(await send(`${url}/reports/999`)).code, "REPORT_NOT_FOUND");
  assert.equal((await send(`${url}/reports/export`)).text.split("\n").length > 30, true);

  const credentials = { email: "ada@example.org", password: "correct horse" };
  assert.equal((await sendJson(`${url}/users`, credentials)).status, 201);
  assert.equal((await sendJson(`${url}/users`, credentials)).status, 409);
  assert.equal((await sendJson(`${url}/sessions`, { ...credentials, password: "wrong horse" })).status, 401);
  assert.equal((await sendJson(`${url}/sessions`, { ...credentials, email: "eve@example.org" })).status, 401);
  const { token } = JSON.parse((await sendJson(`${url}/sessions`, credentials)).text) as { token: string };
  assert.deepEqual(JSON.parse((await send(`${url}/me`, { headers: { authorization: `Bearer ${token}` } })).text), {
    id: 1,
    email: "ada@example.org",
  });

  const form = new FormData();
  form.set("a", new Blob(["12345"]), "a.txt");
  assert.deepEqual(await (await fetch(`${url}/notes`, { method: "POST", body: form })).json(), { a: 5 });

  process.emit("SIGINT", "SIGINT");
  await ended;
});

test("the documentation's plugin serves below its prefix", async () => {
  await using server = await testDatabase();
  await using database = await prepared(server.url);
  const existing = await inExistingApp(database);
  assert.equal((await existing.inject("/v1/cities/1/reports")).statusCode, 200);
  assert.equal((await existing.inject("/cities/1/reports")).statusCode, 404);
  await existing.close();
});
