// What a client sees of the response cache, over real sockets.

import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { test } from "node:test";
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from "node:zlib";
import type { FastifyReply } from "fastify";
import { Type } from "typebox";
import { type CacheOptions, createCache, memoryStore } from "../../src/cache/index.ts";
import { createManualClock } from "../../src/core/index.ts";
import {
  type AppOptions,
  type Endpoint,
  bearer,
  cacheHeaders,
  createApp,
  endpoint,
  problem,
  responseCacheChannel,
} from "../../src/http/index.ts";
import { type Answer, encodedAnswer, problemOf, send } from "./client.ts";
import { createFollowingLedger } from "./following-ledger.ts";

const ledger = createFollowingLedger();

const start = async (endpoints: readonly Endpoint[], options: Partial<AppOptions> = {}, cacheOptions: CacheOptions = {}) => {
  const cache = createCache({ ledger, earlyRefresh: 0, ...cacheOptions });
  const app = createApp({ endpoints, logger: false, cache, ...options });
  const url = await app.listen({ port: 0 });
  return {
    url,
    cache,
    app,
    async [Symbol.asyncDispose]() {
      await app.close();
      await cache.close();
    },
  };
};

const statusOf = ({ headers }: Answer): string => String(headers["cache-status"]);

/** An endpoint that reads `dependency` and counts how often it ran. */
const counting = (
  route: `GET /${string}`,
  dependency: string,
  policy: object = {},
  make: (n: number) => unknown = (n) => ({ n }),
) => {
  const counter = { runs: 0, endpoint: undefined as unknown as Endpoint };
  counter.endpoint = endpoint(route as "GET /x", policy, () => {
    ledger.reads(dependency);
    return make(++counter.runs);
  });
  return counter;
};

test("a GET that was read from what is followed is kept without a word, and a hit runs nothing", async () => {
  const x = counting("GET /x", "t1");
  await using app = await start([x.endpoint]);
  const first = await send(`${app.url}/x`);
  assert.match(statusOf(first), /^millrace; fwd=uri-miss; stored; ttl=(?:5\d|6[0-3])$/);
  assert.equal(first.headers["age"], undefined);
  const second = await send(`${app.url}/x`);
  assert.match(statusOf(second), /^millrace; hit; ttl=(?:5\d|6[0-3])$/);
  assert.equal(second.headers["age"], "0");
  assert.equal(second.text, '{"n":1}');
  assert.equal(x.runs, 1);
  for (const name of ["content-type", "etag", "cache-control", "vary", "content-length", "x-content-type-options"])
    assert.equal(second.headers[name], first.headers[name], name);
  assert.equal(second.headers["cache-control"], "no-cache");
  assert.notEqual(second.headers["x-request-id"], first.headers["x-request-id"]);
  await app.cache.invalidate("t1");
  const third = await send(`${app.url}/x`);
  assert.equal(third.text, '{"n":2}');
  assert.match(statusOf(third), /^millrace; fwd=stale; stored; ttl=\d+; detail=written$/);
});

test("without a cache nothing is said and nothing is kept; one line turns it off for one endpoint", async () => {
  const off = counting("GET /off", "t2", { cache: false });
  await using app = await start([off.endpoint]);
  for (let i = 0; i < 2; i++) assert.equal(statusOf(await send(`${app.url}/off`)), "millrace; fwd=bypass; detail=off");
  assert.equal(off.runs, 2);
  const none = counting("GET /x", "t2");
  await using plain = await start([none.endpoint], { cache: false });
  for (let i = 0; i < 2; i++) {
    const answer = await send(`${plain.url}/x`);
    assert.equal(answer.headers["cache-status"], undefined);
    assert.equal(answer.headers["etag"], undefined);
  }
  assert.equal(none.runs, 2);
});

