// How an export behaves: back-pressure, leaving early, deadlines, failures before, in and behind its rows.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { type IncomingMessage, createServer, get } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import type pg from "pg";
import { Deadline, runInContext } from "../../src/concurrency/index.ts";
import { createManualClock } from "../../src/core/index.ts";
import { type Database, type ExportStream, createDatabase, exportChannel, exportFrom, sql } from "../../src/database/index.ts";
import { type TestDatabase, testDatabase } from "../harness/postgres.ts";
import { sessionsRunning, until, untilFree } from "./running.ts";

let created: TestDatabase;
let db: Database;

before(async () => {
  created = await testDatabase();
  db = await createDatabase({ url: created.url, pool: { size: 2, overflow: 0, acquireTimeout: "5s" } });
});

after(async () => {
  await db.close();
  await created[Symbol.asyncDispose]();
});

const textOf = async (stream: ExportStream): Promise<string> => Buffer.concat(await stream.toArray()).toString();

/** Reads until the stream ends or errors. */
async function readAll(stream: ExportStream): Promise<{ text: string; error: unknown }> {
  const blocks: Buffer[] = [];
  try {
    for await (const block of stream) blocks.push(block as Buffer);
    return { text: Buffer.concat(blocks).toString(), error: undefined };
  } catch (error) {
    return { text: Buffer.concat(blocks).toString(), error };
  }
}

/** The pool serves `size` statements at once: none of its connections is still in use. Returns their processes. */
async function assertPoolWhole(): Promise<number[]> {
  const leases = await Promise.all([db.pool.lease(), db.pool.lease()]);
  try {
    const answers = leases.map(({ client }) => client.query<{ pid: number }>("select pg_backend_pid() as pid"));
    return (await Promise.all(answers)).map(({ rows }) => rows[0]!.pid);
  } finally {
    for (const lease of leases) lease.release();
  }
}

const lines = (text: string): unknown[] =>
  text
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as unknown);

test("a reader that stops makes the server wait, and gets every row when it goes on", async () => {
  const stream = db.export(sql`/* stalled */ select i, repeat('x', 200) as pad from generate_series(1, 200000) as i`, {
    format: "ndjson",
  });
  stream.once("readable", () => {});
  await until("the server waits for its client", async () => (await sessionsRunning(db, "stalled"))[0]?.wait === "ClientWrite");
  assert.ok(stream.readableLength < 2 ** 20, `${stream.readableLength} bytes are held for a reader that does not read`);
  const all = lines(await textOf(stream));
  assert.deepEqual(all.at(-1), { end: true, rows: 200_000 });
  assert.equal(stream.rows, 200_000);
  await assertPoolWhole();
});

for (const format of ["ndjson", "json", "csv"] as const) {
  test(`destroying a stalled ${format} export cancels its statement on the server and gives the connection back before it closes`, async () => {
    const mark = `left ${format}`;
    const stream = db.export(
      sql`/* ${sql.identifier(mark)} */ select generate_series(1, 100000000) as i, repeat('x', 200) as pad`,
      { format },
    );
    await once(stream, "readable");
    await until("the server waits for its client", async () => (await sessionsRunning(db, mark))[0]?.wait === "ClientWrite");
    const [session] = await sessionsRunning(db, mark);
    stream.destroy();
    await once(stream, "close");
    assert.deepEqual(await sessionsRunning(db, mark), []);
    await untilFree(db, mark);
    assert.ok((await assertPoolWhole()).includes(session!.pid), "the connection is used again, not closed");
  });
}

test("an HTTP client that disconnects ends the statement on the server", async () => {
  await using server = await serve((stream) => stream);
  const response = await server.request(sql`/* disconnected */ select generate_series(1, 100000000) as i, repeat('x', 200) as pad`);
  await once(response, "data");
  assert.equal((await sessionsRunning(db, "disconnected")).length, 1);
  response.destroy();
  await untilFree(db, "disconnected");
  await assertPoolWhole();
});

