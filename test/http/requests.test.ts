import assert from "node:assert/strict";
import { Agent } from "node:http";
import { test } from "node:test";
import fc from "fast-check";
import { Type } from "typebox";
import { createApp, endpoint } from "../../src/http/index.ts";
import { open, problemOf, readAll, send, sendJson } from "./client.ts";

const Thing = Type.Object({
  name: Type.String({ minLength: 1, maxLength: 20 }),
  size: Type.Optional(Type.Integer({ minimum: 1 })),
  tags: Type.Optional(Type.Array(Type.String())),
});

const endpoints = [
  endpoint(
    "GET /things/:thingId",
    {
      params: { thingId: Type.Integer({ minimum: 1 }) },
      query: { q: Type.Optional(Type.String()), limit: Type.Integer({ minimum: 1, maximum: 10, default: 5 }) },
    },
    ({ params, query }) => ({ ...params, ...query }),
  ),
  endpoint(
    "GET /named/:name",
    { params: { name: Type.String() }, headers: { "x-kind": Type.Optional(Type.Integer()) } },
    ({ params, headers }) => ({ ...params, kind: headers["x-kind"] }),
  ),
  endpoint("POST /things", { body: Thing, response: { 201: Thing } }, ({ body }) => body),
  endpoint("DELETE /things/:thingId", { params: { thingId: Type.Integer() }, response: { 204: null } }, () => {}),
  endpoint("POST /small", { body: Thing, bodyLimit: 64 }, ({ body }) => body),
  endpoint("GET /broken", {}, () => {
    throw new Error("password=hunter2");
  }),
];

const start = async () => {
  const app = createApp({ endpoints, logger: false });
  return { url: await app.listen({ port: 0 }), [Symbol.asyncDispose]: () => app.close() };
};

test("a valid request reaches the handler with typed values and defaults", async () => {
  await using app = await start();
  const answer = await send(`${app.url}/things/7?q=a%20b`);
  assert.equal(answer.status, 200);
  assert.deepEqual(JSON.parse(answer.text), { thingId: 7, q: "a b", limit: 5 });
  assert.equal(answer.headers["content-length"], String(answer.body.length));
  assert.equal(answer.headers["content-type"], "application/json; charset=utf-8");
});

test("a problem has its type, status, code and request id, and names every field", async () => {
  await using app = await start();
  const answer = await send(`${app.url}/things/0?limit=11&lmit=1&q=a&q=b`, { headers: { "x-request-id": "my-request-1" } });
  assert.equal(answer.status, 400);
  assert.equal(answer.headers["content-type"], "application/problem+json");
  assert.equal(answer.headers["x-request-id"], "my-request-1");
  assert.equal(answer.headers["cache-control"], "no-store");
  const { errors, ...rest } = problemOf(answer);
  assert.deepEqual(
    errors?.map(({ in: place, field }) => `${place}.${field}`),
    ["params.thingId", "query.lmit", "query.q"],
  );
  assert.equal(errors?.[1]?.suggestion, "limit");
  const { detail: _detail, ...fixed } = rest;
  assert.deepEqual(fixed, {
    type: "/docs/problems#MILLRACE_HTTP_REQUEST_INVALID",
    title: "Bad Request",
    status: 400,
    instance: "/things/0",
    code: "MILLRACE_HTTP_REQUEST_INVALID",
    requestId: "my-request-1",
  });
});

test("a forwarded request id that is not one is replaced", async () => {
  await using app = await start();
  for (const id of ["x", "a b c d e f g", "<script>alert(1)</script>", "x".repeat(200)]) {
    const answer = await send(`${app.url}/nothing`, { headers: { "x-request-id": id } });
    assert.notEqual(answer.headers["x-request-id"], id);
    assert.match(String(answer.headers["x-request-id"]), /^[\w-]{8,}$/);
  }
});

for (const [what, body, field] of [
  ["a wrong type", { name: 5 }, "name"],
  ["an unknown field", { name: "x", nmae: "y" }, "nmae"],
  ["a missing field", {}, "name"],
  ["a NUL character", '{"name":"a\\u0000b"}', "name"],
  ["half of a surrogate pair", '{"name":"x","tags":["\\ud800"]}', "tags.0"],
  ["a prototype", '{"name":"x","__proto__":{}}', "__proto__"],
  ["a value of the wrong shape", "[]", ""],
] as const) {
  test(`a body with ${what} is a 400 that names the field`, async () => {
    await using app = await start();
    const answer = await sendJson(`${app.url}/things`, body);
    assert.equal(answer.status, 400);
    assert.equal(problemOf(answer).errors?.find(({ in: place }) => place === "body")?.field, field);
  });
}

test("malformed JSON, invalid UTF-8 and empty bodies are 400, and the connection stays usable", async () => {
  await using app = await start();
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ports = new Set<number | undefined>();
  for (const body of ['{"name":', Buffer.from([0x22, 0xc3, 0x28, 0x22]), "", "\uFEFF{}"]) {
    const answer = await send(`${app.url}/things`, {
      method: "POST",
      agent,
      headers: { "content-type": "application/json" },
      body,
    });
    assert.equal(answer.status, 400);
    ports.add(answer.localPort);
  }
  agent.destroy();
  assert.equal(ports.size, 1);
});

