// What the fast lane is given: heads as bytes that say what the framework would say, and nothing when the framework has to be asked.

import assert from "node:assert/strict";
import { channel } from "node:diagnostics_channel";
import { createServer } from "node:http";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { gunzipSync } from "node:zlib";
import { fastify as createFastify, type FastifyInstance } from "fastify";
import { Type } from "typebox";
import { type CacheOptions, createCache } from "../../src/cache/index.ts";
import { type Endpoint, bearer, endpoint, problem, requestChannel, responseCacheChannel } from "../../src/http/index.ts";
import type { FastAnswer, FastRequest } from "../../src/http/fast-lane/answers.ts";
import { pluginDefaults } from "../../src/http/options.ts";
import { createKit, serve } from "../../src/http/plugin.ts";
import { ResponseEntry } from "../../src/http/response-cache/entry.ts";
import { Head } from "../../src/http/response-cache/head.ts";
import { AnswersAtHand } from "../../src/http/response-cache/at-hand.ts";
import { encodedAnswer, open, readAll, send } from "./client.ts";
import { createFollowingLedger } from "./following-ledger.ts";

const ledger = createFollowingLedger();

const start = async (
  endpoints: readonly Endpoint[],
  options: { readonly cache?: CacheOptions; readonly prepare?: (fastify: FastifyInstance) => void; readonly silent?: boolean } = {},
) => {
  const cache = createCache({ ledger, earlyRefresh: 0, ...options.cache });
  const fastify = createFastify({ keepAliveTimeout: 72_000 });
  const settings = { ...pluginDefaults, endpoints, cache, docs: false, health: false, cacheTokens: undefined, database: undefined };
  const kit = createKit(settings, fastify, options.silent ?? true);
  options.prepare?.(fastify);
  await fastify.register(async (scope) => serve(scope, kit, settings));
  const url = await fastify.listen({ port: 0, host: "127.0.0.1" });
  return {
    url,
    cache,
    kit,
    find: (target: string, headers: Readonly<Record<string, string>> = {}): FastAnswer | undefined =>
      kit.answers!.find(asked(target, headers)),
    async [Symbol.asyncDispose]() {
      await fastify.close();
      await cache.close();
    },
  };
};

const asked = (target: string, headers: Readonly<Record<string, string>>): FastRequest => ({
  target,
  acceptEncoding: headers["accept-encoding"],
  ifNoneMatch: headers["if-none-match"],
  requestId: headers["x-request-id"],
  header: (name) => headers[name],
});

const headOf = (answer: FastAnswer): string => {
  const into = Buffer.alloc(answer.headBytes + 10, 0x2a);
  assert.equal(answer.copyHead(into, 5), answer.headBytes + 5);
  assert.equal(into.toString("latin1", 0, 5) + into.toString("latin1", answer.headBytes + 5), "**********", "nothing beside it");
  return into.toString("latin1", 5, answer.headBytes + 5);
};

const text = Array.from({ length: 400 }, (_, i) => `line ${i} of ${(i * 7_919) % 977}`).join("\n");
const list = endpoint("GET /list", { cache: { ttl: "1h" } }, () => (ledger.reads("at hand"), text));