test("a slow HTTP client receives the same bytes as a fast one, although blocks are used again", async () => {
  const statement = sql`select i, md5(i::text) as hash, repeat('é"', 1 + i % 300) as pad from generate_series(1, 60000) as i`;
  const expected = createHash("sha256")
    .update(await textOf(db.export(statement, { format: "csv" })))
    .digest("hex");
  await using server = await serve((stream) => stream);
  const response = await server.request(statement);
  const hash = createHash("sha256");
  let blocks = 0;
  for await (const block of response) {
    hash.update(block as Buffer);
    // Every now and then the socket's buffers fill while we look away for some turns of the loop.
    if (++blocks % 50 === 0) for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(hash.digest("hex"), expected);
});

test("a stream that is never read takes no connection, and can be destroyed", async () => {
  const streams = Array.from({ length: 10 }, () => db.export(sql`select 1`, { format: "json" }));
  await assertPoolWhole();
  for (const stream of streams) {
    stream.destroy();
    await once(stream, "close");
  }
});

test("a stream that is destroyed while it waits for a connection gives it back when it comes", async () => {
  const leases = await Promise.all([db.pool.lease(), db.pool.lease()]);
  const stream = db.export(sql`select 1`, { format: "json" });
  stream.read();
  await until("it waits", () => db.pool.waitingCount === 1);
  stream.destroy();
  await once(stream, "close");
  for (const lease of leases) lease.release();
  await until("nobody waits", () => db.pool.waitingCount === 0);
  await assertPoolWhole();
});

test("an abort ends the export with the signal's reason", async () => {
  const reason = new Error("no longer wanted");
  const controller = new AbortController();
  const stream = db.export(sql`/* aborted */ select pg_sleep(60)`, { format: "json", signal: controller.signal });
  const read = readAll(stream);
  await until("it runs", async () => (await sessionsRunning(db, "aborted")).length === 1);
  controller.abort(reason);
  assert.equal((await read).error, reason);
  await untilFree(db, "aborted");
  assert.equal((await readAll(db.export(sql`select 1`, { format: "json", signal: controller.signal }))).error, reason);
  await assertPoolWhole();
});

test("the deadline of the running work ends the export; NDJSON says so in its last line", async () => {
  const clock = createManualClock();
  using deadline = new Deadline({ timeoutMs: 1_000, clock });
  const stream = runInContext({ requestId: "r", deadline }, () =>
    db.export(
      sql`/* overdue */ select i, repeat('x', 40000) as pad, case when i = 9 then pg_sleep(60) end from generate_series(1, 9) as i`,
      { format: "ndjson" },
    ),
  );
  const read = readAll(stream);
  await until("rows have come although the statement sleeps", () => stream.rows >= 7);
  clock.advance(1_000);
  const { text, error } = await read;
  assert.equal(error, undefined);
  const all = lines(text);
  assert.deepEqual(all.at(-1), { error: { code: "MILLRACE_DEADLINE_EXCEEDED", retryable: true, rows: all.length - 1 } });
  assert.equal(stream.failure, deadline.reason);
  await untilFree(db, "overdue");
});

const failing = sql`select i, repeat('x', 1000) as pad, 1 / (5000 - i) as quotient from generate_series(1, 10000) as i`;

test("a failure midway ends NDJSON with an error line that says nothing of the server's message", async () => {
  const stream = db.export(failing, { format: "ndjson" });
  const { text, error } = await readAll(stream);
  assert.equal(error, undefined);
  const all = lines(text);
  assert.deepEqual(all.at(-1), { error: { code: "MILLRACE_EXPORT_INTERRUPTED", retryable: true, rows: 4_999 } });
  assert.equal(all.length, 5_000);
  assert.equal((stream.failure as pg.DatabaseError).code, "22012");
  await assertPoolWhole();
});

test("a failure midway leaves JSON unterminated and destroys the stream with the error", async () => {
  const { text, error } = await readAll(db.export(failing, { format: "json" }));
  assert.equal((error as pg.DatabaseError).code, "22012");
  assert.ok(text.length > 1_000_000);
  assert.throws(() => JSON.parse(text) as unknown);
  await assertPoolWhole();
});

test("a failure midway destroys a CSV stream with the error, and an HTTP client sees the connection break", async () => {
  assert.equal(((await readAll(db.export(failing, { format: "csv" }))).error as pg.DatabaseError).code, "22012");
  await using server = await serve((stream, destroySocket) => stream.on("error", destroySocket));
  const response = await server.request(failing);
  await assert.rejects(
    async () => {
      for await (const _ of response);
    },
    { code: "ECONNRESET" },
  );
  await assertPoolWhole();
});

test("a failure before the first row is the stream's error in every format, so that a response can still become a problem", async () => {
  for (const format of ["ndjson", "json", "csv"] as const) {
    for (const [statement, code] of [
      [sql`select nonsense from nowhere`, "42P01"],
      [sql`select ${"x"}::int as a`, "22P02"],
      [sql`select 1 / (i - 1) as a from generate_series(1, 3) as i`, "22012"],
      [sql`create table t ()`, "MILLRACE_EXPORT_NO_COLUMNS"],
      [sql`select`, "MILLRACE_EXPORT_NO_COLUMNS"],
      [sql`insert into pg_temp.x values (1) returning *`, "42P01"],
    ] as const) {
      const { text, error } = await readAll(db.export(statement, { format }));
      assert.equal((error as pg.DatabaseError).code, code);
      assert.ok(text === "" || format !== "ndjson", "nothing was sent");
    }
  }
  await assertPoolWhole();
});

test("an export cannot write", async () => {
  await db.query(sql`create table written (i int)`);
  const { error } = await readAll(db.export(sql`insert into written values (1) returning i`, { format: "csv" }));
  assert.equal((error as pg.DatabaseError).code, "25006");
  assert.deepEqual(await db.many(sql`select * from written`), []);
});

test("a lost connection ends NDJSON with an error line and errors the others", async () => {
  for (const format of ["ndjson", "json"] as const) {
    const stream = db.export(sql`/* terminated */ select generate_series(1, 100000000) as i, repeat('x', 200) as pad`, { format });
    await once(stream, "readable");
    const [session] = await sessionsRunning(db, "terminated");
    await db.query(sql`select pg_terminate_backend(${session!.pid})`);
    const { text, error } = await readAll(stream);
    if (format === "json") {
      assert.equal((error as { code?: string }).code, "MILLRACE_EXPORT_INTERRUPTED");
    } else {
      const all = lines(text);
      assert.deepEqual(all.at(-1), { error: { code: "MILLRACE_EXPORT_INTERRUPTED", retryable: true, rows: all.length - 1 } });
    }
    await untilFree(db, "terminated");
    await assertPoolWhole();
  }
});

test("connections that the server has closed while they were idle cost no export", async () => {
  // The pool replaces what has been killed; afterwards two connections are idle.
  const warm = () => Promise.all([1, 2].map(() => db.query(sql`select pg_sleep(0.01)`, { pipeline: false })));
  for (let round = 0; round < 5; round++) {
    await warm();
    assert.ok(db.pool.idleCount > 0);
    await db.query(
      sql`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`,
    );
    assert.equal(await textOf(db.export(sql`select 1 as a`, { format: "csv" })), "a\r\n1\r\n");
  }
  await warm();
});

test("a row larger than maxRowBytes ends the export instead of the process", async () => {
  const statement = sql`/* large */ select i, repeat('x', case when i = 3 then 100000000 else 10 end) as pad from generate_series(1, 1000) as i`;
  const { error } = await readAll(db.export(statement, { format: "json", maxRowBytes: 1_000_000 }));
  assert.equal((error as { code?: string }).code, "MILLRACE_EXPORT_ROW_TOO_LARGE");
  await untilFree(db, "large");
  await assertPoolWhole();
});

test("columns of one name are refused in JSON, which could hold only one of them, and allowed in CSV", async () => {
  const statement = sql`select 1 as a, 2 as a`;
  assert.equal(
    ((await readAll(db.export(statement, { format: "ndjson" }))).error as { code?: string }).code,
    "MILLRACE_EXPORT_COLUMN_DUPLICATE",
  );
  assert.equal(await textOf(db.export(statement, { format: "csv" })), "a,a\r\n1,2\r\n");
});

test("options that do not exist or fit are refused when the export is made", () => {
  assert.throws(() => db.export(sql`select 1`, { format: "xml" as "csv" }), { code: "MILLRACE_OPTION_INVALID" });
  assert.throws(() => db.export(sql`select 1`, { format: "csv", maxRowByte: 1 } as never), { code: "MILLRACE_OPTION_UNKNOWN" });
});

test("inside a transaction an export sees what the transaction wrote, and leaves it open", async () => {
  await db.transaction(async (tx) => {
    await tx.query(sql`create temporary table here (i int) on commit drop`);
    await tx.query(sql`insert into here values (1)`);
    const lease = async () => ({ client: tx.client as pg.Client, inTransaction: true, release() {}, cancel() {} });
    assert.equal(await textOf(exportFrom(lease, sql`select i from here`, { format: "csv" })), "i\r\n1\r\n");
    assert.deepEqual(await tx.many(sql`select i from here`), [{ i: 1 }]);
  });
});

test("what became of an export is on its channel", async () => {
  const complete = exportChannel.next();
  await textOf(db.export(sql`select 1 as a`, { format: "csv" }));
  const { durationMs, ...message } = await complete;
  assert.ok(durationMs > 0);
  assert.deepEqual(message, { format: "csv", outcome: "complete", rows: 1, bytes: 6, error: undefined });
  const failed = exportChannel.next();
  await readAll(db.export(sql`select 1 / 0 as a`, { format: "csv" }));
  assert.equal((await failed).outcome, "failed");
  const cancelled = exportChannel.next();
  const stream = db.export(sql`select generate_series(1, 100000000) as i, repeat('x', 200) as pad`, { format: "csv" });
  await once(stream, "readable");
  stream.destroy();
  assert.equal((await cancelled).outcome, "cancelled");
});

/** A server that answers with the export of the next statement; `prepare` sees the stream before it is piped. */
async function serve(prepare: (stream: ExportStream, destroySocket: () => void) => ExportStream) {
  let statement = sql`select 1`;
  const server = createServer((_, response) => {
    const stream = prepare(db.export(statement, { format: "csv" }), () => response.destroy());
    response.on("close", () => stream.destroy());
    stream.pipe(response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    async request(next: typeof statement): Promise<IncomingMessage> {
      statement = next;
      const [response] = (await once(get({ port, host: "127.0.0.1", agent: false }), "response")) as [IncomingMessage];
      return response;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
