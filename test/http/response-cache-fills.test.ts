// Who gets the answer of a fill that several wait for, and what ends it.

import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { test } from "node:test";
import { Type } from "typebox";
import { type CacheOptions, type Demand, createCache, hashDependencies } from "../../src/cache/index.ts";
import {
  type AppOptions,
  type Endpoint,
  type HandlerTools,
  createApp,
  endpoint,
  problem,
  requestChannel,
  responseCacheChannel,
  tokenIgnoredChannel,
} from "../../src/http/index.ts";
import { type Answer, open, problemOf, readAll, send } from "./client.ts";
import { createFollowingLedger } from "./following-ledger.ts";

const ledger = createFollowingLedger();

const start = async (endpoints: readonly Endpoint[], options: Partial<AppOptions> = {}, cacheOptions: CacheOptions = {}) => {
  const cache = createCache({ ledger, earlyRefresh: 0, ...cacheOptions });
  const app = createApp({ endpoints, logger: false, cache, drainDelay: "0s", ...options });
  const url = await app.listen({ port: 0 });
  return {
    url,
    app,
    cache,
    async [Symbol.asyncDispose]() {
      await app.close();
      await cache.close();
    },
  };
};

const statusOf = ({ headers }: Answer): string => String(headers["cache-status"]);

