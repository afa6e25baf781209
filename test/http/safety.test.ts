import assert from "node:assert/strict";
import { test } from "node:test";
import { Writable } from "node:stream";
import { pino } from "pino";
import { Type } from "typebox";
import { createApp, endpoint, problem, type AppOptions } from "../../src/http/index.ts";
import { redactedPaths } from "../../src/http/log.ts";
import { open, readAll, send } from "./client.ts";

const start = async (options: Partial<AppOptions> = {}) => {
  const app = createApp({ endpoints: [endpoint("GET /x", {}, ({ request }) => ({ ip: request.ip }))], logger: false, ...options });
  return { app, url: await app.listen({ port: 0 }), [Symbol.asyncDispose]: () => app.close() };
};

test("headers that come a byte at a time are cut", async () => {
  await using app = await start({ headersTimeout: "200ms", requestTimeout: "400ms" });
  const socket = await open(app.url);
  const all = readAll(socket);
  socket.write("GET /x HTTP/1.1\r\nhost: x\r\n");
  const drip = setInterval(() => socket.write("x-slow: 1\r\n"), 20);
  const text = await all;
  clearInterval(drip);
  assert.match(text, /^HTTP\/1\.1 408 [^]*MILLRACE_HTTP_REQUEST_TIMEOUT/);
});

test("a body that never comes is cut", async () => {
  const slow = endpoint("POST /x", {}, () => 1);
  await using app = await start({ endpoints: [slow], headersTimeout: "200ms", requestTimeout: "300ms" });
  const socket = await open(app.url);
  const all = readAll(socket);
  socket.write("POST /x HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{");
  assert.match(await all, /^HTTP\/1\.1 408 /);
});

test("a connection that says nothing is cut", async () => {
  await using app = await start({ headersTimeout: "200ms", requestTimeout: "300ms" });
  const socket = await open(app.url);
  await readAll(socket);
});

test("what is no HTTP is a 400, headers that are too large a 431", async () => {
  await using app = await start();
  for (const [bytes, status] of [
    ["NONSENSE\r\n\r\n", 400],
    [`GET /x HTTP/1.1\r\nhost: x\r\ncookie: ${"a".repeat(20_000)}\r\n\r\n`, 431],
    ["GET /x HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", 400],
  ] as const) {
    const socket = await open(app.url);
    const all = readAll(socket);
    socket.write(bytes);
    const text = await all;
    assert.ok(text.startsWith(`HTTP/1.1 ${status} `), text);
    assert.match(text, /application\/problem\+json/);
  }
});

test("a client's word about its address is believed only from a trusted proxy", async () => {
  const headers = { "x-forwarded-for": "203.0.113.9" };
  await using plain = await start();
  assert.equal(JSON.parse((await send(`${plain.url}/x`, { headers })).text).ip, "127.0.0.1");
  await using behind = await start({ trustProxy: "127.0.0.1" });
  assert.equal(JSON.parse((await send(`${behind.url}/x`, { headers })).text).ip, "203.0.113.9");
});

test("one line per request, without query values and secrets; faults are logged under the same id", async () => {
  const lines: Record<string, unknown>[] = [];
  const sink = new Writable({
    write(chunk, _encoding, done) {
      lines.push(JSON.parse(String(chunk)) as Record<string, unknown>);
      done();
    },
  });
  const logger = pino({ level: "info", redact: [...redactedPaths] }, sink);
  const endpoints = [
    endpoint("GET /fault", { query: { token: Type.Optional(Type.String()) } }, ({ log }) => {
      log.info({ user: { password: "hunter2", name: "ada" }, authorization: "Bearer x" }, "about to fail");
      throw new Error("cause");
    }),
    endpoint("GET /refused", {}, () => {
      throw problem(403, "FORBIDDEN", "No.");
    }),
  ];
  await using app = await start({ endpoints, logger });
  for (const path of ["/fault?token=secret", "/refused", "/nothing?token=secret", "/healthz"])
    await send(app.url + path, { headers: { "x-request-id": "request-0001" } });
  const requests = lines.filter(({ msg }) => msg === "request");
  assert.deepEqual(
    requests.map(({ path, status, route }) => [path, status, route]),
    [
      ["/fault", 500, "/fault"],
      ["/refused", 403, "/refused"],
      ["/nothing", 404, undefined],
    ],
  );
  assert.ok(lines.every(({ requestId }) => requestId === undefined || requestId === "request-0001"));
  const failed = lines.find(({ msg }) => msg === "request failed")!;
  assert.match(JSON.stringify(failed["err"]), /cause/);
  const own = lines.find(({ msg }) => msg === "about to fail")!;
  assert.equal(own["requestId"], "request-0001");
  assert.deepEqual(own["user"], { password: "[Redacted]", name: "ada" });
  assert.doesNotMatch(JSON.stringify(lines), /hunter2|token=secret|Bearer x/);
});