test("a target is found once the ordinary way has answered it, and the bytes are those of the ordinary way", async () => {
  await using app = await start([list]);
  assert.equal(app.find("/list"), undefined);
  const first = await send(`${app.url}/list`);
  const etag = first.headers["etag"] as string;
  await encodedAnswer(`${app.url}/list`, "gzip");
  for (const [headers, status] of [
    [{}, 200],
    [{ "accept-encoding": "gzip" }, 200],
    [{ "if-none-match": etag }, 304],
    [{ "if-none-match": etag, "accept-encoding": "gzip" }, 304],
    [{ "if-none-match": '"other"', "x-request-id": "not an id" }, 200],
  ] as const) {
    const found = app.find("/list", headers)!;
    assert.equal(found.status, status);
    const head = headOf(found);
    const socket = await open(app.url);
    const all = readAll(socket);
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    // A HEAD right behind it closes the connection, so that the first answer is one that leaves it open.
    socket.write(
      `GET /list HTTP/1.1\r\nhost: x\r\nif-match: *\r\n${lines.join("")}\r\nHEAD /list HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`,
    );
    const answer = await all;
    const ordinary = answer.slice(0, answer.indexOf("\r\n\r\n") + 4);
    const same = (given: string) =>
      given
        .replaceAll(/^(?:x-request-id|Date): .*$/gm, (line) => line.slice(0, 8))
        .split("\r\n")
        .toSorted();
    assert.deepEqual(same(head), same(ordinary));
    assert.match(head, /\r\nDate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n/);
    assert.match(head, /\r\nx-request-id: [A-Za-z0-9-]{8,}\r\n\r\n$/);
    const body = answer.slice(ordinary.length, answer.indexOf("HTTP/1.1", ordinary.length));
    assert.equal(found.body.toString("latin1"), body);
  }
  const gzipped = app.find("/list", { "accept-encoding": "gzip" })!;
  assert.equal(gunzipSync(gzipped.body).toString(), text);
  assert.match(headOf(app.find("/list", { "x-request-id": "client-chosen-1" })!), /\r\nx-request-id: client-chosen-1\r\n\r\n$/);
});

test("behind the parser the same answers go out from the first hook, and what they do not cover goes on", async () => {
  await using app = await start([list]);
  const answers = app.kit.answers!;
  const asked: boolean[] = [];
  const answer = answers.answer.bind(answers);
  answers.answer = (...given) => {
    const isAnswered = answer(...given);
    asked.push(isAnswered);
    return isAnswered;
  };
  const etag = (await send(`${app.url}/list`)).headers["etag"] as string;
  const requests: readonly [Readonly<Record<string, string>>, string, boolean][] = [
    [{}, "GET", true],
    [{ "if-none-match": etag }, "GET", true],
    [{ cookie: "a=b", "cache-control": "no-cache" }, "GET", true],
    [{}, "HEAD", false],
    [{ authorization: "Bearer x" }, "GET", false],
    [{ range: "bytes=0-1" }, "GET", false],
    [{ "if-match": etag }, "GET", false],
    [{ "if-modified-since": "Tue, 15 Nov 1994 12:45:26 GMT" }, "GET", false],
    [{ "freshness-token": "x" }, "GET", false],
  ];
  for (const [headers, method] of requests) await send(`${app.url}/list`, { method, headers });
  assert.deepEqual(asked, [false, ...requests.map(([, , isShort]) => isShort)]);
});

test("an answer without a body is found, too", async () => {
  await using app = await start([
    endpoint("GET /nothing", { cache: { ttl: "1h" }, response: { 204: null } }, () => (ledger.reads("nothing"), undefined)),
  ]);
  const ordinary = await send(`${app.url}/nothing`);
  assert.equal(ordinary.status, 204);
  const found = app.find("/nothing", { "if-none-match": "*" })!;
  assert.deepEqual([found.status, found.body.length], [204, 0]);
  assert.doesNotMatch(headOf(found), /content-length|etag|accept-ranges/i);
  assert.equal((await send(`${app.url}/nothing`)).status, 204);
});