/** Waits until as many flights of the cache have somebody who waits: requests arrive when they arrive. */
const until = async (holds: () => boolean): Promise<void> => {
  const endMs = performance.now() + 15_000;
  while (!holds()) {
    assert.ok(performance.now() < endMs, "not within 15 s");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};

/** A gate in a handler: who has come in, and when they may go on. */
const createGate = () => {
  const { promise: opened, resolve } = Promise.withResolvers<void>();
  const gate = { inside: 0, open: resolve, wait: async () => (gate.inside++, await opened) };
  return gate;
};

/** Counts the requests that an app has seen arrive. */
const countArrivals = (app: { readonly app: { readonly fastify: { readonly server: NodeJS.EventEmitter } } }) => {
  const counter = { count: 0 };
  app.app.fastify.server.on("request", () => counter.count++);
  return counter;
};

test("twenty who ask at once cost one handler run, and all but one are collapsed", async () => {
  const gate = createGate();
  await using app = await start([
    endpoint("GET /x", {}, async () => {
      ledger.reads("a1");
      await gate.wait();
      return { run: gate.inside };
    }),
  ]);
  const arrivals = countArrivals(app);
  const asked = Array.from({ length: 20 }, () => send(`${app.url}/x`));
  await until(() => arrivals.count === 20);
  gate.open();
  const answers = await Promise.all(asked);
  assert.equal(gate.inside, 1);
  assert.equal(answers.filter((answer) => /; collapsed; stored/.test(statusOf(answer))).length, 19);
  for (const answer of answers) assert.equal(answer.text, '{"run":1}');
});

test("while the feed is silent, those who ask together still share; what was read from nothing that is followed is not shared", async () => {
  const gate = createGate();
  let followed = 0;
  let unfollowed = 0;
  await using app = await start([
    endpoint("GET /x", {}, async () => {
      ledger.reads("a-silent");
      const run = ++followed;
      await gate.wait();
      return { run };
    }),
    endpoint("GET /y", {}, async () => {
      const run = ++unfollowed;
      await gate.wait();
      return { run };
    }),
  ]);
  ledger.silent = true;
  try {
    const arrivals = countArrivals(app);
    const asked = Array.from({ length: 40 }, (_, i) => send(`${app.url}/${i % 2 ? "x" : "y"}`));
    await until(() => arrivals.count === 40);
    gate.open();
    const answers = await Promise.all(asked);
    assert.ok(answers.every(({ status }) => status === 200));
    // One for those who came before its handler began to read, and one for those who came later.
    assert.ok(followed <= 2, `${followed} runs`);
    assert.equal(unfollowed, 20);
    assert.ok(answers.every((answer) => !/stored/.test(statusOf(answer))));
  } finally {
    ledger.silent = false;
  }
});

test("an answer that is somebody's own goes to nobody who waited for it", async () => {
  const gate = createGate();
  await using app = await start([
    endpoint("GET /x", { cache: { ttl: "1m" } }, async ({ request }) => {
      await gate.wait();
      return { cookie: request.headers.cookie };
    }),
    endpoint("GET /error", { cache: { ttl: "1m" } }, async ({ request }) => {
      await gate.wait();
      throw problem(403, "NOT_YOU", `Not you, ${request.headers.cookie}.`);
    }),
  ]);
  const arrivals = countArrivals(app);
  const asked = ["/x", "/error"].flatMap((path) =>
    ["ada", "bob", "cleo"].map((cookie) => send(app.url + path, { headers: { cookie } })),
  );
  await until(() => arrivals.count === 6);
  gate.open();
  const answers = await Promise.all(asked);
  assert.deepEqual(
    answers.slice(0, 3).map(({ text }) => JSON.parse(text).cookie as string),
    ["ada", "bob", "cleo"],
  );
  assert.deepEqual(
    answers.slice(3).map((answer) => problemOf(answer).detail),
    ["Not you, ada.", "Not you, bob.", "Not you, cleo."],
  );
  for (const answer of answers) assert.doesNotMatch(statusOf(answer), /stored|hit/);
});

test("unasked, an answer that is not kept goes to nobody else; asked, it does", async () => {
  const gate = createGate();
  await using app = await start([
    endpoint("GET /unasked", {}, async () => (await gate.wait(), { run: gate.inside, random: Math.random() })),
  ]);
  const arrivals = countArrivals(app);
  const asked = Array.from({ length: 3 }, () => send(`${app.url}/unasked`));
  await until(() => arrivals.count === 3);
  gate.open();
  assert.equal(new Set((await Promise.all(asked)).map(({ text }) => text)).size, 3);
});

test("an invalidation during a fill that has read already: its answer is not served to who comes later", async () => {
  let value = "old";
  const gate = createGate();
  await using app = await start([
    endpoint("GET /x", {}, async () => {
      ledger.reads("a2");
      const read = value;
      if (read === "old") await gate.wait();
      return { read };
    }),
  ]);
  const before = send(`${app.url}/x`);
  await until(() => gate.inside === 1);
  value = "new";
  await app.cache.invalidate("a2");
  const after = send(`${app.url}/x`);
  const arrived = responseCacheChannel.next(({ route }) => route === "/x");
  gate.open();
  await arrived;
  assert.equal((await after).text, '{"read":"new"}');
  await before;
  assert.equal((await send(`${app.url}/x`)).text, '{"read":"new"}');
});

test("a client that leaves does not end the fill for those who still wait", async () => {
  const gate = createGate();
  let aborted = false;
  await using app = await start([
    endpoint("GET /x", {}, async ({ signal }) => {
      ledger.reads("a3");
      signal.addEventListener("abort", () => (aborted = true));
      await gate.wait();
      return { run: gate.inside };
    }),
  ]);
  const arrivals = countArrivals(app);
  const socket = await open(app.url);
  socket.write("GET /x HTTP/1.1\r\nhost: x\r\n\r\n");
  await until(() => gate.inside === 1);
  const second = send(`${app.url}/x`);
  await until(() => arrivals.count === 2);
  const left = requestChannel.next(({ status }) => status === 499);
  socket.destroy();
  await left;
  gate.open();
  const answer = await second;
  assert.equal(answer.text, '{"run":1}');
  assert.match(statusOf(answer), /collapsed; stored/);
  assert.equal(aborted, false);
});

test("when all clients have left, the fill is aborted", async () => {
  const { promise: aborted, resolve: abort } = Promise.withResolvers<void>();
  const gate = createGate();
  await using app = await start([
    endpoint("GET /x", {}, async ({ signal }) => {
      signal.addEventListener("abort", () => abort());
      await gate.wait();
    }),
  ]);
  const arrivals = countArrivals(app);
  const sockets = [await open(app.url), await open(app.url)];
  for (const socket of sockets) socket.write("GET /x HTTP/1.1\r\nhost: x\r\n\r\n");
  await until(() => gate.inside === 1 && arrivals.count === 2);
  for (const socket of sockets) socket.destroy();
  await aborted;
  gate.open();
});

test("each client has its own deadline, and a late one still gets what the first had begun", async () => {
  const gate = createGate();
  await using app = await start([
    endpoint("GET /x", { deadline: "3s" }, async () => {
      ledger.reads("a4");
      await gate.wait();
      return { run: gate.inside };
    }),
  ]);
  const first = send(`${app.url}/x`);
  await until(() => gate.inside === 1);
  await new Promise((resolve) => setTimeout(resolve, 1_500)); // the second's deadline has to be that much later than the first's
  const second = send(`${app.url}/x`);
  const late = await first;
  assert.equal(late.status, 504);
  assert.equal(problemOf(late).code, "MILLRACE_DEADLINE_EXCEEDED");
  assert.equal(statusOf(late), "millrace; fwd=miss");
  gate.open();
  const answer = await second;
  assert.equal(answer.status, 200);
  assert.equal(answer.text, '{"run":1}');
});

test("a handler that does not listen is answered for at the deadline", async () => {
  await using app = await start([endpoint("GET /x", { deadline: "30ms" }, () => new Promise(() => {}))]);
  assert.equal((await send(`${app.url}/x`)).status, 504);
});

test("a stream of a client that has left is destroyed, though nobody sends it", async () => {
  const gate = createGate();
  const source = new Readable({ read() {} });
  await using app = await start([endpoint("GET /x", { deadline: "60s" }, async () => (await gate.wait(), source))]);
  const socket = await open(app.url);
  socket.write("GET /x HTTP/1.1\r\nhost: x\r\n\r\n");
  await until(() => gate.inside === 1);
  const left = requestChannel.next(({ route }) => route === "/x");
  const closed = new Promise((resolve) => source.once("close", resolve));
  socket.destroy();
  await left;
  gate.open();
  await closed;
});

test("a stream from a fill goes on under its request's deadline, not the fill's", async () => {
  const source = new Readable({ read() {} });
  source.push("begun");
  let held: HandlerTools | undefined;
  await using app = await start([
    endpoint("GET /x", { deadline: "60ms" }, (tools) => {
      held = tools;
      return source;
    }),
  ]);
  const socket = await open(app.url);
  const all = readAll(socket);
  socket.write("GET /x HTTP/1.1\r\nhost: x\r\n\r\n");
  const text = await all;
  assert.match(text, /begun/);
  assert.doesNotMatch(text, /\r\n0\r\n\r\n$/);
  assert.equal(held!.deadline.aborted, true);
});

test("a failing fill is served from what has only grown old, and never from what was written", async () => {
  let fails = false;
  await using app = await start([
    endpoint("GET /x", { cache: { ttl: "1ms", stale: "1m" } }, () => {
      ledger.reads("a5");
      if (fails) throw new Error("the source is down");
      return { fine: true };
    }),
  ]);
  await send(`${app.url}/x`);
  fails = true;
  await new Promise((resolve) => setTimeout(resolve, 5));
  const old = await send(`${app.url}/x`);
  assert.equal(old.text, '{"fine":true}');
  assert.match(statusOf(old), /^millrace; hit; ttl=-\d+; detail=expired$/);
  assert.equal(old.headers["age"], "0");
  await app.cache.invalidate("a5");
  assert.equal((await send(`${app.url}/x`)).status, 500);
});

test("bad requests never break a key off", async () => {
  await using app = await start([
    endpoint("GET /x", { query: { n: Type.Integer() } }, ({ query: { n } }) => {
      ledger.reads("a6");
      if (n < 0) throw problem(400, "NEGATIVE", "No.");
      return n;
    }),
  ]);
  for (let i = 0; i < 10; i++) {
    assert.equal(problemOf(await send(`${app.url}/x?n=x`)).code, "MILLRACE_HTTP_REQUEST_INVALID");
    assert.equal(problemOf(await send(`${app.url}/x?n=-1`)).code, "NEGATIVE");
  }
  assert.equal(app.cache.stats().fillErrors, 0);
});

test("a drain answers those who wait, and closes their connections", async () => {
  const gate = createGate();
  await using app = await start([
    endpoint("GET /x", {}, async () => (ledger.reads("a7"), await gate.wait(), { run: gate.inside })),
  ]);
  const arrivals = countArrivals(app);
  const asked = [send(`${app.url}/x`), send(`${app.url}/x`)];
  await until(() => arrivals.count === 2 && gate.inside === 1);
  const closing = app.app.close();
  gate.open();
  for (const answer of await Promise.all(asked)) {
    assert.equal(answer.text, '{"run":1}');
    assert.equal(answer.headers["connection"], "close");
  }
  await closing;
});

test("a made answer that is checked and wrong is a 500, not kept", async () => {
  let wrong = true;
  await using app = await start(
    [
      endpoint("GET /x", { response: Type.Object({ n: Type.Integer() }) }, () => {
        ledger.reads("a8");
        return { n: (wrong ? "one" : 1) as number };
      }),
    ],
    { checkResponses: true },
  );
  assert.equal((await send(`${app.url}/x`)).status, 500);
  wrong = false;
  assert.equal((await send(`${app.url}/x`)).text, '{"n":1}');
});

test("tokens: who wrote gets one, and who brings it is not answered from before the write", async () => {
  const wrote = new WeakSet<object>();
  const demand: Demand = { upTo: Number.MAX_SAFE_INTEGER, dependencies: hashDependencies(["a9"]) };
  const ignored: string[] = [];
  using _subscription = tokenIgnoredChannel.subscribe(({ reason }) => ignored.push(reason));
  const cacheTokens: NonNullable<AppOptions["cacheTokens"]> = {
    issue: async (context) => (wrote.has(context) ? "token-1" : undefined),
    read: (token) => (token === "token-1" ? demand : undefined),
  };
  let value = 0;
  await using app = await start(
    [
      endpoint("GET /x", {}, () => (ledger.reads("a9"), { value })),
      endpoint("GET /other", {}, () => (ledger.reads("b"), { value })),
      endpoint("POST /x", {}, (input) => {
        value++;
        wrote.add(input);
        return {};
      }),
      endpoint("PUT /x", {}, (input) => {
        wrote.add(input);
        throw problem(409, "HALF_WAY", "Part of it has happened.");
      }),
      endpoint("DELETE /x", {}, () => ({})),
    ],
    { cacheTokens },
  );
  await send(`${app.url}/x`);
  await send(`${app.url}/other`);
  assert.equal((await send(`${app.url}/x`, { method: "DELETE" })).headers["freshness-token"], undefined);
  assert.equal((await send(`${app.url}/x`, { method: "PUT" })).headers["freshness-token"], "token-1");
  const posted = await send(`${app.url}/x`, { method: "POST" });
  const token = posted.headers["freshness-token"] as string;
  assert.equal(token, "token-1");
  assert.match(statusOf(await send(`${app.url}/x`)), /; hit/);
  const mine = await send(`${app.url}/x`, { headers: { "freshness-token": token } });
  assert.equal(mine.text, '{"value":1}');
  assert.match(statusOf(mine), /fwd=request.*detail=token/);
  assert.match(statusOf(await send(`${app.url}/other`, { headers: { "freshness-token": token } })), /; hit/);
  assert.deepEqual(ignored, []);
  for (const bad of ["forged", "x".repeat(2_000), "with space"]) {
    assert.equal((await send(`${app.url}/other`, { headers: { "freshness-token": bad } })).status, 200);
  }
  assert.deepEqual(ignored, ["unreadable", "malformed", "malformed"]);
});

test("a token that cannot be made does not cost the answer", async () => {
  const cacheTokens = { issue: () => Promise.reject(new Error("no")), read: () => undefined };
  await using app = await start([endpoint("POST /x", {}, () => ({ done: true }))], { cacheTokens });
  assert.equal((await send(`${app.url}/x`, { method: "POST" })).text, '{"done":true}');
});