test("what was read from nothing that is followed is kept only when somebody says how long or by what name", async () => {
  let runs = 0;
  const make = () => ({ runs: ++runs });
  await using app = await start([
    endpoint("GET /unsaid", {}, make),
    endpoint("GET /ttl", { cache: { ttl: "5m" } }, make),
    endpoint("GET /named", { cache: { depends: ["forecast"] } }, make),
    endpoint(
      "GET /each/:id",
      { params: { id: Type.Integer() }, cache: { depends: ({ params }) => [`forecast:${params.id}`] } },
      make,
    ),
  ]);
  const unsaid = await send(`${app.url}/unsaid`);
  assert.match(statusOf(unsaid), /^millrace; fwd=uri-miss; detail="it was read from nothing that is followed: give/);
  assert.notEqual((await send(`${app.url}/unsaid`)).text, unsaid.text);
  for (const path of ["/ttl", "/named", "/each/5"]) {
    const first = await send(app.url + path);
    assert.match(statusOf(first), /; stored; ttl=/, path);
    assert.equal((await send(app.url + path)).text, first.text, path);
  }
  const before = (await send(`${app.url}/each/5`)).text;
  await app.cache.invalidate("forecast:6");
  assert.equal((await send(`${app.url}/each/5`)).text, before);
  await app.cache.invalidate("forecast:5");
  assert.notEqual((await send(`${app.url}/each/5`)).text, before);
});

test("the clock counts as something that nobody follows", async () => {
  const make = () => {
    ledger.reads("t3");
    ledger.looksAtClock();
    return 1;
  };
  await using app = await start([endpoint("GET /unsaid", {}, make), endpoint("GET /ttl", { cache: { ttl: "1s" } }, make)]);
  assert.match(statusOf(await send(`${app.url}/unsaid`)), /fwd=uri-miss; detail="it depends on the clock/);
  assert.match(statusOf(await send(`${app.url}/ttl`)), /; stored; ttl=[01]$/);
});

test("what cannot be followed is answered and not kept, with the reason", async () => {
  await using app = await start([
    endpoint("GET /x", { cache: { ttl: "1m" } }, () => {
      ledger.loses('calls the volatile function "random()" \\ é');
      return 1;
    }),
  ]);
  for (let i = 0; i < 2; i++)
    assert.equal(
      statusOf(await send(`${app.url}/x`)),
      'millrace; fwd=uri-miss; detail="calls the volatile function \\"random()\\" \\\\ ?"',
    );
});

test("while the feed is silent the cache is passed by, and afterwards it serves again", async () => {
  const x = counting("GET /x", "t4");
  await using app = await start([x.endpoint]);
  await send(`${app.url}/x`);
  ledger.silent = true;
  try {
    const answer = await send(`${app.url}/x`);
    assert.match(statusOf(answer), /^millrace; fwd=bypass; detail=/);
    assert.equal(answer.text, '{"n":2}');
  } finally {
    ledger.silent = false;
  }
  assert.match(statusOf(await send(`${app.url}/x`)), /; hit;/);
});

test("If-None-Match is answered with 304 and what belongs to it, hit or miss", async () => {
  const x = counting("GET /x", "t5", {}, () => ({ text: "Millrace ".repeat(500) }));
  await using app = await start([x.endpoint]);
  const first = await send(`${app.url}/x`);
  const etag = first.headers["etag"] as string;
  assert.match(etag, /^"[\w-]{22}"$/);
  for (const given of [etag, `W/${etag}`, `"other", ${etag}`, "*"]) {
    const answer = await send(`${app.url}/x`, { headers: { "if-none-match": given } });
    assert.equal(answer.status, 304, given);
    assert.equal(answer.body.length, 0);
    assert.equal(answer.headers["etag"], etag);
    assert.equal(answer.headers["cache-control"], "no-cache");
    assert.equal(answer.headers["vary"], "accept-encoding");
    assert.match(statusOf(answer), /; hit;/);
    for (const name of ["content-type", "content-length", "content-encoding"]) assert.equal(answer.headers[name], undefined, name);
  }
  assert.equal((await send(`${app.url}/x`, { headers: { "if-none-match": '"other"' } })).status, 200);
  assert.equal((await send(`${app.url}/x`, { method: "HEAD", headers: { "if-none-match": etag } })).status, 304);
  await app.cache.invalidate("t5");
  const again = await send(`${app.url}/x`, { headers: { "if-none-match": etag } });
  assert.equal(again.status, 304, "the new answer is the same");
  assert.match(statusOf(again), /fwd=stale; stored/);
});

test("every coding is kept once, with a strong tag of its own, and the right bytes", async () => {
  const value = { text: Array.from({ length: 3_000 }, (_, i) => `line ${i}`).join(" ") };
  const x = counting("GET /x", "t6", {}, () => value);
  await using app = await start([x.endpoint]);
  const tags = new Set<string>();
  const decoders = { zstd: zstdDecompressSync, br: brotliDecompressSync, gzip: gunzipSync, identity: (bytes: Buffer) => bytes };
  for (let round = 0; round < 2; round++) {
    for (const [coding, decode] of Object.entries(decoders)) {
      const headers = { "accept-encoding": coding };
      const answer = await encodedAnswer(`${app.url}/x`, coding);
      assert.equal(answer.headers["content-encoding"], coding === "identity" ? undefined : coding);
      assert.equal(answer.headers["content-length"], String(answer.body.length));
      assert.equal(answer.headers["vary"], "accept-encoding");
      assert.deepEqual(JSON.parse(decode(answer.body).toString()), value);
      tags.add(answer.headers["etag"] as string);
      const head = await send(`${app.url}/x`, { method: "HEAD", headers });
      assert.equal(head.body.length, 0);
      for (const name of ["content-length", "content-encoding", "content-type", "etag", "vary", "cache-control"])
        assert.equal(head.headers[name], answer.headers[name], name);
      const same = await send(`${app.url}/x`, { headers: { ...headers, "if-none-match": answer.headers["etag"] as string } });
      assert.equal(same.status, 304);
    }
  }
  assert.equal(tags.size, 4);
  assert.equal(x.runs, 1);
  const refused = await send(`${app.url}/x`, { headers: { "accept-encoding": "gzip;q=0, br;q=0.5, identity;q=0.1" } });
  assert.equal(refused.headers["content-encoding"], "br");
});

test("large bodies are encoded elsewhere, once for all who ask at the same time", async () => {
  const value = { text: Array.from({ length: 30_000 }, (_, i) => `line ${i}`).join(" ") };
  const x = counting("GET /x", "t7", {}, () => value);
  await using app = await start([x.endpoint]);
  const answers = await Promise.all(
    Array.from({ length: 5 }, () => send(`${app.url}/x`, { headers: { "accept-encoding": "zstd" } })),
  );
  for (const answer of answers) assert.deepEqual(JSON.parse(zstdDecompressSync(answer.body).toString()), value);
  assert.equal(x.runs, 1);
});

test("HEAD may come first: the GET after it is a hit with the body", async () => {
  const x = counting("GET /x", "t8");
  await using app = await start([x.endpoint]);
  const head = await send(`${app.url}/x`, { method: "HEAD" });
  assert.match(statusOf(head), /; stored/);
  const get = await send(`${app.url}/x`);
  assert.match(statusOf(get), /; hit;/);
  assert.equal(get.text, '{"n":1}');
  assert.equal(get.headers["content-length"], head.headers["content-length"]);
});

test("headers that the answer varies by are in the key, and named in Vary", async () => {
  let runs = 0;
  await using app = await start([
    endpoint(
      "GET /declared",
      { headers: { "x-unit": Type.Optional(Type.Union([Type.Literal("c"), Type.Literal("f")])) } },
      ({ headers }) => {
        ledger.reads("t10");
        return { unit: headers["x-unit"] ?? "none", run: ++runs };
      },
    ),
    endpoint("GET /varied", { cache: { vary: ["accept-language"] } }, ({ headers }) => {
      ledger.reads("t10");
      return { language: headers["accept-language"] ?? "none", run: ++runs };
    }),
  ]);
  for (const [path, header, values] of [
    ["/declared", "x-unit", ["c", "f"]],
    ["/varied", "accept-language", ["de", "en"]],
  ] as const) {
    const texts = new Set<string>();
    for (const value of values) {
      const first = await send(app.url + path, { headers: { [header]: value } });
      assert.ok(first.text.includes(`"${value}"`), first.text);
      assert.equal(first.headers["vary"], `${header}, accept-encoding`);
      const second = await send(app.url + path, { headers: { [header]: value } });
      assert.match(statusOf(second), /; hit;/);
      assert.equal(second.text, first.text);
      texts.add(first.text);
    }
    const without = await send(app.url + path);
    assert.match(without.text, /none/);
    texts.add(without.text);
    assert.equal(texts.size, 3);
  }
  const wrong = await send(`${app.url}/declared`, { headers: { "x-unit": "k" } });
  assert.equal(wrong.status, 400);
});

const users = { ada: { id: 1, tenant: "north" }, bob: { id: 2, tenant: "north" }, cleo: { id: 3, tenant: "south" } };
const auth = bearer({
  identify: (token) => ((users as Record<string, unknown>)[token] as { id: number; tenant: string }) ?? null,
  principalId: ({ id }) => String(id),
  tenantId: ({ tenant }) => tenant,
});
const as = (user: string) => ({ headers: { authorization: `Bearer ${user}` } });

test("scope user: nobody gets another's answer, and clients are told that it is private", async () => {
  let runs = 0;
  await using app = await start([
    endpoint("GET /mine", { auth, cache: { scope: "user" } }, ({ principal }) => {
      ledger.reads("t11");
      return { id: principal.id, run: ++runs };
    }),
    endpoint("GET /unsaid", { auth }, ({ principal }) => ({ id: principal.id })),
  ]);
  const ada = await send(`${app.url}/mine`, as("ada"));
  assert.match(statusOf(ada), /; stored/);
  assert.equal(ada.headers["cache-control"], "private, no-cache");
  const bob = await send(`${app.url}/mine`, as("bob"));
  assert.deepEqual([JSON.parse(ada.text).id, JSON.parse(bob.text).id], [1, 2]);
  for (const [user, answer] of [
    ["ada", ada],
    ["bob", bob],
  ] as const) {
    const again = await send(`${app.url}/mine`, as(user));
    assert.match(statusOf(again), /; hit;/);
    assert.equal(again.text, answer.text);
  }
  assert.equal((await send(`${app.url}/mine`)).status, 401);
  const other = await send(`${app.url}/mine`, {
    headers: { ...as("bob").headers, "if-none-match": ada.headers["etag"] as string },
  });
  assert.equal(other.status, 200, "another user's tag is not one's own");
  const unsaid = await send(`${app.url}/unsaid`, as("ada"));
  assert.equal(statusOf(unsaid), "millrace; fwd=bypass; detail=auth");
  assert.equal(unsaid.headers["cache-control"], "no-store");
});

test("scope user: what the authenticator knows of the principal is part of the key", async () => {
  let name = "Ada";
  const named = bearer({ identify: () => ({ id: 1, name }), principalId: ({ id }) => String(id) });
  const broken = bearer({ identify: () => ({ id: 1, greet: () => "hi" }), principalId: ({ id }) => String(id) });
  const me = ({ principal }: { principal: object }) => (ledger.reads("t12"), principal);
  await using app = await start([
    endpoint("GET /me", { auth: named, cache: { scope: "user" } }, me),
    endpoint("GET /broken", { auth: broken, cache: { scope: "user" } }, me),
  ]);
  await send(`${app.url}/me`, as("x"));
  assert.match(statusOf(await send(`${app.url}/me`, as("x"))), /; hit;/);
  name = "Augusta";
  assert.equal((await send(`${app.url}/me`, as("x"))).text, '{"id":1,"name":"Augusta"}');
  assert.equal(statusOf(await send(`${app.url}/broken`, as("x"))), "millrace; fwd=bypass; detail=no-user");
});

test("scope tenant: members share, other tenants do not, and reading the principal makes the answer personal", async () => {
  let runs = 0;
  await using app = await start([
    endpoint("GET /ours", { auth, cache: { scope: "tenant" } }, ({ tenantId }) => {
      ledger.reads("t13");
      return { tenantId, run: ++runs };
    }),
    endpoint("GET /careless", { auth, cache: { scope: "tenant" } }, ({ principal }) => {
      ledger.reads("t13");
      return { id: principal.id };
    }),
  ]);
  const ada = await send(`${app.url}/ours`, as("ada"));
  const bob = await send(`${app.url}/ours`, as("bob"));
  assert.match(statusOf(bob), /; hit;/);
  assert.equal(bob.text, ada.text);
  assert.equal(JSON.parse((await send(`${app.url}/ours`, as("cleo"))).text).tenantId, "south");
  for (const [user, id] of [
    ["ada", 1],
    ["bob", 2],
  ] as const) {
    const answer = await send(`${app.url}/careless`, as(user));
    assert.equal(JSON.parse(answer.text).id, id);
    assert.match(statusOf(answer), /detail="the handler reads the principal, and the answer is for a whole tenant"/);
    assert.equal(answer.headers["cache-control"], "no-store");
  }
});

test("Authorization on an endpoint without auth: neither stored nor served, unless the answer says public", async () => {
  const plain = counting("GET /plain", "t14");
  const open = counting("GET /open", "t14", { cache: { cacheControl: "public, max-age=60" } });
  await using app = await start([plain.endpoint, open.endpoint]);
  assert.equal(statusOf(await send(`${app.url}/plain`, as("x"))), "millrace; fwd=bypass; detail=authorization");
  assert.match(statusOf(await send(`${app.url}/plain`)), /; stored/);
  assert.equal(statusOf(await send(`${app.url}/plain`, as("x"))), "millrace; fwd=bypass; detail=authorization");
  assert.equal(plain.runs, 3);
  assert.match(statusOf(await send(`${app.url}/open`, as("x"))), /; stored/);
  const hit = await send(`${app.url}/open`, as("x"));
  assert.match(statusOf(hit), /; hit;/);
  assert.equal(hit.headers["cache-control"], "public, max-age=60");
  assert.equal(open.runs, 1);
});

test("no-store and private of the answer, cookies, and Vary beyond the key: not kept, and the client gets them", async () => {
  let runs = 0;
  const saying = (route: `GET /${string}`, name: string, value: string) =>
    endpoint(route as "GET /x", { cache: { ttl: "1m" } }, ({ reply }) => {
      reply.header(name, value);
      return { run: ++runs };
    });
  await using app = await start([
    saying("GET /no-store", "cache-control", "no-store"),
    saying("GET /private", "Cache-Control", "max-age=5, Private"),
    saying("GET /cookie", "set-cookie", "a=1"),
    saying("GET /vary", "vary", "x-unit"),
    saying("GET /any", "vary", "*"),
  ]);
  for (const [path, name, reason] of [
    ["/no-store", "cache-control", /the answer says no-store/],
    ["/private", "cache-control", /the answer says private/],
    ["/cookie", "set-cookie", /the answer sets a cookie/],
    ["/vary", "vary", /varies by x-unit, which its key does not cover/],
    ["/any", "vary", /varies by \*/],
  ] as const) {
    const first = await send(app.url + path);
    const second = await send(app.url + path);
    assert.notEqual(first.text, second.text, path);
    assert.ok(first.headers[name] !== undefined, path);
    assert.match(statusOf(second), reason, path);
    assert.match(statusOf(second), /^millrace; fwd=uri-miss; detail=/, path);
  }
});

test("a request that says no-store is served from the cache, but nothing is kept for it", async () => {
  const x = counting("GET /x", "t15");
  await using app = await start([x.endpoint]);
  const headers = { "cache-control": "no-store" };
  assert.match(statusOf(await send(`${app.url}/x`, { headers })), /fwd=uri-miss; detail="the request says no-store"/);
  assert.match(statusOf(await send(`${app.url}/x`)), /; stored/);
  assert.match(statusOf(await send(`${app.url}/x`, { headers })), /; hit;/);
});

test("handlers see the headers that the key covers; whatever else they take makes the answer their request's own", async () => {
  type Look = (input: never) => unknown;
  const looks: Record<string, [Look, RegExp]> = {
    covered: [({ headers }: { headers: Record<string, string> }) => headers["accept-language"], /; hit;/],
    header: [({ headers }: { headers: Record<string, string> }) => headers["user-agent"], /reads the header user-agent/],
    absent: [({ headers }: { headers: Record<string, string> }) => "x-absent" in headers, /reads the header x-absent/],
    all: [({ headers }: { headers: Record<string, string> }) => Object.keys({ ...headers }).length, /reads all headers/],
    request: [({ request }: { request: { ip: string } }) => request.ip, /reads request"/],
    id: [({ requestId }: { requestId: string }) => requestId, /reads requestId/],
    raw: [({ reply }: { reply: { raw: { headersSent: boolean } } }) => reply.raw.headersSent, /uses reply\.raw/],
  };
  const endpoints = Object.entries(looks).map(([name, [look]]) =>
    endpoint(`GET /${name}` as "GET /x", { cache: { ttl: "1m", vary: ["accept-language"] } }, (input) => ({
      saw: (look as (input: unknown) => unknown)(input),
    })),
  );
  await using app = await start(endpoints);
  for (const [name, [, expected]] of Object.entries(looks)) {
    const headers = { "user-agent": "tests", "accept-language": "de" };
    const first = await send(`${app.url}/${name}`, { headers });
    assert.equal(first.status, 200, name);
    const second = await send(`${app.url}/${name}`, { headers: { ...headers, "user-agent": "others" } });
    assert.match(statusOf(second), expected, name);
    if (name === "header") assert.deepEqual([first.text, second.text], ['{"saw":"tests"}', '{"saw":"others"}']);
    if (name === "id") assert.equal(JSON.parse(second.text).saw, second.headers["x-request-id"]);
  }
});

test("a handler may still use Fastify's reply as it likes: the answer is then not kept", async () => {
  await using app = await start([
    endpoint("GET /redirect", {}, ({ reply }) => reply.header("x-kept", "1").redirect("/elsewhere", 303)),
    endpoint("GET /sent", {}, ({ reply }) => void reply.code(418).type("text/plain").send("teapot")),
    endpoint("GET /code", { cache: { ttl: "1m" } }, ({ reply }) => (reply.code(202), "later")),
  ]);
  const redirect = await send(`${app.url}/redirect`);
  assert.deepEqual([redirect.status, redirect.headers["location"], redirect.headers["x-kept"]], [303, "/elsewhere", "1"]);
  const sent = await send(`${app.url}/sent`);
  assert.deepEqual([sent.status, sent.text], [418, "teapot"]);
  const code = await send(`${app.url}/code`);
  assert.deepEqual([code.status, code.text], [202, "later"]);
  assert.match(statusOf(code), /detail="the status is 202"/);
});

test("what a handler says of its answer is kept with it: status, headers, tag, and common headers that it takes away", async () => {
  await using app = await start([
    endpoint("GET /x", { response: { 203: Type.String() } }, ({ reply }) => {
      ledger.reads("t16");
      reply
        .header("X-Own", ["a", "b"])
        .header("etag", '"v7"')
        .header("content-type", "text/csv")
        .header("connection", "close")
        .removeHeader("x-content-type-options");
      assert.equal(reply.getHeader("content-type"), "text/csv");
      assert.equal(reply.hasHeader("x-content-type-options"), false);
      assert.equal(reply.getHeader("referrer-policy"), "no-referrer");
      return "a;b\n".repeat(1_000);
    }),
    endpoint("GET /weak", {}, ({ reply }) => (ledger.reads("t16"), reply.header("etag", 'W/"w"'), "x".repeat(2_000))),
  ]);
  for (const [expected, etag] of [
    [/; stored/, '"v7"'],
    [/; hit;/, '"v7-gzip"'],
  ] as const) {
    const answer = await (etag === '"v7"' ? send(`${app.url}/x`) : encodedAnswer(`${app.url}/x`, "gzip"));
    assert.match(statusOf(answer), expected);
    assert.equal(answer.status, 203);
    assert.equal(answer.headers["etag"], etag);
    assert.equal(answer.headers["content-type"], "text/csv");
    assert.equal(answer.headers["x-own"], "a, b");
    assert.equal(answer.headers["x-content-type-options"], undefined);
    assert.equal(answer.headers["referrer-policy"], "no-referrer");
  }
  assert.equal((await send(`${app.url}/weak`, { headers: { "accept-encoding": "gzip" } })).headers["etag"], 'W/"w"');
  assert.equal((await send(`${app.url}/weak`, { headers: { "if-none-match": '"w"' } })).status, 304);
});

test("a 404 that the handler threw is kept, with its dependencies, and every client gets its own request id", async () => {
  let runs = 0;
  let exists = false;
  await using app = await start([
    endpoint("GET /things/:id", { params: { id: Type.Integer() } }, ({ params }) => {
      runs++;
      ledger.reads(`things:${params.id}`);
      if (!exists) throw problem(404, "THING_NOT_FOUND", `No thing has the id ${params.id}.`);
      return { id: params.id };
    }),
  ]);
  const first = await send(`${app.url}/things/5`);
  const second = await send(`${app.url}/things/5`);
  assert.equal(runs, 1);
  assert.match(statusOf(second), /; hit; ttl=(?:9|10)$/);
  assert.equal(second.status, 404);
  assert.equal(second.headers["content-type"], "application/problem+json");
  assert.equal(second.headers["cache-control"], "no-store");
  assert.equal(problemOf(second).requestId, second.headers["x-request-id"]);
  assert.notEqual(problemOf(first).requestId, problemOf(second).requestId);
  assert.deepEqual({ ...problemOf(second), requestId: "" }, { ...problemOf(first), requestId: "" });
  exists = true;
  await app.cache.invalidate("things:5");
  assert.equal((await send(`${app.url}/things/5`)).status, 200);
});

test("other failures are answered and never kept", async () => {
  let runs = 0;
  await using app = await start([
    endpoint("GET /x", { query: { status: Type.Integer() }, cache: { ttl: "1m" } }, ({ query }) => {
      runs++;
      if (query.status === 500) throw new Error("a fault");
      throw problem(query.status, "REFUSED", "No.");
    }),
  ]);
  for (const status of [400, 403, 410, 429, 500, 503]) {
    for (let i = 0; i < 2; i++) {
      const answer = await send(`${app.url}/x?status=${status}`);
      assert.equal(answer.status, status);
      assert.match(statusOf(answer), /^millrace; fwd=/);
      assert.doesNotMatch(statusOf(answer), /hit|stored/);
    }
  }
  assert.equal(runs, 12);
  const invalid = await send(`${app.url}/x?status=many`);
  assert.equal(invalid.status, 400);
  assert.equal(problemOf(invalid).errors?.[0]?.field, "status");
  assert.equal(runs, 12);
});

test("a body that a GET brings along is ignored, by the cache too", async () => {
  const x = counting("GET /x", "t17");
  await using app = await start([x.endpoint]);
  for (const expected of [/; stored/, /; hit;/]) {
    const headers = { "content-type": "application/json", "content-length": "2" };
    assert.match(statusOf(await send(`${app.url}/x`, { headers, body: "{}" })), expected);
  }
});

test("streams are sent and not kept; the second request knows beforehand", async () => {
  let made = 0;
  await using app = await start([
    endpoint("GET /stream", { deadline: "5s" }, ({ reply }) => {
      made++;
      reply.header("content-type", "text/plain");
      return Readable.from(["one ", "two"]);
    }),
  ]);
  const first = await send(`${app.url}/stream`);
  assert.equal(first.text, "one two");
  assert.match(statusOf(first), /detail="the handler returns a stream"/);
  const second = await send(`${app.url}/stream`);
  assert.equal(second.text, "one two");
  assert.equal(statusOf(second), "millrace; fwd=bypass; detail=stream");
  assert.equal(made, 2);
});

test("the order of a query does not matter, its values do", async () => {
  let runs = 0;
  const query = { a: Type.Optional(Type.Integer()), b: Type.Optional(Type.Integer()) };
  await using app = await start([
    endpoint("GET /x", { query }, ({ query: asked }) => (ledger.reads("t18"), { ...asked, run: ++runs })),
  ]);
  const first = await send(`${app.url}/x?a=1&b=2`);
  assert.equal((await send(`${app.url}/x?b=2&a=1`)).text, first.text);
  assert.notEqual((await send(`${app.url}/x?a=2&b=1`)).text, first.text);
  assert.equal((await send(`${app.url}/x?a=1&a=1&b=2`)).status, 400);
});

test("ten thousand different queries stay within the memory that the cache was given", async () => {
  const maxBytes = 1024 * 1024;
  let runs = 0;
  await using app = await start(
    [
      endpoint("GET /x", { query: { n: Type.Integer() } }, ({ query: { n } }) => {
        runs++;
        ledger.reads(`n:${n}`);
        return { n, text: "x".repeat(500) };
      }),
    ],
    {},
    { memory: { maxBytes } },
  );
  for (let n = 0; n < 10_000; n += 1) {
    const answer = await app.app.fastify.inject(`/x?n=${n}`);
    assert.equal(answer.statusCode, 200);
  }
  assert.equal(runs, 10_000);
  const { memory } = app.cache.stats();
  assert.ok(memory!.bytes <= maxBytes && memory!.entries > 100, JSON.stringify(memory));
});

test("a key stays short whatever the client sends", async () => {
  await using app = await start([
    endpoint("GET /x", { query: { q: Type.String() } }, ({ query: { q } }) => (ledger.reads("t19"), { length: q.length })),
  ]);
  for (const expected of [/; stored/, /; hit;/]) {
    const answer = await send(`${app.url}/x?q=${"a:".repeat(4_000)}`);
    assert.match(statusOf(answer), expected);
    assert.equal(JSON.parse(answer.text).length, 8_000);
  }
});

test("another release of the app does not find what this one has kept", async () => {
  const x = counting("GET /x", "t20");
  await using app = await start([x.endpoint]);
  await send(`${app.url}/x`);
  const next = createApp({ endpoints: [x.endpoint], logger: false, cache: app.cache, cacheName: "edge", version: "2.0.0" });
  const url = await next.listen({ port: 0 });
  try {
    assert.match(statusOf(await send(`${url}/x`)), /^edge; fwd=uri-miss; stored/);
  } finally {
    await next.close();
  }
});

test("hooks of other plugins are asked at every hit, and their Vary is kept beside ours", async () => {
  const x = counting("GET /x", "t21");
  await using app = await start([]);
  let open = true;
  const fresh = createApp({ endpoints: [x.endpoint], logger: false, cache: app.cache, version: "3.0.0" });
  fresh.fastify.addHook("onRequest", async (_request, reply) => void reply.header("vary", "Origin"));
  fresh.fastify.addHook("preHandler", async (_request, reply) => {
    if (!open) await reply.code(403).send("no");
  });
  const url = await fresh.listen({ port: 0 });
  try {
    await send(`${url}/x`);
    const hit = await send(`${url}/x`);
    assert.match(statusOf(hit), /; hit;/);
    assert.equal(hit.headers["vary"], "Origin, accept-encoding");
    open = false;
    assert.equal((await send(`${url}/x`)).status, 403);
  } finally {
    await fresh.close();
  }
});

test("the OpenAPI document says where 304 is to be expected", async () => {
  const x = counting("GET /x", "t23");
  const endpoints = [x.endpoint, endpoint("GET /off", { cache: false }, () => 1), endpoint("POST /x", {}, () => 1)];
  type Document = { paths: Record<string, Record<string, { responses: Record<string, unknown> }>> };
  await using app = await start(endpoints);
  const { paths } = JSON.parse((await send(`${app.url}/openapi.json`)).text) as Document;
  assert.ok("304" in paths["/x"]!["get"]!.responses);
  assert.ok(!("304" in paths["/off"]!["get"]!.responses));
  assert.ok(!("304" in paths["/x"]!["post"]!.responses));
  await using plain = await start(endpoints, { cache: false });
  assert.ok(!(await send(`${plain.url}/openapi.json`)).text.includes('"304"'));
});

test("what one process has kept in the shared store, another serves: the same bytes, tag and headers", async () => {
  await using store = memoryStore();
  const x = counting("GET /x", "t24", {}, () => ({ text: "Millrace ".repeat(500) }));
  await using one = await start([x.endpoint], {}, { store });
  await using other = await start([x.endpoint], {}, { store });
  const headers = { "accept-encoding": "br" };
  const first = await send(`${one.url}/x`, { headers });
  let second = await send(`${other.url}/x`, { headers });
  // The first is answered before the store has it.
  for (let tries = 0; !statusOf(second).includes("detail=store") && tries < 200; tries++) {
    await other.cache.invalidate("t24");
    await send(`${one.url}/x`, { headers });
    await new Promise((resolve) => setTimeout(resolve, 10));
    second = await send(`${other.url}/x`, { headers });
  }
  assert.match(statusOf(second), /^millrace; hit; ttl=\d+; detail=store$/);
  assert.deepEqual(second.body, first.body);
  for (const name of ["etag", "vary", "content-type", "content-encoding", "cache-control"])
    assert.equal(second.headers[name], first.headers[name], name);
});

test("who listens hears how each request fared", async () => {
  const x = counting("GET /x", "t22");
  await using app = await start([x.endpoint, endpoint("GET /off", { cache: false }, () => 1)]);
  const heard: string[] = [];
  using _subscription = responseCacheChannel.subscribe(({ route, state, stored, reason }) =>
    heard.push([route, state, stored, reason].join(" ")),
  );
  for (const path of ["/x", "/x", "/off"]) await send(app.url + path);
  assert.deepEqual(heard, ["/x miss true ", "/x hit true ", "/off bypass false off"]);
});

test("what a handler took from another cache goes on aging: Age adds up, also for the first client and through the store", async () => {
  const clock = createManualClock();
  const inner = createCache({ clock, ledger, earlyRefresh: 0 });
  let made = 0;
  const handler = async ({ reply }: { readonly reply: FastifyReply }) => {
    const outcome = await inner.read("forecast", { ttl: "1h" }, () => ({ made: ++made }));
    reply.headers(cacheHeaders("forecasts", outcome));
    return outcome.value;
  };
  const store = memoryStore();
  const endpoints = [endpoint("GET /kept", { cache: { ttl: "10m" } }, handler), endpoint("GET /off", { cache: false }, handler)];
  await using app = await start(endpoints, {}, { clock, store });
  await using other = await start(endpoints, {}, { clock, store });
  const off = await send(`${app.url}/off`);
  assert.equal(off.headers["age"], undefined);
  assert.match(statusOf(off), /^forecasts; fwd=uri-miss; stored; ttl=\d+$/);
  clock.advance(100_000);
  const first = await send(`${app.url}/kept`);
  assert.equal(first.headers["age"], "100");
  assert.match(statusOf(first), /^forecasts; hit; ttl=\d+, millrace; fwd=uri-miss; stored; ttl=\d+$/);
  clock.advance(50_000);
  for (const { url } of [app, other]) {
    const second = await send(`${url}/kept`);
    assert.equal(second.headers["age"], "150");
    assert.match(statusOf(second), /^forecasts; hit; ttl=\d+, millrace; hit; ttl=\d+/);
  }
  const straight = await send(`${app.url}/off`);
  assert.equal(straight.headers["age"], "150");
  assert.match(statusOf(straight), /^forecasts; hit; ttl=\d+$/);
  assert.equal(made, 1);
});

test("an Age that is no number of seconds is none", async () => {
  const ages = ["yesterday", "-5", "99999999999999999999"];
  await using app = await start(
    ages.map((age, i) =>
      endpoint(`GET /${i}`, { cache: { ttl: "10m" } }, ({ reply }) => {
        reply.header("age", age);
        return { i };
      }),
    ),
  );
  for (const [i, expected] of [undefined, undefined, "2147483648"].entries())
    assert.equal((await send(`${app.url}/${i}`)).headers["age"], expected);
});
