// Codings, conditions, HEAD and ranges of kept answers over real sockets, and the short ways: what is answered before the framework is what the
// framework would have answered, and nothing of the user's is passed by.

import assert from "node:assert/strict";
import { request as httpRequest } from "node:http";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from "node:zlib";
import { fastify as createFastify } from "fastify";
import { pino } from "pino";
import { Type } from "typebox";
import { createCache, memoryStore } from "../../src/cache/index.ts";
import {
  type AppOptions,
  type Endpoint,
  bearer,
  createApp,
  endpoint,
  requestChannel,
  responseCacheChannel,
} from "../../src/http/index.ts";
import { millracePlugin } from "../../src/http/index.ts";
import { type Answer, encodedAnswer, open, problemOf, readAll, send } from "./client.ts";
import { createFollowingLedger } from "./following-ledger.ts";

const ledger = createFollowingLedger();

const start = async (
  endpoints: readonly Endpoint[],
  options: Partial<AppOptions> = {},
  prepare?: (app: ReturnType<typeof createApp>) => void,
) => {
  const cache = createCache({ ledger, earlyRefresh: 0 });
  const app = createApp({ endpoints, logger: false, cache, ...options });
  prepare?.(app);
  const url = await app.listen({ port: 0 });
  return {
    url,
    cache,
    async [Symbol.asyncDispose]() {
      await app.close();
      await cache.close();
    },
  };
};

const statusOf = ({ headers }: Answer): string => String(headers["cache-status"]);
const text = Array.from({ length: 400 }, (_, i) => `line ${i} of ${(i * 7_919) % 977}`).join("\n");
const list = endpoint("GET /list", {}, () => (ledger.reads("bytes"), text));

const decoders = { zstd: zstdDecompressSync, br: brotliDecompressSync, gzip: gunzipSync } as const;
const decodedBody = ({ headers, body }: Answer): string => {
  const coding = headers["content-encoding"] as keyof typeof decoders | undefined;
  return (coding === undefined ? body : decoders[coding](body)).toString();
};

/** What every request gets when all codings stand: by the header that asks for it. */
const accepted: Readonly<Record<string, string | undefined>> = {
  "": undefined,
  gzip: "gzip",
  "gzip, deflate, br, zstd": "zstd",
  "br;q=0.8, gzip;q=0.9": "gzip",
  "br, gzip;q=0.9, *;q=0": "br",
  "gzip;q=0, br;q=0": undefined,
  "identity, br;q=0.5": undefined,
  "*": "zstd",
};