test("another content type, charset or encoding is a 415 that says what is taken", async () => {
  await using app = await start();
  for (const headers of [
    { "content-type": "text/plain" },
    { "content-type": "application/x-www-form-urlencoded" },
    { "content-type": "application/json; charset=latin1" },
    { "content-type": "application/json", "content-encoding": "gzip" },
    {},
  ]) {
    const answer = await send(`${app.url}/things`, { method: "POST", headers, body: '{"name":"x"}' });
    assert.equal(answer.status, 415, JSON.stringify(headers));
    assert.match(problemOf(answer).detail, /Send/);
  }
});

test("a body of 10 MB is a 413 that its sender gets to read, declared or chunked", async () => {
  await using app = await start();
  const body = Buffer.alloc(10 * 1024 * 1024, "a");
  for (const headers of [{ "content-length": String(body.length) }, { "transfer-encoding": "chunked" }]) {
    const answer = await send(`${app.url}/things`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body,
    });
    assert.equal(answer.status, 413);
    assert.equal(problemOf(answer).code, "MILLRACE_HTTP_BODY_TOO_LARGE");
  }
  const small = await sendJson(`${app.url}/small`, { name: "x", tags: ["x".repeat(100)] });
  assert.equal(small.status, 413);
  assert.match(problemOf(small).detail, /64 bytes/);
});

test("a body where none is expected is refused", async () => {
  await using app = await start();
  const answer = await sendJson(`${app.url}/things/5`, { a: 1 }, { method: "DELETE" });
  assert.equal(answer.status, 400);
  assert.equal((await send(`${app.url}/things/5`, { method: "DELETE" })).status, 204);
});

test("unknown paths are 404, known ones with another method 405 with Allow", async () => {
  await using app = await start();
  assert.equal((await send(`${app.url}/nothing?x=1`)).status, 404);
  const answer = await send(`${app.url}/things/5`, { method: "PATCH" });
  assert.equal(answer.status, 405);
  assert.equal(answer.headers["allow"], "DELETE, GET, HEAD");
  assert.equal((await send(`${app.url}/named/${"x".repeat(300)}`)).status, 404);
});

test("broken percent-encoding, NUL and unencoded bytes in a path are 400", async () => {
  await using app = await start();
  for (const path of ["/named/%ff", "/named/%", "/named/%zz", "/named/%c3%28", "/named/a%00b"]) {
    assert.equal((await send(app.url + path)).status, 400, path);
  }
  const socket = await open(app.url);
  const answer = readAll(socket);
  socket.write(Buffer.from("GET /named/\xe9 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "latin1"));
  assert.match(await answer, /^HTTP\/1\.1 400 [^]*MILLRACE_HTTP_(URL|MESSAGE)_INVALID/);
});

test("headers that are declared are read into their types", async () => {
  await using app = await start();
  assert.deepEqual(JSON.parse((await send(`${app.url}/named/a`, { headers: { "x-kind": "5" } })).text), { name: "a", kind: 5 });
  const answer = await send(`${app.url}/named/a`, { headers: { "x-kind": "five" } });
  assert.equal(problemOf(answer).errors?.[0]?.in, "headers");
});

test("a fault of the program is a 500 without a word about it", async () => {
  await using app = await start();
  const answer = await send(`${app.url}/broken`);
  assert.equal(answer.status, 500);
  assert.doesNotMatch(answer.text, /hunter2|stack|\.ts/);
});

test("every answer carries the safe headers", async () => {
  await using app = await start();
  for (const path of ["/things/1", "/things/0", "/nothing", "/broken", "/healthz", "/docs", "/named/%ff"]) {
    const { headers } = await send(app.url + path);
    assert.equal(headers["x-content-type-options"], "nosniff", path);
    assert.match(String(headers["content-security-policy"]), /default-src 'none'/, path);
    assert.equal(headers["referrer-policy"], "no-referrer", path);
    assert.ok(headers["x-request-id"], path);
  }
});

test("nothing that a client puts into a URL or a body is ever a 500", async () => {
  await using app = await start();
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.constantFrom("' or 1=1 --", "\0", "\ud800", "%00", "../../etc/passwd", "1e309", "__proto__", "{{7*7}}"),
  );
  await fc.assert(
    fc.asyncProperty(text, text, fc.jsonValue(), async (name, value, json) => {
      const encoded = `${encodeURIComponent(name.toWellFormed())}=${encodeURIComponent(value.toWellFormed())}`;
      const answers = [
        await send(`${app.url}/things/${encodeURIComponent(value.toWellFormed())}?${encoded}`),
        await sendJson(`${app.url}/things`, json),
        await sendJson(`${app.url}/things`, { name: value, [name]: json }),
      ];
      for (const { status } of answers) assert.ok(status < 500, String(status));
    }),
    { numRuns: 60 },
  );
});
