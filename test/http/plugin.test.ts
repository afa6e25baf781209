import assert from "node:assert/strict";
import { test } from "node:test";
import { fastify } from "fastify";
import { Type } from "typebox";
import { bearer, createApp, endpoint, millracePlugin, openApiDocument, page } from "../../src/http/index.ts";
import { send, sendJson } from "./client.ts";

const endpoints = [
  endpoint(
    "POST /things",
    {
      body: Type.Object({ a: Type.Integer() }),
      tags: ["things"],
      summary: "Make a thing",
      response: { 201: Type.Object({ a: Type.Integer() }), 409: "It exists." },
    },
    ({ body }) => body,
  ),
  endpoint(
    "GET /things/:thingId",
    {
      params: { thingId: Type.Integer() },
      query: { limit: Type.Integer({ default: 5 }), q: Type.Optional(Type.String({ description: "Text." })) },
      auth: bearer({ identify: () => null, principalId: () => "" }),
      response: page(Type.Object({ id: Type.Integer() })),
    },
    () => ({ data: [], page: { next: null, previous: null } }),
  ),
];

test("in an existing Fastify app the plugin changes nothing outside of its own routes", async () => {
  const app = fastify();
  app.post("/own", (request) => request.body);
  app.setErrorHandler((_error, _request, reply) => reply.code(418).send("own"));
  app.get("/fails", () => {
    throw new Error("x");
  });
  await app.register(millracePlugin, { endpoints, prefix: "/v1" });
  const url = await app.listen({ port: 0, host: "127.0.0.1" });
  assert.equal((await sendJson(`${url}/v1/things`, { a: 1 })).status, 201);
  assert.equal((await sendJson(`${url}/v1/things`, { a: "1" })).status, 400);
  assert.equal(
    (await send(`${url}/own`, { method: "POST", headers: { "content-type": "text/plain" }, body: "plain" })).text,
    "plain",
  );
  assert.equal((await send(`${url}/fails`)).status, 418);
  assert.equal((await send(`${url}/v1/readyz`)).status, 200);
  const document = JSON.parse((await send(`${url}/v1/openapi.json`)).text) as { paths: object };
  assert.deepEqual(Object.keys(document.paths), ["/v1/things", "/v1/things/{thingId}"]);
  await app.close();
});

test("createApp's Fastify takes plugins, hooks and routes of one's own", async () => {
  await using app = createApp({ endpoints, logger: false });
  app.fastify.get("/own", () => ({ own: true }));
  app.fastify.addHook("onSend", async (_request, reply) => void reply.header("x-hook", "ran"));
  const url = await app.listen({ port: 0 });
  assert.equal((await send(`${url}/own`)).text, '{"own":true}');
  assert.equal((await sendJson(`${url}/things`, { a: 1 })).headers["x-hook"], "ran");
});

test("an option that does not exist is refused", async () => {
  assert.throws(() => createApp({ endpoints, bodyLimt: 5 } as never), { code: "MILLRACE_OPTION_UNKNOWN", message: /bodyLimit/ });
});

test("the OpenAPI document says what is validated", () => {
  const document = openApiDocument(endpoints, { title: "Things", version: "2" });
  assert.equal(document.openapi, "3.1.0");
  const post = document.paths["/things"]!["post"]!;
  assert.equal(post.operationId, "postThings");
  assert.deepEqual(Object.keys(post.responses), ["201", "400", "409", "default"]);
  const get = document.paths["/things/{thingId}"]!["get"]!;
  assert.deepEqual(
    get.parameters?.map((parameter) => [parameter.name, parameter.in, parameter.required]),
    [
      ["thingId", "path", true],
      ["limit", "query", false],
      ["q", "query", false],
    ],
  );
  assert.deepEqual(get.security, [{ bearer: [] }]);
  assert.deepEqual(document.components.securitySchemes, { bearer: { type: "http", scheme: "bearer" } });
  assert.deepEqual(document.tags, [{ name: "things" }]);
});