test("codings × conditions × HEAD × ranges: every combination is answered as RFC 9110 says, with bytes that decode to the body", async () => {
  await using app = await start([list]);
  const url = `${app.url}/list`;
  const tags: Record<string, string> = {};
  const bodies: Record<string, Buffer> = {};
  for (const coding of ["identity", "gzip", "br", "zstd"]) {
    const { headers, body } = await encodedAnswer(url, coding);
    tags[coding] = headers["etag"] as string;
    bodies[coding] = body;
  }
  assert.equal(new Set(Object.values(tags)).size, 4);
  assert.ok(
    Object.values(tags).every((tag) => /^"[\w-]+"$/.test(tag)),
    "strong",
  );

  for (const [accept, expected] of Object.entries(accepted)) {
    const coding = expected ?? "identity";
    const isIdentityRefused = accept.includes("*;q=0");
    const conditions: Readonly<Record<string, string | undefined>> = {
      none: undefined,
      own: tags[coding],
      weak: `W/${tags[coding]}`,
      listed: `"x", ${tags[coding]}`,
      any: "*",
      other: '"other"',
    };
    const ranges: Readonly<Record<string, string | undefined>> = {
      none: undefined,
      first: "bytes=0-9",
      last: "bytes=-7",
      beyond: "bytes=99999-",
    };
    for (const [condition, ifNoneMatch] of Object.entries(conditions)) {
      for (const [kind, range] of Object.entries(ranges)) {
        for (const ifRange of range === undefined ? [undefined] : [undefined, tags[coding], '"other"', `W/${tags[coding]}`]) {
          for (const method of ["GET", "HEAD"]) {
            const answer = await send(url, {
              method,
              headers: {
                ...(accept !== "" && { "accept-encoding": accept }),
                ...(ifNoneMatch !== undefined && { "if-none-match": ifNoneMatch }),
                ...(range !== undefined && { range }),
                ...(ifRange !== undefined && { "if-range": ifRange }),
              },
            });
            const what = JSON.stringify({ accept, condition, kind, ifRange, method });
            assert.match(statusOf(answer), /; hit;/, what);
            assert.equal(answer.headers["vary"], "accept-encoding", what);
            if (method === "HEAD") assert.equal(answer.body.length, 0, what);
            if (condition !== "none" && condition !== "other") {
              assert.equal(answer.status, 304, what);
              assert.equal(answer.headers["etag"], tags[coding], what);
              for (const name of ["content-length", "content-type", "content-encoding"])
                assert.equal(answer.headers[name], undefined, what);
              continue;
            }
            // Without If-Range ranges are those of the body as it is.
            const ranged =
              method === "HEAD" || range === undefined
                ? undefined
                : ifRange === undefined
                  ? isIdentityRefused
                    ? undefined
                    : "identity"
                  : ifRange === tags[coding]
                    ? coding
                    : undefined;
            if (ranged === undefined) {
              assert.equal(answer.status, 200, what);
              assert.equal(answer.headers["content-encoding"], expected, what);
              assert.equal(answer.headers["etag"], tags[coding], what);
              assert.equal(answer.headers["accept-ranges"], "bytes", what);
              assert.equal(answer.headers["content-length"], String(bodies[coding]!.length), what);
              if (method === "GET") assert.equal(decodedBody(answer), text, what);
              continue;
            }
            const whole = bodies[ranged]!;
            if (kind === "beyond") {
              assert.equal(answer.status, 416, what);
              assert.equal(answer.headers["content-range"], `bytes */${whole.length}`, what);
              assert.equal(problemOf(answer).code, "MILLRACE_HTTP_RANGE_UNSATISFIABLE", what);
              assert.equal(answer.headers["etag"], undefined, what);
              continue;
            }
            const [from, to] = kind === "first" ? [0, 10] : [whole.length - 7, whole.length];
            assert.equal(answer.status, 206, what);
            assert.equal(answer.headers["content-range"], `bytes ${from}-${to - 1}/${whole.length}`, what);
            assert.equal(answer.headers["etag"], tags[ranged], what);
            assert.equal(answer.headers["content-encoding"], ranged === "identity" ? undefined : ranged, what);
            assert.deepEqual(answer.body, whole.subarray(from, to), what);
          }
        }
      }
    }
  }
});

test("a range of an answer that is just made, several ranges, and ranges of what was never cached", async () => {
  let runs = 0;
  await using app = await start([
    endpoint("GET /each/:id", { params: { id: Type.Integer() } }, () => (ledger.reads("each"), `answer ${++runs}`)),
    endpoint("GET /off", { cache: false }, () => "whole"),
  ]);
  const first = await send(`${app.url}/each/1`, { headers: { range: "bytes=0-5" } });
  assert.deepEqual([first.status, first.text, first.headers["content-range"]], [206, "answer", "bytes 0-5/8"]);
  assert.match(statusOf(first), /; stored/);
  assert.equal((await send(`${app.url}/each/1`)).text, "answer 1", "all of it is kept");
  const several = await send(`${app.url}/each/1`, { headers: { range: "bytes=0-1,4-5" } });
  assert.deepEqual([several.status, several.text], [200, "answer 1"]);
  const off = await send(`${app.url}/off`, { headers: { range: "bytes=0-1" } });
  assert.deepEqual([off.status, off.text, off.headers["accept-ranges"]], [200, "whole", undefined]);
});