test("a header that Node would refuse is not kept, and no bytes of it are ever at hand", async () => {
  for (const [name, value] of [
    ["x-note", "a\r\nset-cookie: b=c"],
    ["x-note", "a\0b"],
    ["x-note", "snowman ☃"],
    ["x note", "a"],
    ["link", "</>\n"],
  ] as const) {
    await using app = await start([
      endpoint("GET /split", { cache: { ttl: "1h" } }, ({ reply }) => (reply.header(name, value), "x")),
    ]);
    for (let i = 0; i < 2; i++) {
      const answer = await send(`${app.url}/split`);
      assert.equal(answer.status, 500, JSON.stringify([name, value]));
      assert.equal(answer.headers["set-cookie"], undefined);
      assert.equal(app.find("/split"), undefined);
    }
    assert.equal(app.cache.stats().memory!.entries, 0);
  }
  // Somebody who can write into the shared store, or an older release, is no reason to send what Node would not.
  const parts = { commonHeaders: new Map<string, string>(), name: "millrace" };
  const entry = (headers: readonly { name: string; values: string[] }[]) =>
    new ResponseEntry({
      status: 200,
      headers,
      body: Buffer.from("x"),
      etag: '"x"',
      vary: "",
      compressible: false,
      forAuthorized: false,
      age: 0,
      failure: undefined,
    });
  const headFor = (given: ResponseEntry) => new Head(given, given.variants.identity, undefined, parts, "");
  assert.throws(() => headFor(entry([{ name: "x", values: ["a\r\nb: c"] }])), { code: "ERR_INVALID_CHAR" });
  assert.throws(() => headFor(entry([{ name: "x\n", values: ["a"] }])), { code: "ERR_INVALID_HTTP_TOKEN" });
  assert.throws(() => headFor(entry([{ name: "cache-status", values: ["a\nb"] }])), { code: "ERR_INVALID_CHAR" });
});

test("Date and Age go on, and a head that does not fit is an error and not half a head", async () => {
  await using app = await start([list]);
  await send(`${app.url}/list`);
  const first = headOf(app.find("/list")!);
  assert.match(first, /\r\nage: 0\r\n/);
  const dateOf = (head: string) => Date.parse(/\r\nDate: (.*)\r\n/.exec(head)![1]!);
  let later = first;
  for (let i = 0; i < 3_000 && !/\r\nage: [1-9]/.test(later); i++) {
    await pause(20);
    later = headOf(app.find("/list")!);
  }
  assert.match(later, /\r\nage: [1-9]\d?\r\n/);
  assert.ok(dateOf(later) > dateOf(first));
  const answer = app.find("/list")!;
  assert.throws(() => answer.copyHead(Buffer.alloc(answer.headBytes + 4), 5), RangeError);
});

test("what the framework has to be asked for is not found", async () => {
  const auth = bearer({ identify: () => ({ id: 1 }), principalId: String });
  let streamed = false;
  await using app = await start([
    list,
    endpoint("GET /none", {}, () => {
      ledger.reads("none");
      throw problem(404, "NONE", "There is none.");
    }),
    endpoint("GET /mine", { auth, cache: { scope: "user" } }, () => (ledger.reads("mine"), "mine")),
    endpoint("GET /unkept", {}, () => "from nothing that is followed"),
    endpoint("GET /off", { cache: false }, () => "off"),
    endpoint("GET /late", { cache: { ttl: "1ms", stale: "1h" } }, () => (ledger.reads("late"), "late")),
  ]);
  const headers = { authorization: "Bearer x" };
  for (const path of ["/none", "/mine", "/unkept", "/off", "/late", "/nowhere"]) {
    for (let i = 0; i < 2; i++) await send(app.url + path, path === "/mine" ? { headers } : {});
    if (path === "/late") await pause(5);
    assert.equal(app.find(path), undefined, path);
  }
  await send(`${app.url}/list`, { method: "HEAD" });
  assert.equal(app.find("/list"), undefined, "a HEAD makes nothing known");
  await send(`${app.url}/list?x=1`);
  await send(`${app.url}/list`);
  assert.ok(app.find("/list"));
  assert.equal(app.find("/list?"), undefined, "spelled otherwise");
  await app.cache.invalidate("at hand");
  assert.equal(app.find("/list"), undefined, "written to");
  await send(`${app.url}/list`);
  assert.ok(app.find("/list"));
  ledger.silent = true;
  try {
    assert.equal(app.find("/list"), undefined, "cannot be judged");
  } finally {
    ledger.silent = false;
  }
  await send(`${app.url}/list`);
  for (const name of ["http.server.request.start", "tracing:fastify.request.handler:start"]) {
    const listener = (): void => void (streamed = true);
    channel(name).subscribe(listener);
    assert.equal(app.find("/list"), undefined, `${name} is listened to`);
    channel(name).unsubscribe(listener);
  }
  assert.equal(streamed, false);
  assert.ok(app.find("/list"));
  app.kit.draining = true;
  assert.equal(app.find("/list"), undefined, "draining");
  app.kit.draining = false;
  app.kit.answers!.noteConstraints();
  assert.equal(app.find("/list"), undefined, "another route may look at the host");
});

