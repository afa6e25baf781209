// The code of docs/response-cache.md, run.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Type } from "typebox";
import { createCache } from "../../src/cache/index.ts";
import { bearer, createApp, endpoint } from "../../src/http/index.ts";
import { send } from "./client.ts";
import { createFollowingLedger } from "./following-ledger.ts";

const ledger = createFollowingLedger();
const people: Record<string, { id: number; tenant: string }> = { ada: { id: 1, tenant: "north" }, bob: { id: 2, tenant: "north" } };
const askElsewhere = (cityId: number) => ({ cityId, run: ++runs });
let runs = 0;

// #region policies
const listCities = endpoint("GET /cities", {}, () => {
  ledger.reads("public.cities"); // over PostgreSQL the statements tell by themselves
  return { run: ++runs };
});

const now = endpoint("GET /now", { cache: false }, () => ({ now: new Date() }));

const forecast = endpoint(
  "GET /cities/:cityId/forecast",
  {
    params: { cityId: Type.Integer() },
    cache: { ttl: "10m", stale: "1h", depends: ({ params }) => [`forecast:${params.cityId}`] },
  },
  ({ params }) => askElsewhere(params.cityId),
);

const greeting = endpoint("GET /greeting", { cache: { ttl: "1h", vary: ["accept-language"] } }, ({ headers }) =>
  headers["accept-language"]?.startsWith("de") ? "Guten Tag" : "Good day",
);
// #endregion

// #region scopes
const signedIn = bearer({
  identify: (token) => people[token] ?? null,
  principalId: (person) => String(person.id),
  tenantId: (person) => person.tenant,
});

const listDrafts = endpoint("GET /drafts", { auth: signedIn, cache: { scope: "user" } }, ({ principal }) => {
  ledger.reads(`public.drafts:user_id=${principal.id}`);
  return { of: principal.id, run: ++runs };
});

const listMembers = endpoint("GET /members", { auth: signedIn, cache: { scope: "tenant" } }, ({ tenantId }) => {
  ledger.reads(`public.members:tenant=${tenantId}`);
  return { of: tenantId, run: ++runs };
});
// #endregion

test("the policies of the page do what it says", async () => {
  const endpoints = [listCities, now, forecast, greeting, listDrafts, listMembers];
  // #region app
  await using cache = createCache({ ledger });
  await using app = createApp({ endpoints, cache, logger: false });
  // #endregion
  const url = await app.listen({ port: 0 });
  const ask = async (path: string, headers: Record<string, string> = {}) => {
    const answer = await send(url + path, { headers });
    return `${answer.text} ${String(answer.headers["cache-status"]).split(";")[1]!.trim()}`;
  };
  const twice = async (path: string, headers?: Record<string, string>) => {
    const first = await ask(path, headers);
    assert.match(first, /fwd=uri-miss$/);
    assert.equal(await ask(path, headers), first.replace("fwd=uri-miss", "hit"));
  };
  await twice("/cities");
  assert.match(await ask("/now"), /fwd=bypass$/);
  await twice("/cities/7/forecast");
  await twice("/greeting", { "accept-language": "de" });
  await twice("/greeting", { "accept-language": "en" });
  await twice("/drafts", { authorization: "Bearer ada" });
  await twice("/drafts", { authorization: "Bearer bob" });
  await twice("/members", { authorization: "Bearer ada" });
  assert.match(await ask("/members", { authorization: "Bearer bob" }), /north.*hit$/);
  // #region invalidate
  await cache.invalidate("forecast:7");
  // #endregion
  assert.match(await ask("/cities/7/forecast"), /fwd=stale$/);
  assert.match(await ask("/cities"), /hit$/);
});