test("If-Modified-Since counts where the handler has said Last-Modified, and only without If-None-Match", async () => {
  await using app = await start([
    endpoint("GET /dated", {}, ({ reply }) => {
      ledger.reads("dated");
      reply.header("last-modified", "Tue, 15 Nov 1994 12:45:26 GMT");
      return "dated";
    }),
    endpoint("GET /undated", {}, () => (ledger.reads("dated"), "undated")),
  ]);
  const status = async (path: string, headers: Readonly<Record<string, string>>) =>
    (await send(app.url + path, { headers })).status;
  const at = (date: string) => ({ "if-modified-since": date });
  for (let i = 0; i < 2; i++) {
    assert.equal(await status("/dated", at("Tue, 15 Nov 1994 12:45:26 GMT")), 304);
    assert.equal(await status("/dated", at("Wed, 16 Nov 1994 00:00:00 GMT")), 304);
    assert.equal(await status("/dated", at("Tue, 15 Nov 1994 12:45:25 GMT")), 200);
    assert.equal(await status("/dated", at("yesterday")), 200);
    assert.equal(await status("/dated", { ...at("Wed, 16 Nov 1994 00:00:00 GMT"), "if-none-match": '"other"' }), 200);
    assert.equal(await status("/undated", at("Wed, 16 Nov 1994 00:00:00 GMT")), 200);
  }
});

/** The header lines of the answers to `requests` on one connection, sorted, without those that differ by nature. */
async function heads(url: string, requests: readonly string[]): Promise<string[][]> {
  const socket = await open(url);
  const all = readAll(socket);
  socket.write(
    requests
      .map((each, i) => each.replace("\r\n\r\n", `\r\nhost: x\r\n${i === requests.length - 1 ? "connection: close\r\n" : ""}\r\n`))
      .join(""),
  );
  const answers = (await all).split(/(?=HTTP\/1\.1 )/);
  return answers.map((answer) => {
    const [head] = answer.split("\r\n\r\n");
    return head!
      .split("\r\n")
      .filter((line) => !/^(?:date|x-request-id|connection|keep-alive): /i.test(line))
      .toSorted();
  });
}

test("the short way before the framework sends the same head as the way through it", async () => {
  await using app = await start([list], { strictTransportSecurity: true });
  await encodedAnswer(`${app.url}/list`, "br");
  const tag = (await send(`${app.url}/list`)).headers["etag"] as string;
  for (const [header, status] of [
    ["accept-encoding: br", 200],
    ["accept: */*", 200],
    [`if-none-match: ${tag}`, 304],
  ] as const) {
    // Nothing looks at If-Match, but it is known to no short way.
    const [short, long] = await heads(app.url, [
      `GET /list HTTP/1.1\r\n${header}\r\n\r\n`,
      `GET /list HTTP/1.1\r\n${header}\r\nif-match: *\r\n\r\n`,
    ]);
    assert.deepEqual(short, long);
    assert.match(short!.join("\n"), new RegExp(`HTTP/1.1 ${status}`));
    assert.ok(short!.includes("strict-transport-security: max-age=63072000; includeSubDomains"));
  }
});

test("hooks of the user and of plugins are asked at every hit, on every route that they are for", async () => {
  const refused = { onRequest: 0, asked: 0 };
  await using app = await start([list, endpoint("GET /other", {}, () => (ledger.reads("other"), "other"))], {}, ({ fastify }) => {
    fastify.addHook("onRequest", async (request, reply) => {
      refused.asked++;
      if (request.headers["x-banned"] === undefined) return;
      refused.onRequest++;
      await reply.code(403).send("banned");
    });
    fastify.addHook("onSend", async (request, reply) => {
      reply.header("x-sent-to", String(request.headers["x-name"]));
    });
  });
  for (let i = 0; i < 3; i++) {
    const answer = await send(`${app.url}/list`, { headers: { "x-name": `n${i}` } });
    assert.equal(answer.headers["x-sent-to"], `n${i}`);
    assert.match(statusOf(answer), i === 0 ? /; stored/ : /; hit;/);
    assert.equal((await send(`${app.url}/list`, { headers: { "x-banned": "1" } })).status, 403);
  }
  assert.deepEqual(refused, { onRequest: 3, asked: 6 });
});

test("any kind of hook of an enclosing app keeps the plugin's routes off the short way", async () => {
  for (const hook of [
    "preParsing",
    "preValidation",
    "preHandler",
    "onSend",
    "onResponse",
    "onTimeout",
    "onRequestAbort",
  ] as const) {
    await using cache = createCache({ ledger });
    const fastify = createFastify();
    let called = 0;
    const count = (...given: readonly unknown[]): void => {
      called++;
      (given.at(-1) as () => void)(); // done comes last with every hook
    };
    fastify.addHook(hook as "preHandler", count);
    await fastify.register(millracePlugin, { endpoints: [list], cache, prefix: "/v1" });
    const url = await fastify.listen({ port: 0 });
    try {
      for (let i = 0; i < 4; i++) assert.equal((await send(`${url}/v1/list`)).text, text);
      // The two at the end speak of requests that go wrong; none did.
      if (hook !== "onTimeout" && hook !== "onRequestAbort") assert.equal(called, 4, hook);
    } finally {
      await fastify.close();
    }
  }
});

