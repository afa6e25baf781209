import assert from "node:assert/strict";
import { test } from "node:test";
import { Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import { bearer } from "./identity/bearer.ts";
import { bytes, keyset, page } from "./schemas.ts";

const invalid = (reason: RegExp) => ({ code: "MILLRACE_HTTP_ENDPOINT_INVALID", message: reason });

test("an endpoint is frozen plain data", () => {
  const made = endpoint("GET /cities/:cityId", { params: { cityId: Type.Integer() }, deadline: "800ms" }, () => "x");
  assert.ok(Object.isFrozen(made));
  assert.equal(made.method, "GET");
  assert.equal(made.path, "/cities/:cityId");
  assert.equal(made.deadlineMs, 800);
  assert.equal(endpoint("GET /", {}, () => 1).deadlineMs, 10_000);
  assert.equal(endpoint("GET /", { deadline: "none" }, () => 1).deadlineMs, Infinity);
});

test("path and params must name the same parameters", () => {
  // @ts-expect-error the types say so too
  assert.throws(() => endpoint("GET /cities/:cityId", {}, () => 1), invalid(/params does not declare it/));
  // @ts-expect-error
  assert.throws(() => endpoint("GET /cities/:cityId", { params: { id: Type.Integer() } }, () => 1), invalid(/cityId/));
});

test("an unknown policy key is refused with the one that was meant", () => {
  // @ts-expect-error
  assert.throws(() => endpoint("GET /", { qurey: {} }, () => 1), {
    code: "MILLRACE_OPTION_UNKNOWN",
    message: /Did you mean "query"/,
  });
});

test("routes, bodies and responses that cannot work are refused where they are written", () => {
  assert.throws(() => endpoint("FETCH /x" as "GET /x", {}, () => 1), invalid(/a method, a space and a path/));
  assert.throws(() => endpoint("GET /a/:b-:c" as "GET /a", {}, () => 1), invalid(/neither plain text nor a parameter/));
  assert.throws(() => endpoint("GET /x", { body: Type.Object({}) }, () => 1), invalid(/has no body/));
  assert.throws(
    () => endpoint("GET /x", { response: { 200: Type.String(), 201: Type.String() } }, () => "x"),
    invalid(/2 success statuses/),
  );
  assert.throws(() => endpoint("GET /x", { headers: { "X-Thing": Type.String() } }, () => 1), invalid(/lower case/));
  assert.throws(() => endpoint("GET /x", { deadline: "0s" }, () => 1), { code: "MILLRACE_OPTION_INVALID" });
});

test("the handler's input and result follow from the policy", () => {
  const City = Type.Object({ id: Type.Integer(), since: Type.String({ format: "date-time" }) });
  const auth = bearer({ identify: (token) => ({ token }), principalId: ({ token }) => token });
  endpoint(
    "PUT /cities/:cityId",
    { params: { cityId: Type.Integer() }, body: City, auth, response: City },
    ({ params, body, principal }) => {
      const id: number = params.cityId;
      const token: string = principal.token;
      return { id: id + body.id, since: token === "" ? new Date() : "2026-01-01T00:00:00Z" };
    },
  );
  endpoint(
    "GET /cities",
    { query: { ...keyset({ orderBy: ["id"], max: 5 }), country: Type.Optional(Type.String()) }, response: page(City) },
    ({ query, db }) => {
      const country: string | undefined = query.country;
      void country;
      return db.page(query, undefined as never);
    },
  );
  endpoint("DELETE /cities/:cityId", { params: { cityId: Type.Integer() }, response: { 204: null } }, () => {});
  endpoint("GET /export", { response: bytes("text/csv") }, () => Buffer.from(""));
  // @ts-expect-error the id is a number
  endpoint("GET /one", { response: City }, () => ({ id: "1", since: "x" }));
  // @ts-expect-error nobody is identified
  endpoint("GET /me", {}, ({ principal }) => principal);
  // @ts-expect-error the parameter is called cityId
  endpoint("GET /c/:cityId", { params: { cityId: Type.Integer() } }, ({ params }) => params.id);
});

test("keyset refuses limits that cannot be", () => {
  assert.throws(() => keyset({ orderBy: ["id"], max: 0 }), RangeError);
  assert.throws(() => keyset({ orderBy: ["id"], max: 10, default: 11 }), RangeError);
});

test("a cache policy stands on GETs only, and with auth it says for whom", () => {
  const auth = bearer({ identify: (token) => ({ token }), principalId: ({ token }) => token });
  const ofTenants = bearer({ identify: (token) => ({ token }), principalId: ({ token }) => token, tenantId: () => "t" });
  // @ts-expect-error a POST has none
  assert.throws(() => endpoint("POST /x", { cache: { ttl: "1m" } }, () => 1), invalid(/cache is for GET endpoints/));
  // @ts-expect-error for whom?
  assert.throws(() => endpoint("GET /x", { auth, cache: { ttl: "1m" } }, () => 1), invalid(/scope: "user" or "tenant"/));
  // @ts-expect-error not for everybody
  assert.throws(() => endpoint("GET /x", { auth, cache: { scope: "public" } }, () => 1), invalid(/scope: "user" or "tenant"/));
  // @ts-expect-error nobody is identified
  assert.throws(() => endpoint("GET /x", { cache: { scope: "user" } }, () => 1), invalid(/needs auth/));
  // @ts-expect-error true is no policy
  assert.throws(() => endpoint("GET /x", { cache: true }, () => 1), invalid(/takes a policy/));
  assert.throws(() => endpoint("GET /x", { auth, cache: { scope: "tenant" } }, () => 1), invalid(/tenantId/));
  assert.throws(() => endpoint("GET /x", { cache: { vary: ["X-Unit"] } }, () => 1), invalid(/lower case/));
  assert.throws(() => endpoint("GET /x", { cache: { vary: ["cookie"] } }, () => 1), invalid(/somebody's own/));
  assert.throws(() => endpoint("GET /x", { cache: { cacheControl: "a\r\nb: c" } }, () => 1), { code: "MILLRACE_OPTION_INVALID" });
  assert.throws(() => endpoint("GET /x", { cache: { tll: "1m" } as object }, () => 1), {
    code: "MILLRACE_OPTION_UNKNOWN",
    message: /Did you mean "ttl"/,
  });
  endpoint("GET /x", { auth, cache: { scope: "user" } }, ({ principal }) => principal.token);
  endpoint("GET /x", { auth: ofTenants, cache: { scope: "tenant" } }, ({ tenantId }) => tenantId);
  endpoint("GET /x", { auth, cache: false }, () => 1);
  const params = { id: Type.Integer() };
  endpoint("GET /x/:id", { params, cache: { depends: ({ params: { id } }) => [`x:${id.toFixed()}`] } }, () => 1);
  // @ts-expect-error the id is a number
  endpoint("GET /x/:id", { params, cache: { depends: ({ params: { id } }) => [id.trim()] } }, () => 1);
});

test("what an endpoint says nothing about is cached when it may be: a GET without auth that is no stream", () => {
  const auth = bearer({ identify: (token) => ({ token }), principalId: ({ token }) => token });
  const kind = ({ cache }: { cache: unknown }) => (typeof cache === "string" ? cache : (cache as { scope: string }).scope);
  assert.equal(kind(endpoint("GET /x", {}, () => 1)), "public");
  assert.equal(kind(endpoint("GET /x", { cache: false }, () => 1)), "off");
  assert.equal(kind(endpoint("GET /x", { auth }, () => 1)), "auth");
  assert.equal(kind(endpoint("POST /x", {}, () => 1)), "method");
  assert.equal(kind(endpoint("GET /x", { deadline: "none" }, () => 1)), "stream");
  assert.equal(kind(endpoint("GET /x", { response: bytes("text/csv") }, () => "")), "stream");
  assert.equal(kind(endpoint("GET /x", { response: bytes("text/csv"), cache: {} }, () => "")), "public");
});
