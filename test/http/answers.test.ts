import assert from "node:assert/strict";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { PassThrough, Readable } from "node:stream";
import { test } from "node:test";
import { brotliDecompressSync, createGunzip, gunzipSync, zstdDecompressSync } from "node:zlib";
import { Type } from "typebox";
import { concurrencyErrors, group } from "../../src/concurrency/index.ts";
import { requestChannel, createApp, endpoint, type Endpoint, bytes, problem } from "../../src/http/index.ts";
import { open, problemOf, readAll, send } from "./client.ts";

const start = async (endpoints: readonly Endpoint[], options: object = {}) => {
  const app = createApp({ endpoints, logger: false, ...options });
  return { url: await app.listen({ port: 0 }), [Symbol.asyncDispose]: () => app.close() };
};

const large = { text: "Millrace ".repeat(1_000) };
const huge = { text: Array.from({ length: 20_000 }, (_, i) => `line ${i}`).join(" ") };
const decoders = { gzip: gunzipSync, br: brotliDecompressSync, zstd: zstdDecompressSync };

for (const [coding, decode] of Object.entries(decoders)) {
  test(`small, large and huge JSON is right when it is asked for in ${coding}`, async () => {
    await using app = await start([
      endpoint("GET /small", {}, () => ({ a: 1 })),
      endpoint("GET /large", {}, () => large),
      endpoint("GET /huge", {}, async () => huge),
    ]);
    const headers = { "accept-encoding": coding };
    const small = await send(`${app.url}/small`, { headers });
    assert.equal(small.headers["content-encoding"], undefined);
    assert.equal(small.headers["vary"], "accept-encoding");
    for (const [path, value] of [
      ["/large", large],
      ["/huge", huge],
    ] as const) {
      const answer = await send(app.url + path, { headers });
      assert.equal(answer.headers["content-encoding"], coding);
      assert.equal(answer.headers["content-length"], String(answer.body.length));
      assert.deepEqual(JSON.parse(decode(answer.body).toString()), value);
    }
  });
}

test("a client that refuses identity gets even a small body encoded", async () => {
  await using app = await start([endpoint("GET /small", {}, () => ({ a: 1 }))]);
  const answer = await send(`${app.url}/small`, { headers: { "accept-encoding": "gzip, identity;q=0" } });
  assert.deepEqual(JSON.parse(gunzipSync(answer.body).toString()), { a: 1 });
});

test("what must not be encoded is not: pictures, encoded bodies, no-transform, and endpoints that say so", async () => {
  const body = Buffer.alloc(5_000, "a");
  await using app = await start([
    endpoint("GET /png", {}, ({ reply }) => (reply.header("content-type", "image/png"), body)),
    endpoint(
      "GET /encoded",
      {},
      ({ reply }) => (reply.header("content-type", "text/plain").header("content-encoding", "gzip"), body),
    ),
    endpoint("GET /fixed", {}, ({ reply }) => (reply.header("cache-control", "max-age=5, no-transform"), large)),
    endpoint("GET /off", { compress: false }, () => large),
  ]);
  for (const path of ["/png", "/encoded", "/fixed", "/off"]) {
    const answer = await send(app.url + path, { headers: { "accept-encoding": "gzip, br, zstd" } });
    assert.ok(answer.body.length >= 5_000, path);
    assert.equal(answer.headers["vary"], undefined, path);
  }
});

test("HEAD answers with GET's headers and no body, and does not read a stream", async () => {
  let read = 0;
  const source = () =>
    new Readable({
      read() {
        read++;
        this.push(Buffer.alloc(64 * 1024));
      },
    });
  await using app = await start([
    endpoint("GET /large", {}, () => large),
    endpoint("GET /stream", { response: bytes("text/csv") }, () => source()),
  ]);
  const head = await send(`${app.url}/large`, { method: "HEAD", headers: { "accept-encoding": "gzip" } });
  const get = await send(`${app.url}/large`, { headers: { "accept-encoding": "gzip" } });
  assert.equal(head.body.length, 0);
  for (const name of ["content-length", "content-encoding", "content-type", "vary"])
    assert.equal(head.headers[name], get.headers[name], name);
  assert.equal((await send(`${app.url}/stream`, { method: "HEAD" })).status, 200);
  assert.equal(read, 0);
});