test("a hook that is not the kit's keeps a target unknown", async () => {
  const hooks: ((fastify: FastifyInstance) => void)[] = [
    (fastify) => void fastify.addHook("onRequest", async () => {}),
    (fastify) => void fastify.addHook("preHandler", async () => {}),
    (fastify) => void fastify.addHook("onSend", async () => {}),
    (fastify) => void fastify.addHook("onResponse", async () => {}),
    // Put on by somebody who sees the route being made.
    (fastify) => void fastify.addHook("onRoute", (route) => void (route.preHandler = async () => {})),
  ];
  for (const [i, prepare] of hooks.entries()) {
    await using app = await start([list], { prepare });
    for (let n = 0; n < 3; n++) await send(`${app.url}/list`);
    assert.equal(app.find("/list"), undefined, `hook ${i}`);
  }
  await using plain = await start([list], { prepare: (fastify) => void fastify.addHook("onReady", async () => {}) });
  await send(`${plain.url}/list`);
  assert.ok(plain.find("/list"), "hooks of the app's life are none of a request's");
});

test("headers that an endpoint's answers differ by are asked for, and choose the entry", async () => {
  await using app = await start([
    endpoint("GET /greeting", { cache: { vary: ["accept-language"] } }, ({ headers }) => {
      ledger.reads("greeting");
      return `in ${headers["accept-language"] ?? "none"}`;
    }),
  ]);
  await send(`${app.url}/greeting`, { headers: { "accept-language": "de" } });
  await send(`${app.url}/greeting`);
  const body = (headers = {}) => app.find("/greeting", headers)?.body.toString();
  for (let i = 0; i < 2; i++) {
    assert.equal(body({ "accept-language": "de" }), "in de");
    assert.equal(body(), "in none");
    assert.equal(body({ "accept-language": "en" }), undefined);
  }
  assert.match(headOf(app.find("/greeting")!), /\r\nvary: accept-language, accept-encoding\r\n/);
});

test("what is reported is counted: the channels, the log, and the cache's own numbers", async () => {
  await using app = await start([list]);
  await send(`${app.url}/list`);
  const before = app.cache.stats().hits;
  const messages: object[] = [];
  const states: string[] = [];
  {
    using _requests = requestChannel.subscribe((message) => void messages.push(message));
    using _states = responseCacheChannel.subscribe(({ state, route }) => void states.push(`${state} ${route}`));
    app.find("/list", { "x-request-id": "request-1" })!.sent(true);
    app.find("/list", { "x-request-id": "request-2" })!.sent(false);
  }
  const bytes = Buffer.byteLength(text);
  assert.partialDeepStrictEqual(messages, [
    { requestId: "request-1", method: "GET", route: "/list", status: 200, bytes },
    { requestId: "request-2", method: "GET", route: "/list", status: 499, bytes: 0 },
  ]);
  assert.deepEqual(states, ["hit /list", "hit /list"]);
  assert.equal(app.cache.stats().hits, before + 2);
});

test("targets are bounded in bytes, heads included, and those that are asked for stay", async () => {
  const each = endpoint(
    "GET /each/:id",
    { params: { id: Type.Integer() }, cache: { ttl: "1h" } },
    ({ params }) => `answer ${params.id}`,
  );
  await using app = await start([each]);
  app.kit.answers = new AnswersAtHand(app.kit, app.kit.responseCache!, createServer(), 40_000);
  for (let i = 0; i < 120; i++) {
    await send(`${app.url}/each/${i}`);
    assert.equal(app.find(`/each/${i}`)?.body.toString(), `answer ${i}`);
    assert.ok(app.find("/each/0"), "the busiest");
  }
  const { entries, bytes, evictions } = app.kit.answers.stats();
  assert.ok(bytes <= 40_000 && bytes > 20_000 && entries > 10 && evictions > 50, JSON.stringify({ entries, bytes, evictions }));
});