test("every hit is counted and logged, whichever way it takes", async () => {
  const lines: {
    readonly msg: string;
    readonly status: number;
    readonly bytes: number;
    readonly path: string;
    readonly requestId: string;
  }[] = [];
  const logger = pino({ level: "info" }, { write: (line) => void lines.push(JSON.parse(line) as (typeof lines)[number]) });
  await using app = await start([list], { logger });
  const messages: { readonly status: number; readonly bytes: number; readonly requestId: string }[] = [];
  const states: string[] = [];
  using _requests = requestChannel.subscribe((message) => void messages.push(message));
  using _states = responseCacheChannel.subscribe(({ state }) => void states.push(state));
  const etag = (await send(`${app.url}/list`)).headers["etag"] as string;
  const hit = await send(`${app.url}/list?`, {});
  const given = await send(`${app.url}/list`, { headers: { "x-request-id": "given-by-client" } });
  const notModified = await send(`${app.url}/list`, { headers: { "if-none-match": etag } });
  assert.equal(given.headers["x-request-id"], "given-by-client");
  for (let i = 0; i < 1_000 && messages.length < 4; i++) await pause(10);
  const length = Buffer.byteLength(text);
  assert.deepEqual(
    messages.map(({ status, bytes }) => [status, bytes]),
    [
      [200, length],
      [200, length],
      [200, length],
      [304, 0],
    ],
  );
  assert.deepEqual(
    messages.slice(1).map(({ requestId }) => requestId),
    [hit, given, notModified].map(({ headers }) => headers["x-request-id"]),
  );
  assert.deepEqual(states, ["miss", "hit", "hit", "hit"]);
  const logged = lines.filter(({ msg }) => msg === "request");
  assert.deepEqual(
    logged.map(({ status, bytes, path, requestId }) => [status, bytes, path, requestId]),
    messages.map(({ status, bytes, requestId }) => [status, bytes, "/list", requestId]),
  );
  assert.equal(app.cache.stats().hits, 3);
});

test("a client that leaves in the middle of a hit is 499", async () => {
  const large = endpoint("GET /large", {}, () => (ledger.reads("large"), "x".repeat(8 * 1_024 * 1_024)));
  await using app = await start([large]);
  await send(`${app.url}/large`);
  const message = requestChannel.next(({ route }) => route === "/large", AbortSignal.timeout(20_000));
  const socket = await open(app.url);
  socket.pause();
  socket.write("GET /large HTTP/1.1\r\nhost: x\r\n\r\n");
  await new Promise((resolve) => socket.once("readable", resolve));
  socket.destroy();
  assert.equal((await message).status, 499);
});

test("heads are the app's, also for what another app has put into the shared store", async () => {
  const store = memoryStore();
  const startOn = async (strictTransportSecurity: boolean) => {
    const cache = createCache({ ledger, store });
    const app = createApp({ endpoints: [list], logger: false, cache, strictTransportSecurity });
    return { cache, app, url: await app.listen({ port: 0 }) };
  };
  const one = await startOn(false);
  const two = await startOn(true);
  try {
    const first = await send(`${one.url}/list`);
    assert.equal(first.headers["strict-transport-security"], undefined);
    for (let i = 0; i < 3; i++) {
      const answer = await send(`${two.url}/list`, { headers: { "accept-encoding": "gzip" } });
      assert.match(statusOf(answer), i === 0 ? /hit; .*detail=store/ : /hit; ttl=\d+$/);
      assert.equal(answer.headers["strict-transport-security"], "max-age=63072000; includeSubDomains");
      assert.equal(decodedBody(answer), text);
    }
    const encoded = await encodedAnswer(`${two.url}/list`, "gzip");
    assert.equal(decodedBody(encoded), text);
    assert.equal((await send(`${one.url}/list`)).headers["strict-transport-security"], undefined);
  } finally {
    for (const { app, cache } of [one, two]) {
      await app.close();
      await cache.close();
    }
  }
});