test("204 has neither body nor type", async () => {
  await using app = await start([endpoint("DELETE /x", { response: { 204: null } }, async () => {})]);
  const answer = await send(`${app.url}/x`, { method: "DELETE" });
  assert.equal(answer.status, 204);
  assert.equal(answer.headers["content-type"], undefined);
  assert.equal(answer.headers["content-length"], undefined);
});

test("a stream that pauses has delivered what it had, encoded or not", async () => {
  const source = new PassThrough();
  await using app = await start([
    endpoint("GET /stream", { deadline: "none" }, ({ reply }) => (reply.header("content-type", "text/plain"), source)),
  ]);
  const asked = request(`${app.url}/stream`, { agent: false, headers: { "accept-encoding": "gzip" } }).end();
  source.write("first\n");
  const [answer] = (await once(asked, "response")) as [IncomingMessage];
  assert.equal(answer.headers["content-encoding"], "gzip");
  const decoded = answer.pipe(createGunzip());
  const [chunk] = (await once(decoded, "data")) as [Buffer];
  assert.equal(chunk.toString(), "first\n", "before the stream has ended");
  source.end("last\n");
  const rest: Buffer[] = [];
  for await (const part of decoded) rest.push(part as Buffer);
  assert.equal(Buffer.concat(rest).toString(), "last\n");
});

test("a client that does not read holds the stream up", async () => {
  let produced = 0;
  const source = new Readable({
    read() {
      produced += 64 * 1024;
      this.push(Buffer.alloc(64 * 1024, "x"));
    },
  });
  await using app = await start([endpoint("GET /stream", { deadline: "none" }, () => source)]);
  const socket = await open(app.url);
  socket.pause();
  socket.write("GET /stream HTTP/1.1\r\nhost: x\r\n\r\n");
  let before = -1;
  // The kernel's buffers fill; then production stands still.
  for (let same = 0, turns = 0; same < 20; turns++) {
    assert.ok(turns < 20_000, "production never stood still");
    await new Promise((resolve) => setImmediate(resolve));
    same = produced > 0 && produced === before ? same + 1 : 0;
    before = produced;
  }
  assert.ok(produced < 32 * 1024 * 1024, `${produced} bytes were produced for nobody`);
  const closed = new Promise((resolve) => source.once("close", resolve));
  socket.destroy();
  await closed;
});

for (const coding of ["identity", "gzip", "br", "zstd"]) {
  test(`a stream that fails midway does not look complete (${coding})`, async () => {
    const rows = async function* () {
      yield "a".repeat(70_000);
      yield "b";
      throw new Error("the disk is gone");
    };
    await using app = await start([
      endpoint(
        "GET /stream",
        { deadline: "none" },
        ({ reply }) => (reply.header("content-type", "text/plain"), Readable.from(rows())),
      ),
    ]);
    const socket = await open(app.url);
    const all = readAll(socket);
    socket.write(`GET /stream HTTP/1.1\r\nhost: x\r\naccept-encoding: ${coding}\r\n\r\n`);
    const text = await all;
    assert.match(text, /^HTTP\/1\.1 200/);
    assert.doesNotMatch(text, /\r\n0\r\n\r\n$/, "the chunked terminator");
  });
}

test("a stream that fails before its first byte is a problem", async () => {
  await using app = await start([
    endpoint("GET /stream", {}, ({ reply }) => {
      reply.header("content-type", "text/csv").header("content-disposition", "attachment");
      return new Readable({
        read() {
          this.destroy(new Error("secret"));
        },
      });
    }),
  ]);
  const answer = await send(`${app.url}/stream`, { headers: { "accept-encoding": "gzip" } });
  assert.equal(answer.status, 500);
  assert.equal(answer.headers["content-type"], "application/problem+json");
  assert.equal(answer.headers["content-encoding"], undefined);
  assert.equal(answer.headers["content-disposition"], undefined);
  assert.equal(problemOf(answer).code, "MILLRACE_HTTP_INTERNAL");
});

