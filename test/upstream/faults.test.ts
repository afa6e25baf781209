// What other people's servers do, done by real ones: sizes, garbage, drips, redirects, resets, and a DNS that changes.

import assert from "node:assert/strict";
import { once } from "node:events";
import { type IncomingMessage, type RequestListener, type Server, type ServerResponse, createServer } from "node:http";
import { type AddressInfo, type Socket, createServer as createTcpServer } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { suite, test } from "node:test";
import { group } from "../../src/concurrency/index.ts";
import { MillraceError, createManualClock } from "../../src/core/index.ts";
import { type AttemptReport, type UpstreamOptions, createUpstream } from "../../src/upstream/index.ts";

interface Running extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
}

async function running(server: Server | ReturnType<typeof createTcpServer>, host = "127.0.0.1", port = 0): Promise<Running> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
  });
  server.listen(port, host);
  await once(server, "listening");
  const { port: chosen } = server.address() as AddressInfo;
  return {
    url: `http://${host}:${chosen}`,
    port: chosen,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

const http = (listener: RequestListener, host?: string, port?: number) => running(createServer(listener), host, port);
const raw = (talk: (socket: Socket) => void) => running(createTcpServer((socket) => void socket.once("data", () => talk(socket))));

/** Generous, for a machine that is busy: what is tested is that something ends, not how fast. */
const base: UpstreamOptions = {
  allowPrivate: ["127.0.0.0/8"],
  deadline: "20s",
  connectTimeout: "10s",
  headersTimeout: "10s",
  bodyTimeout: "10s",
  maxAttempts: 1,
};

async function failure(promise: Promise<unknown>): Promise<MillraceError> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof MillraceError, String(error));
    return error;
  }
  return assert.fail("it should have failed");
}

const ways = (error: MillraceError) => (error.details["attempts"] as readonly AttemptReport[]).map(({ failure }) => failure);

test("a call of a real server brings its JSON", async () => {
  await using server = await http((request, response) => {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ path: request.url, agent: request.headers["user-agent"] }));
  });
  const url = `${server.url}/v1`;
  interface Forecast {
    readonly path: string;
  }
  const isForecast = (value: unknown): value is Forecast => typeof (value as Partial<Forecast> | null)?.path === "string";
  // #region upstream
  await using meteo = createUpstream("open-meteo", { url, deadline: "10s", allowPrivate: ["127.0.0.0/8"] });
  const forecast = await meteo.json({ path: "/forecast", query: { latitude: 64.1, longitude: -21.9 } }, isForecast);
  // #endregion
  assert.equal(forecast.path, "/v1/forecast?latitude=64.1&longitude=-21.9");
});

