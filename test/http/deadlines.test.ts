import assert from "node:assert/strict";
import { once } from "node:events";
import { Readable } from "node:stream";
import { test } from "node:test";
import { currentContext } from "../../src/concurrency/index.ts";
import { bearer, createApp, endpoint, requestChannel, type Endpoint } from "../../src/http/index.ts";
import { open, problemOf, readAll, send, sendJson } from "./client.ts";
import { Type } from "typebox";

const start = async (endpoints: readonly Endpoint[]) => {
  const app = createApp({ endpoints, logger: false });
  return { url: await app.listen({ port: 0 }), [Symbol.asyncDispose]: () => app.close() };
};
const untilAborted = (signal: AbortSignal): Promise<unknown> =>
  new Promise((resolve) => signal.addEventListener("abort", () => resolve(signal.reason)));

test("a handler that overruns its deadline is aborted and answered with 504, whatever it does then", async () => {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  await using app = await start([
    endpoint("GET /deaf", { deadline: "20ms" }, async ({ signal }) => {
      resolve(await untilAborted(signal));
      throw new Error("too late to matter");
    }),
    endpoint("GET /forever", { deadline: "20ms" }, () => new Promise(() => {})),
  ]);
  const answer = await send(`${app.url}/deaf`);
  assert.equal(answer.status, 504);
  assert.equal(problemOf(answer).code, "MILLRACE_DEADLINE_EXCEEDED");
  assert.equal(((await promise) as { code: string }).code, "MILLRACE_DEADLINE_EXCEEDED");
  assert.equal((await send(`${app.url}/forever`)).status, 504);
});

test("the work sees its own context across awaits, bodies and identification", async () => {
  const auth = bearer({
    identify: async (token) => {
      await new Promise((resolve) => setImmediate(resolve));
      return { id: token, seen: currentContext()?.requestId };
    },
    principalId: ({ id }) => id,
  });
  await using app = await start([
    endpoint("POST /x", { auth, body: Type.Object({ a: Type.Integer() }) }, async ({ principal, requestId, deadline }) => {
      await new Promise((resolve) => setImmediate(resolve));
      const context = currentContext()!;
      return {
        principal,
        requestId,
        same: context.deadline === deadline,
        context: context.requestId,
        principalId: context.principalId,
      };
    }),
  ]);
  const answer = await sendJson(
    `${app.url}/x`,
    { a: 1 },
    { headers: { authorization: "Bearer abc", "x-request-id": "request-0001" } },
  );
  assert.deepEqual(JSON.parse(answer.text), {
    principal: { id: "abc", seen: "request-0001" },
    requestId: "request-0001",
    same: true,
    context: "request-0001",
    principalId: "abc",
  });
});

test("identification that overruns the deadline is a 504 too", async () => {
  const auth = bearer({ identify: () => new Promise<null>(() => {}), principalId: () => "" });
  await using app = await start([endpoint("GET /x", { auth, deadline: "20ms" }, () => 1)]);
  assert.equal((await send(`${app.url}/x`, { headers: { authorization: "Bearer abc" } })).status, 504);
});

test("a client that leaves aborts the work", async () => {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
  await using app = await start([
    endpoint("GET /x", {}, async ({ signal }) => {
      begin();
      resolve(await untilAborted(signal));
    }),
  ]);
  const finished = requestChannel.next((message) => message.route === "/x");
  const socket = await open(app.url);
  socket.write("GET /x HTTP/1.1\r\nhost: x\r\n\r\n");
  await begun;
  socket.destroy();
  assert.equal(((await promise) as { code: string }).code, "MILLRACE_HTTP_CLIENT_CLOSED");
  assert.equal((await finished).status, 499);
});

test("a client that leaves destroys the stream it was reading", async () => {
  const source = new Readable({
    read() {
      this.push("x".repeat(1_000));
    },
  });
  await using app = await start([endpoint("GET /x", { deadline: "none" }, () => source)]);
  const closed = new Promise((resolve) => source.once("close", resolve));
  const socket = await open(app.url);
  socket.write("GET /x HTTP/1.1\r\nhost: x\r\n\r\n");
  await once(socket, "data");
  socket.destroy();
  await closed;
});

test("a deadline cuts a stream so that it cannot look complete", async () => {
  const source = new Readable({ read() {} });
  source.push("begun");
  await using app = await start([endpoint("GET /x", { deadline: "50ms" }, () => source)]);
  const socket = await open(app.url);
  const all = readAll(socket);
  socket.write("GET /x HTTP/1.1\r\nhost: x\r\n\r\n");
  const text = await all;
  assert.match(text, /begun/);
  assert.doesNotMatch(text, /\r\n0\r\n\r\n$/);
});

test("finished requests leave no timer behind", async () => {
  await using app = await start([endpoint("GET /x", { deadline: "60s" }, async ({ signal }) => ({ aborted: signal.aborted }))]);
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
  await send(`${app.url}/x`);
  const before = timers();
  for (let i = 0; i < 50; i++) await send(`${app.url}/x`);
  assert.ok(timers() <= before + 2, `${before} timers became ${timers()}`);
});