test("a write ends what is at hand in the same moment, and headers of the request choose the entry", async () => {
  let runs = 0;
  await using app = await start([
    endpoint("GET /greeting", { cache: { vary: ["accept-language"] } }, ({ headers }) => {
      ledger.reads("greetings");
      return `${headers["accept-language"] ?? "none"} ${++runs}`;
    }),
  ]);
  const ask = async (language?: string): Promise<string> =>
    (await send(`${app.url}/greeting`, { headers: language === undefined ? {} : { "accept-language": language } })).text;
  for (let i = 0; i < 3; i++) assert.deepEqual([await ask("de"), await ask("en"), await ask()], ["de 1", "en 2", "none 3"]);
  await app.cache.invalidate("greetings");
  assert.equal(await ask("de"), "de 4");
  assert.equal(await ask("de"), "de 4");
});

test("every answer of a server with a cache says what the cache did", async () => {
  const auth = bearer({ identify: () => null, principalId: String });
  await using app = await start([
    list,
    endpoint("POST /list", {}, () => "posted"),
    endpoint("GET /mine", { auth, cache: { scope: "user" } }, () => "mine"),
  ]);
  assert.equal(statusOf(await send(`${app.url}/list`, { method: "POST" })), "millrace; fwd=method");
  assert.equal(statusOf(await send(`${app.url}/list`, { method: "DELETE" })), "millrace; fwd=bypass; detail=no-endpoint");
  assert.equal(statusOf(await send(`${app.url}/nowhere`)), "millrace; fwd=bypass; detail=no-endpoint");
  assert.equal(statusOf(await send(`${app.url}/healthz`)), "millrace; fwd=bypass; detail=no-endpoint");
  assert.equal(statusOf(await send(`${app.url}/mine`)), "millrace; fwd=bypass; detail=refused");
  for (const bytes of ["GET /list HTTP/1.1\r\nbad header\r\n\r\n", `GET /list HTTP/1.1\r\nlarge: ${"x".repeat(100_000)}\r\n\r\n`]) {
    const socket = await open(app.url);
    socket.write(bytes);
    assert.match(await readAll(socket), /^HTTP\/1\.1 4\d\d .*\r\ncache-status: millrace; fwd=bypass; detail=refused\r\n/s);
  }
});

test("a request with a body, or one of HTTP/1.0, is answered by the same entry", async () => {
  await using app = await start([list]);
  for (let i = 0; i < 2; i++) {
    const socket = await open(app.url);
    socket.write("GET /list HTTP/1.0\r\n\r\n");
    const answer = await readAll(socket);
    assert.match(answer, /^HTTP\/1\.1 200 OK\r\n/);
    assert.ok(answer.endsWith(text));
  }
  const status = await new Promise<number>((resolve, reject) => {
    httpRequest(
      `${app.url}/list`,
      { method: "GET", headers: { "content-type": "application/json", "content-length": "2" } },
      (response) => {
        response.resume();
        resolve(response.statusCode!);
      },
    )
      .on("error", reject)
      .end("{}");
  });
  assert.equal(status, 200);
});

test("a kept body keeps no more memory alive than its own bytes, which are those that were said", async () => {
  const bodies = { ascii: "a line\n".repeat(100), latin: "Zürich\n".repeat(100), wide: "京都 🗻\n".repeat(100) };
  const bytes = Buffer.from(bodies.wide);
  await using app = await start([
    ...Object.entries(bodies).map(([name, body]) => endpoint(`GET /${name}` as "GET /x", { cache: { ttl: "1h" } }, () => body)),
    endpoint("GET /bytes", { cache: { ttl: "1h" } }, () => bytes),
  ]);
  for (const [name, body] of Object.entries({ ...bodies, bytes: bodies.wide })) {
    for (const state of ["fwd=uri-miss", "hit"]) {
      const answer = await send(`${app.url}/${name}`);
      assert.ok(statusOf(answer).includes(state), `${name}: ${statusOf(answer)}`);
      assert.equal(answer.body.toString(), body, name);
    }
    const { body: kept } = app.cache.peek<{ readonly body: Buffer }>(`http:1.0.0:/${name}`)!.value;
    assert.equal(kept.buffer.byteLength, Buffer.byteLength(body), name);
  }
});