suite("an upstream that", () => {
  test("sends a gigabyte is cut off, whether it says so before or not, and the process does not grow by it", async () => {
    let written = 0;
    const chunk = Buffer.alloc(1 << 16);
    await using server = await http((request, response) => {
      if (request.url === "/said") response.setHeader("content-length", 2 ** 30);
      const more = (): void => {
        while (written < 2 ** 30 && !response.destroyed) {
          written += chunk.length;
          if (!response.write(chunk)) {
            response.once("drain", more);
            return;
          }
        }
        response.end();
      };
      more();
    });
    await using upstream = createUpstream("flood", { ...base, url: server.url, maxResponseBytes: 1 << 20 });
    const before = process.memoryUsage().arrayBuffers;
    for (const path of ["/said", "/unsaid"]) {
      written = 0;
      const error = await failure(upstream.request({ path }));
      assert.equal(error.code, "MILLRACE_UPSTREAM_RESPONSE_TOO_LARGE");
      assert.deepEqual(error.details["maxBytes"], 1 << 20);
      assert.ok(written < 2 ** 28, `${written} bytes were written`);
    }
    assert.ok(process.memoryUsage().arrayBuffers - before < 100 * 2 ** 20);
    assert.equal(upstream.stats().breaker, "closed");
  });

  test("talks garbage, ends in the middle or resets after the head fails with words for it", async () => {
    const talks: Record<string, (socket: Socket) => void> = {
      "the answer is not HTTP": (socket) => void socket.end("SSH-2.0-OpenSSH_9.2\r\n\r\n"),
      "connection (?:lost|reset)": (socket) => {
        socket.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", () => socket.resetAndDestroy());
      },
      "connection lost|another length": (socket) => void socket.end("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"),
      "connection (?:lost|reset)|not HTTP": (socket) => socket.destroy(),
    };
    for (const [words, talk] of Object.entries(talks)) {
      await using server = await raw(talk);
      await using upstream = createUpstream("babble", { ...base, url: server.url });
      const error = await failure(upstream.request({ path: "/" }));
      assert.equal(error.code, "MILLRACE_UPSTREAM_FAILED", words);
      assert.match(ways(error)[0]!, new RegExp(words));
    }
    await using server = await http((_request, response) => void response.end("}{"));
    await using upstream = createUpstream("babble", { ...base, url: server.url });
    assert.equal((await failure(upstream.json({ path: "/" }))).code, "MILLRACE_UPSTREAM_RESPONSE_INVALID");
  });

  test("drips, stalls or says nothing is given up", async () => {
    await using server = await http((request, response) => {
      if (request.url === "/silent") return;
      response.writeHead(200);
      response.write("a");
      if (request.url === "/stalls") return;
      const timer = setInterval(() => response.write("a"), 20);
      response.on("close", () => clearInterval(timer));
    });
    await using upstream = createUpstream("drip", { ...base, url: server.url, headersTimeout: "300ms", bodyTimeout: "300ms" });
    assert.deepEqual(ways(await failure(upstream.request({ path: "/silent" }))), ["no answer in time"]);
    assert.deepEqual(ways(await failure(upstream.request({ path: "/stalls" }))), ["the answer stalled"]);
    const dripped = await failure(upstream.request({ path: "/drips", deadline: "700ms" }));
    assert.equal(dripped.code, "MILLRACE_UPSTREAM_TIMEOUT");
    assert.deepEqual(ways(dripped), ["not done at the deadline"]);
  });

  test("redirects is not followed, to wherever", async () => {
    let reached = 0;
    await using inner = await http((_request, response) => {
      reached++;
      response.end("secret");
    });
    await using server = await http((request, response) => {
      response.writeHead(Number(request.url!.slice(1, 4)), { location: decodeURIComponent(request.url!.slice(5)) });
      response.end();
    });
    await using upstream = createUpstream("redirect", { ...base, url: server.url });
    for (const [status, location] of [
      [301, `${inner.url}/secret`],
      [302, "http://169.254.169.254/latest/meta-data/"],
      [307, "file:///etc/passwd"],
      [308, "//127.0.0.1/x"],
    ] as const) {
      const error = await failure(upstream.request({ path: `/${status}/${encodeURIComponent(location)}` }));
      assert.equal(error.code, "MILLRACE_UPSTREAM_REDIRECT");
      assert.equal(error.details["location"], location);
    }
    assert.equal(reached, 0);
  });

  test("is not there fails at once, and each attempt says so", async () => {
    const server = await http(() => {});
    const { url } = server;
    await server[Symbol.asyncDispose]();
    await using upstream = createUpstream("gone", { ...base, url, maxAttempts: 3, backoff: "5ms" });
    const error = await failure(upstream.request({ path: "/" }));
    assert.equal(error.code, "MILLRACE_UPSTREAM_FAILED");
    assert.deepEqual(ways(error), ["connection refused", "connection refused", "connection refused"]);
  });
});