test("what JSON cannot hold is a 500 and not a crash", async () => {
  const circle: Record<string, unknown> = {};
  circle["self"] = circle;
  await using app = await start([endpoint("GET /big", {}, () => ({ n: 1n })), endpoint("GET /circle", {}, async () => circle)]);
  assert.equal((await send(`${app.url}/big`)).status, 500);
  assert.equal((await send(`${app.url}/circle`)).status, 500);
});

test("with checkResponses an answer that breaks its schema is a 500", async () => {
  const Schema = Type.Object({ at: Type.String({ format: "date-time" }), n: Type.Integer() });
  const right = endpoint("GET /right", { response: Schema }, () => ({ at: new Date(), n: 1 }));
  const wrong = endpoint("GET /wrong", { response: Schema }, () => ({ at: "yesterday", n: 1 }));
  await using app = await start([right, wrong], { checkResponses: true });
  assert.equal((await send(`${app.url}/right`)).status, 200);
  assert.equal((await send(`${app.url}/wrong`)).status, 500);
  await using trusting = await start([wrong]);
  assert.equal((await send(`${trusting.url}/wrong`)).status, 200);
});

test("every finished request is published once, with its route, status and bytes", async () => {
  await using app = await start([endpoint("GET /x/:id", { params: { id: Type.Integer() } }, ({ params }) => params)]);
  const next = requestChannel.next((message) => message.route === "/x/:id");
  const answer = await send(`${app.url}/x/5`);
  const message = await next;
  assert.equal(message.status, 200);
  assert.equal(message.bytes, answer.body.length);
  assert.equal(message.requestId, answer.headers["x-request-id"]);
});

test("several failures of a group are answered as the first, and the log has all of them", async () => {
  const lines: [string, Record<string, unknown>][] = [];
  const logger = {
    level: "warn",
    hooks: {
      logMethod(args: unknown[]) {
        lines.push([String(args[1]), args[0] as Record<string, unknown>]);
      },
    },
  };
  const failing = (...failures: (() => unknown)[]) =>
    group((tasks) => {
      for (const failure of failures) {
        void tasks.start(async (deadline) => {
          if (failure !== failures[0]) await new Promise((resolve) => deadline.onAbort(resolve));
          throw failure();
        });
      }
    });
  const late = () => concurrencyErrors.create("MILLRACE_DEADLINE_EXCEEDED", { deadline: "1s" });
  const full = () => concurrencyErrors.create("MILLRACE_SEMAPHORE_FULL", { waiting: 1, permits: 1 });
  const endpoints = [
    endpoint("GET /late", {}, () => failing(late, full)),
    endpoint("GET /hidden", {}, () =>
      failing(
        () => problem(404, "CITY_NOT_FOUND", "No such city.", {}),
        () => new TypeError("hunter2"),
      ),
    ),
  ];
  await using app = await start(endpoints, { logger });
  const first = await send(`${app.url}/late`);
  assert.deepEqual([first.status, problemOf(first).code], [504, "MILLRACE_DEADLINE_EXCEEDED"]);
  const hidden = await send(`${app.url}/hidden`);
  assert.deepEqual([hidden.status, problemOf(hidden).code], [404, "CITY_NOT_FOUND"]);
  assert.doesNotMatch(hidden.text, /hunter2/);
  const [[, passing], [message, fault]] = lines as [(typeof lines)[0], (typeof lines)[0]];
  assert.equal(passing["code"], "MILLRACE_DEADLINE_EXCEEDED");
  assert.deepEqual(
    (passing["more"] as { code: string }[]).map(({ code }) => code),
    ["MILLRACE_SEMAPHORE_FULL"],
  );
  assert.equal(message, "request failed");
  assert.ok((fault["err"] as AggregateError).errors.some((error) => error instanceof TypeError));
  assert.equal(lines.length, 2);
});
