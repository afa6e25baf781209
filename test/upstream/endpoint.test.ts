// An endpoint that calls an upstream: what goes along, what comes back to the client, and what ends with the request.

import assert from "node:assert/strict";
import { once } from "node:events";
import { type RequestListener, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { suite, test } from "node:test";
import { group } from "../../src/concurrency/index.ts";
import { createApp, endpoint } from "../../src/http/index.ts";
import { type Upstream, createUpstream, upstreamCallChannel } from "../../src/upstream/index.ts";
import { open, problemOf, send } from "../http/client.ts";

async function start(answer: RequestListener, handler: (upstream: Upstream) => Promise<unknown>) {
  const server = createServer(answer).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const upstream = createUpstream("mill", {
    url: `http://127.0.0.1:${port}`,
    allowPrivate: ["127.0.0.1"],
    deadline: "20s",
    headersTimeout: "20s",
    maxAttempts: 2,
    backoff: "5ms",
  });
  const app = createApp({ endpoints: [endpoint("GET /x", { deadline: "25s" }, () => handler(upstream))], logger: false });
  const url = await app.listen({ port: 0 });
  return {
    url: `${url}/x`,
    host: `127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      await app.close();
      await upstream.close();
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

suite("an endpoint that calls an upstream", () => {
  test("passes on its request's id and trace, also from a group", async () => {
    await using service = await start(
      ({ headers }, response) =>
        void response.end(JSON.stringify([headers["x-request-id"], headers["traceparent"], headers["tracestate"]])),
      (upstream) => group((tasks) => tasks.start(() => upstream.json({ path: "/" }))),
    );
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const headers = { "x-request-id": "request-0001", traceparent, tracestate: "a=1" };
    assert.deepEqual(JSON.parse((await send(service.url, { headers })).text), ["request-0001", traceparent, "a=1"]);
    const broken = { "x-request-id": "request-0002", traceparent: "00-nonsense" };
    assert.deepEqual(JSON.parse((await send(service.url, { headers: broken })).text), ["request-0002", null, null]);
  });

  test("answers 502 when it fails, and keeps to itself where it is and what it said", async () => {
    await using service = await start(
      (_request, response) => {
        response.statusCode = 500;
        response.end("internal details");
      },
      (upstream) => upstream.json({ path: "/secret" }),
    );
    const ended = upstreamCallChannel.next(undefined, AbortSignal.timeout(30_000));
    const answer = await send(service.url);
    assert.equal(answer.status, 502);
    assert.equal(problemOf(answer).code, "MILLRACE_UPSTREAM_FAILED");
    assert.doesNotMatch(answer.text, /127\.0\.0\.1|secret|internal details/);
    const { error, path, attempts } = await ended;
    assert.deepEqual([error, path], ["MILLRACE_UPSTREAM_FAILED", "/secret"]);
    assert.deepEqual(
      attempts.map(({ replica, kind, failure }) => [replica, kind, failure]),
      [
        [service.host, "first", "status 500"],
        [service.host, "retry", "status 500"],
      ],
    );
  });

  test("ends its calls when its client leaves", { timeout: 60_000 }, async () => {
    let running = 0;
    const all = Promise.withResolvers<void>();
    const none = Promise.withResolvers<void>();
    await using service = await start(
      (_request, response) => {
        if (++running === 3) all.resolve();
        response.on("close", () => {
          if (--running === 0) none.resolve();
        });
      },
      (upstream) => group((tasks) => Promise.all([1, 2, 3].map((n) => tasks.start(() => upstream.json({ path: `/${n}` }))))),
    );
    const client = await open(service.url);
    client.write("GET /x HTTP/1.1\r\nhost: mill\r\n\r\n");
    await all.promise;
    client.destroy();
    await none.promise;
  });
});
