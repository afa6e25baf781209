import assert from "node:assert/strict";
import { test } from "node:test";
import { Type } from "typebox";
import { currentContext, group } from "../../src/concurrency/index.ts";
import {
  type Authenticator,
  bearer,
  createApp,
  endpoint,
  optionalBearer,
  unauthenticated,
  type Endpoint,
} from "../../src/http/index.ts";
import { send, sendJson } from "./client.ts";

const start = async (endpoints: readonly Endpoint[]) => {
  const app = createApp({ endpoints, logger: false });
  return { url: await app.listen({ port: 0 }), [Symbol.asyncDispose]: () => app.close() };
};
const options = {
  identify: async (token: string) => (token === "good" ? { id: 7 } : null),
  principalId: ({ id }: { id: number }) => String(id),
};
const as = (authorization: string) => ({ headers: { authorization } });

test("a bearer token becomes the principal; without one, or with a wrong one, the answer is a 401 with its challenge", async () => {
  await using app = await start([
    endpoint("GET /me", { auth: bearer(options), response: Type.Object({ id: Type.Integer() }) }, ({ principal }) => principal),
  ]);
  const me = await send(`${app.url}/me`, as("bearer good"));
  assert.deepEqual(JSON.parse(me.text), { id: 7 });
  assert.equal(me.headers["cache-control"], "no-store");
  const missing = await send(`${app.url}/me`);
  assert.equal(missing.status, 401);
  assert.equal(missing.headers["www-authenticate"], 'Bearer realm="api"');
  for (const authorization of ["Bearer bad", "Bearer", "Bearer a b", `Bearer ${"x".repeat(5_000)}`, "Bearer \u00e9"]) {
    const refused = await send(`${app.url}/me`, as(authorization));
    assert.equal(refused.status, 401, authorization);
    assert.equal(refused.headers["www-authenticate"], 'Bearer realm="api", error="invalid_token"', authorization);
  }
  assert.equal((await send(`${app.url}/me`, as("Basic Z29vZA=="))).headers["www-authenticate"], 'Bearer realm="api"');
});

test("an optional token may be missing, but not wrong", async () => {
  await using app = await start([
    endpoint("GET /x", { auth: optionalBearer(options) }, ({ principal }) => ({ id: principal?.id ?? null })),
  ]);
  assert.deepEqual(JSON.parse((await send(`${app.url}/x`)).text), { id: null });
  assert.deepEqual(JSON.parse((await send(`${app.url}/x`, as("Bearer good"))).text), { id: 7 });
  assert.equal((await send(`${app.url}/x`, as("Bearer bad"))).status, 401);
});

test("who is not identified gets no further: not even a body is read", async () => {
  await using app = await start([endpoint("POST /x", { auth: bearer(options), body: Type.Object({}) }, () => 1)]);
  assert.equal((await sendJson(`${app.url}/x`, "{not json")).status, 401);
  assert.equal((await sendJson(`${app.url}/x`, "{not json", as("Bearer good"))).status, 400);
});

test("the tenant that the authenticator names follows the work: in the handler, its context, and its groups", async () => {
  const of = (auth: Authenticator<{ id: number } | null>, path: "/one" | "/maybe") =>
    endpoint(`GET ${path}`, { auth, deadline: "20s" }, async ({ tenantId }) => ({
      handler: tenantId ?? null,
      group: (await group((tasks) => tasks.start(() => currentContext()?.tenant))) ?? null,
    }));
  const tenantId = ({ id }: { id: number }) => `tenant-${id}`;
  await using app = await start([
    of(bearer<{ id: number } | null>({ ...options, principalId: () => "7", tenantId: (user) => tenantId(user!) }), "/one"),
    of(optionalBearer({ ...options, tenantId }), "/maybe"),
  ]);
  const both = { handler: "tenant-7", group: "tenant-7" };
  for (const path of ["/one", "/maybe"]) assert.deepEqual(JSON.parse((await send(app.url + path, as("Bearer good"))).text), both);
  assert.deepEqual(JSON.parse((await send(`${app.url}/maybe`)).text), { handler: null, group: null });
});

test("any scheme can identify", async () => {
  const byKey: Authenticator<string> = {
    scheme: { name: "apiKey", definition: { type: "apiKey", in: "header", name: "x-api-key" } },
    optional: false,
    identify(request) {
      const key = request.headers["x-api-key"];
      if (key !== "k-1") throw unauthenticated("This needs an API key.", "ApiKey");
      return "partner";
    },
    principalId: (partner) => partner,
  };
  await using app = await start([endpoint("GET /x", { auth: byKey }, ({ principal }) => ({ principal }))]);
  assert.equal((await send(`${app.url}/x`)).headers["www-authenticate"], "ApiKey");
  assert.deepEqual(JSON.parse((await send(`${app.url}/x`, { headers: { "x-api-key": "k-1" } })).text), { principal: "partner" });
  const document = JSON.parse((await send(`${app.url}/openapi.json`)).text) as {
    components: { securitySchemes: object };
    paths: Record<string, Record<string, { security: object[] }>>;
  };
  assert.deepEqual(document.components.securitySchemes, { apiKey: { type: "apiKey", in: "header", name: "x-api-key" } });
  assert.deepEqual(document.paths["/x"]!["get"]!.security, [{ apiKey: [] }]);
});