suite("the address of an upstream", () => {
  test("may not be private by its name, unless that is allowed", async () => {
    let reached = 0;
    await using server = await http((_request, response) => {
      reached++;
      response.end("inside");
    });
    const resolve = async () => [{ address: "127.0.0.1", family: 4 }];
    const url = `http://api.test:${server.port}`;
    await using careful = createUpstream("inside", { ...base, allowPrivate: false, url, resolve });
    const error = await failure(careful.request({ path: "/" }));
    assert.equal(error.code, "MILLRACE_UPSTREAM_ADDRESS_REFUSED");
    assert.deepEqual(error.details, { host: "api.test", address: "127.0.0.1" });
    assert.equal(reached, 0);
    await using trusting = createUpstream("inside", { ...base, url, resolve });
    assert.equal((await trusting.request({ path: "/" })).body.toString(), "inside");
    await using system = createUpstream("inside", { ...base, allowPrivate: false, url: `http://localhost:${server.port}` });
    assert.equal((await failure(system.request({ path: "/" }))).code, "MILLRACE_UPSTREAM_ADDRESS_REFUSED");
  });

  test("is looked up again for new connections, and one that turns private is refused", async () => {
    const clock = createManualClock();
    const answers = ["127.0.0.1", "127.0.0.2", "127.9.9.9"];
    let asked = 0;
    const close = (name: string) => (_request: IncomingMessage, response: ServerResponse) => {
      response.setHeader("connection", "close");
      response.end(name);
    };
    await using first = await http(close("first"));
    await using second = await http(close("second"), "127.0.0.2", first.port);
    assert.equal(second.port, first.port);
    await using upstream = createUpstream("moving", {
      ...base,
      clock,
      url: `http://api.test:${first.port}`,
      dnsTtl: "10s",
      allowPrivate: ["127.0.0.0/24"],
      resolve: async () => [{ address: answers[asked++]!, family: 4 }],
    });
    const ask = async () => (await upstream.request({ path: "/" })).body.toString();
    assert.equal(await ask(), "first");
    assert.equal(await ask(), "first");
    assert.equal(asked, 1);
    clock.advance(10_001);
    assert.equal(await ask(), "second");
    clock.advance(10_001);
    assert.equal((await failure(ask())).code, "MILLRACE_UPSTREAM_ADDRESS_REFUSED");
    assert.equal(asked, 3);
  });
});

suite("whoever calls", () => {
  test("and leaves takes the calls of its group along: the upstream sees them end", async () => {
    let open = 0;
    const arrived = Promise.withResolvers<void>();
    const left = Promise.withResolvers<void>();
    await using server = await http((_request, response) => {
      if (++open === 3) arrived.resolve();
      response.on("close", () => {
        if (--open === 0) left.resolve();
      });
    });
    await using upstream = createUpstream("fan-out", { ...base, url: server.url });
    const client = new AbortController();
    const result = group(
      (tasks) => {
        for (const city of [1, 2, 3]) void tasks.start(() => upstream.request({ path: `/cities/${city}` }));
      },
      { signal: client.signal },
    );
    await arrived.promise;
    const gone = new Error("the client left");
    client.abort(gone);
    await assert.rejects(result, gone);
    await left.promise;
    assert.deepEqual(upstream.stats().breaker, "closed");
  });

  test("shares so many connections and no more", async () => {
    const connections = new Set<unknown>();
    await using server = await http((request, response) => {
      connections.add(request.socket);
      void pause(20).then(() => response.end("x"));
    });
    await using upstream = createUpstream("few", { ...base, url: server.url, maxConcurrent: 4, connections: 4, maxQueue: 100 });
    await Promise.all(Array.from({ length: 20 }, () => upstream.request({ path: "/" })));
    assert.ok(connections.size <= 4, `${connections.size} connections`);
  });

  test("sends a body, and gets headers and status back", async () => {
    await using server = await http((request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        response.writeHead(201, { "x-key": request.headers["idempotency-key"], "set-cookie": ["a=1", "b=2"] });
        response.end(Buffer.concat(chunks));
      });
    });
    await using upstream = createUpstream("echo", { ...base, url: server.url });
    const answer = await upstream.request({ method: "POST", path: "/orders", json: { sacks: 5 }, idempotencyKey: "once" });
    assert.equal(answer.status, 201);
    assert.equal(answer.headers["x-key"], "once");
    assert.deepEqual(answer.headers["set-cookie"], ["a=1", "b=2"]);
    assert.equal(answer.body.toString(), '{"sacks":5}');
    assert.equal(answer.replica, `127.0.0.1:${server.port}`);
  });
});
