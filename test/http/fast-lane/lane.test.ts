// The lane on real connections of a real http.Server: what it answers, what it leaves to node, and that node's rules hold on its connections.

import assert from "node:assert/strict";
import { once } from "node:events";
import { type RequestListener, type Server, createServer } from "node:http";
import type { Socket } from "node:net";
import { suite, test } from "node:test";
import { differenceInNode } from "../../../src/http/fast-lane/node-as-expected.ts";
import { eventually } from "../../harness/patience.ts";
import { Conversation, get } from "./conversation.ts";
import { hitBody, laneServer } from "./lane-server.ts";

const post = (body: string, ...headers: readonly string[]): string =>
  `POST /upload HTTP/1.1\r\n${["Host: api.example", `Content-Length: ${body.length}`, ...headers].join("\r\n")}\r\n\r\n${body}`;

const told = (body: string) => JSON.parse(body) as { readonly method: string; readonly url: string; readonly body: string };

/** A connection that the lane has taken. */
async function taken(server: { readonly port: number }): Promise<Conversation> {
  const client = await Conversation.begin(server.port);
  await client.ask(get("/hit"));
  return client;
}

suite("what the lane answers", () => {
  test("the first request of a connection is node's, the next are the lane's, and both answer the same bytes", async () => {
    await using server = await laneServer();
    using client = await Conversation.begin(server.port);
    const first = await client.ask(get("/hit"));
    for (let i = 0; i < 20; i++) assert.deepEqual(await client.ask(get("/hit")), first);
    assert.equal(server.byNode, 1);
    assert.deepEqual(server.lane.counts, { connections: 1, answered: 20, passed: 0 });
    assert.deepEqual(
      server.reports,
      Array.from({ length: 20 }, () => true),
    );
    const notModified = await client.ask(get("/hit", 'If-None-Match: "one"'));
    assert.equal(notModified.status, 304);
    assert.equal(server.byNode, 1);
  });

  test("a connection on which nothing stands is never taken", async () => {
    await using server = await laneServer();
    using client = await Conversation.begin(server.port);
    for (let i = 0; i < 5; i++) assert.equal(told((await client.ask(get("/miss"))).body).url, "/miss");
    assert.deepEqual(server.lane.counts, { connections: 0, answered: 0, passed: 0 });
  });

  test("hits, misses and uploads in turns, on one connection", async () => {
    await using server = await laneServer();
    using client = await taken(server);
    for (let i = 0; i < 20; i++) {
      assert.equal((await client.ask(get(`/hit/${i}`))).body, String(hitBody(`/hit/${i}`)));
      assert.equal(told((await client.ask(get(`/miss/${i}`))).body).url, `/miss/${i}`);
      assert.equal(told((await client.ask(post(`upload ${i}`))).body).body, `upload ${i}`);
      assert.equal((await client.ask(get(`/hit/${i}`, "X-Unknown: 1"))).status, 200); // read by node, for its header
    }
    assert.equal(server.lane.counts.answered, 20);
    assert.equal(server.byNode, 61);
  });

  test("pipelined hits, all of them, in their order", async () => {
    await using server = await laneServer();
    using client = await taken(server);
    client.send(Array.from({ length: 500 }, (_, i) => get(`/hit/${i}`)).join(""));
    for (let i = 0; i < 500; i++) assert.equal((await client.answer()).body, String(hitBody(`/hit/${i}`)));
    assert.ok(server.lane.counts.answered > 400, `${server.lane.counts.answered}`); // a chunk's end may cut one, which is node's then
  });

  test("a hit before a miss in one chunk, and what follows the miss is node's", async () => {
    await using server = await laneServer();
    using client = await taken(server);
    client.send(get("/hit/1") + get("/hit/2") + get("/miss/3") + get("/hit/4") + post("five") + get("/hit/6"));
    assert.equal((await client.answer()).body, String(hitBody("/hit/1")));
    assert.equal((await client.answer()).body, String(hitBody("/hit/2")));
    assert.equal(told((await client.answer()).body).url, "/miss/3");
    assert.equal((await client.answer()).body, String(hitBody("/hit/4")));
    assert.equal(told((await client.answer()).body).body, "five");
    assert.equal((await client.answer()).body, String(hitBody("/hit/6")));
    assert.deepEqual(server.lane.counts, { connections: 1, answered: 2, passed: 1 });
  });

  test("a hit behind an answer that is still owed waits for it", async () => {
    const { promise: mayAnswer, resolve: answer } = Promise.withResolvers<void>();
    const { promise: asked, resolve: ask } = Promise.withResolvers<void>();
    await using server = await laneServer({
      handler: (_request, response) => {
        ask();
        void mayAnswer.then(() => response.end("slow"));
      },
    });
    using client = await taken(server);
    client.send(get("/slow"));
    await asked;
    client.send(get("/hit/2"));
    await eventually(
      "the second request has been read",
      () => server.sockets[0]!.bytesRead >= (get("/hit") + get("/slow") + get("/hit/2")).length,
    );
    answer();
    assert.equal((await client.answer()).body, "slow");
    assert.equal((await client.answer()).body, String(hitBody("/hit/2")));
    assert.equal(server.lane.counts.answered, 0);
    await client.ask(get("/hit/3"));
    assert.equal(server.lane.counts.answered, 1);
  });

  test("bytes of a body that look like a request are a body, also when its answer is long out", async () => {
    await using server = await laneServer();
    using client = await taken(server);
    const inner = get("/hit/7");
    client.send(`POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: ${inner.length}\r\n\r\n`);
    await eventually("the upload is being handled", () => server.byNode === 2);
    client.send(inner);
    assert.equal(told((await client.answer()).body).body, inner);

    assert.equal(
      (await client.ask(`POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: ${2 * inner.length}\r\n\r\n`)).body,
      "early",
    );
    client.send(inner);
    const before = server.sockets[0]!.bytesRead;
    client.send(inner);
    await eventually("the body has been read", () => server.sockets[0]!.bytesRead > before);
    assert.equal((await client.ask(get("/hit/8"))).body, String(hitBody("/hit/8")));
    assert.equal(server.lane.counts.answered, 1);
    assert.equal(server.byNode, 3);
  });

  test("bytes of a head that look like a request are a head", async () => {
    await using server = await laneServer();
    using client = await taken(server);
    const socket = server.sockets[0]!;
    socket.push(Buffer.from("GET /miss HTTP/1.1\r\nHost: h\r\nX-Inner: "));
    socket.push(Buffer.from(get("/hit")));
    assert.equal(told((await client.answer()).body).url, "/miss");
    await client.ask(get("/hit/1"));
    assert.equal(server.byNode, 2);
    assert.equal(server.lane.counts.answered, 1);
  });

  test("a head that comes in pieces is node's, cut anywhere", async () => {
    await using server = await laneServer();
    using client = await taken(server);
    const socket = server.sockets[0]!;
    const request = Buffer.from(get("/hit/9"));
    for (let cut = 1; cut < request.length; cut++) {
      // What the kernel does when the pieces are far enough apart.
      socket.push(request.subarray(0, cut));
      socket.push(request.subarray(cut));
      assert.equal((await client.answer()).body, String(hitBody("/hit/9")), `cut at ${cut}`);
    }
    assert.equal(server.lane.counts.answered, 0);
    socket.push(request);
    await client.answer();
    assert.equal(server.lane.counts.answered, 1);
  });
});

suite("node's rules on the lane's connections", () => {
  test("Connection: close is answered by node, which then closes; what the client sends after it is nobody's", async () => {
    await using server = await laneServer();
    using client = await taken(server);
    client.send(get("/hit/1") + get("/hit/2", "Connection: close") + get("/hit/3"));
    assert.match((await client.answer()).head, /connection: keep-alive/i);
    assert.match((await client.answer()).head, /connection: close/i);
    assert.equal(await client.rest(), "");
    assert.equal(server.lane.counts.answered, 1);
  });

  test("a client that has said it closes gets nothing more, whatever a handler says", async () => {
    await using server = await laneServer({
      handler: (_request, response) => {
        response.setHeader("connection", "keep-alive");
        response.end();
      },
    });
    using client = await taken(server);
    await client.ask(get("/miss", "Connection: close"));
    client.send(get("/hit"));
    assert.match(await client.rest(), /^HTTP\/1.1 400 /);
    assert.equal(server.lane.counts.answered, 0);
  });

  test("a client that half-closes gets all answers, and then the server's end", async () => {
    await using server = await laneServer();
    using client = await taken(server);
    client.send(Array.from({ length: 50 }, (_, i) => get(`/hit/${i}`)).join(""));
    client.socket.end();
    for (let i = 0; i < 50; i++) assert.equal((await client.answer()).body, String(hitBody(`/hit/${i}`)));
    assert.equal(await client.rest(), "");
    assert.equal(client.error, undefined);
  });

  test("a connection that is cut in the middle of a head, or of answers, leaves nothing behind", async () => {
    await using server = await laneServer();
    for (const bytes of [get("/hit").slice(0, 20), get("/hit") + get("/hit").slice(0, 30), get("/hit").repeat(2_000)]) {
      const client = await taken(server);
      const socket = server.sockets.at(-1)!;
      client.send(bytes);
      client.socket.resetAndDestroy();
      if (!socket.closed) await once(socket, "close").catch(() => {});
    }
    await eventually("no connection is left", async () => (await connections(server.server)) === 0);
    assert.equal(server.reports.length, server.lane.counts.answered);
    using client = await taken(server);
    assert.equal((await client.ask(get("/hit"))).status, 200);
    assert.deepEqual(server.warnings, []);
  });

  test("an idle connection is closed after keepAliveTimeout, whoever answered last", async () => {
    await using server = await laneServer({ server: { keepAliveTimeout: 200, keepAliveTimeoutBuffer: 0 } });
    using client = await taken(server);
    await client.ask(get("/hit"));
    const idleSinceMs = performance.now();
    assert.equal(await client.rest(), "");
    assert.ok(performance.now() - idleSinceMs > 150, "not before");
    assert.equal(server.lane.counts.answered, 1);
  });

  test("a long request after a hit is not cut by keepAliveTimeout", async () => {
    await using server = await laneServer({
      server: { keepAliveTimeout: 100, keepAliveTimeoutBuffer: 0 },
      handler: (_request, response) => void setTimeout(() => response.end("late"), 400),
    });
    using client = await taken(server);
    await client.ask(get("/hit"));
    assert.equal((await client.ask(get("/slow"))).body, "late");
  });

  test("a head that does not come to its end is cut by headersTimeout", async () => {
    await using server = await laneServer({
      server: { headersTimeout: 300, requestTimeout: 400, connectionsCheckingInterval: 50 },
    });
    using client = await taken(server);
    await client.ask(get("/hit"));
    client.send("GET /hit HTTP/1.1\r\nHost:");
    assert.match(await client.rest(), /^HTTP\/1.1 408 /);
  });

  test("a connection that only gets hits outlives headersTimeout and requestTimeout", async () => {
    await using server = await laneServer({
      server: { headersTimeout: 100, requestTimeout: 100, connectionsCheckingInterval: 20 },
    });
    using client = await taken(server);
    const untilMs = performance.now() + 500;
    while (performance.now() < untilMs) {
      assert.equal((await client.ask(get("/hit"))).status, 200);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.equal(server.byNode, 1);
  });

  test("the server counts and closes idle connections as its own", async () => {
    await using server = await laneServer();
    using one = await taken(server);
    using two = await taken(server);
    await one.ask(get("/hit"));
    await two.ask(get("/hit"));
    assert.equal(await connections(server.server), 2);
    two.send("GET /half HTTP/1.1\r\n"); // not idle
    await eventually("half a request has been read", () => server.sockets[1]!.bytesRead > 2 * get("/hit").length);
    server.server.closeIdleConnections();
    assert.equal(await one.rest(), "");
    assert.equal(await connections(server.server), 1);
    server.server.closeAllConnections();
    await two.rest();
    assert.equal(await connections(server.server), 0);
  });

  test("with maxRequestsPerSocket there is no lane", async () => {
    await using server = await laneServer();
    server.server.maxRequestsPerSocket = 3;
    server.server.keepAliveTimeout = 200;
    using client = await Conversation.begin(server.port);
    for (let i = 0; i < 3; i++) await client.ask(get("/hit"));
    assert.equal(await client.rest(), "");
    assert.equal(server.lane.counts.connections, 0);
  });

  test("a connection whose client closes it, and a server whose requests somebody else looks at, too, have no lane", async () => {
    await using server = await laneServer();
    for (const last of [get("/hit", "Connection: close"), "GET /hit HTTP/1.0\r\nHost: h\r\n\r\n"]) {
      using client = await Conversation.begin(server.port);
      await client.ask(last);
    }
    server.server.on("request", () => {});
    using client = await taken(server);
    await client.ask(get("/hit"));
    assert.equal(server.byNode, 4);
    assert.equal(server.lane.counts.connections, 0);
  });

  test("an upgrade takes the connection out of the lane", async () => {
    await using server = await laneServer();
    server.server.on("upgrade", (_request: unknown, socket: Socket) => {
      socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
      socket.on("data", (bytes: Buffer) => socket.write(bytes));
      socket.on("end", () => socket.end());
    });
    using client = await taken(server);
    client.send(get("/hit") + get("/upgrade", "Connection: Upgrade", "Upgrade: echo"));
    await client.answer();
    assert.equal((await client.answer()).status, 101);
    client.send(get("/hit"));
    client.send("bye");
    const echo = `${get("/hit")}bye`;
    assert.equal(await client.bytes(echo.length), echo);
    assert.equal(server.lane.counts.answered, 1);
  });
});

const connections = (server: Server): Promise<number> =>
  new Promise((resolve, reject) => server.getConnections((error, count) => (error ? reject(error) : resolve(count))));

suite("slow readers", () => {
  const large = Buffer.alloc(200_000, "y");
  const medium = Buffer.alloc(10_000, "z");
  const stands = (target: string) => (target === "/large" ? large : target === "/medium" ? medium : hitBody(target));

  test("who asks for much and reads nothing is not answered on and on, and gets it all when it reads", async () => {
    for (const [target, times] of [
      ["/medium", 4_000],
      ["/large", 300],
    ] as const) {
      await using server = await laneServer({ stands });
      using client = await taken(server);
      const socket = server.sockets[0]!;
      client.socket.pause();
      // More than all buffers between the two hold.
      client.send(get(target).repeat(times));
      // It has stopped when the loop has turned without a byte more.
      let before = -1;
      await eventually("reading stops", async () => {
        const same = before === socket.bytesRead + socket.bytesWritten;
        before = socket.bytesRead + socket.bytesWritten;
        await new Promise((resolve) => setTimeout(resolve, 50));
        return same;
      });
      const answered = server.lane.counts.answered + server.byNode;
      assert.ok(answered < times, `${answered} answered`);
      assert.ok(socket.writableLength < large.length + 64 * 1_024, `${socket.writableLength} bytes wait`);
      assert.equal(socket.timeout ?? 0, 0, "no time is set for reading an answer");
      client.socket.resume();
      for (let i = 0; i < times; i++) assert.equal((await client.answer()).body.length, stands(target)!.length);
      assert.equal(server.reports.length, server.lane.counts.answered);
      assert.ok(server.reports.every((complete) => complete));
      assert.ok(server.lane.counts.answered > 100, `${server.lane.counts.answered} of ${times}`);
      // And the connection is as good as new.
      assert.equal((await client.ask(get("/hit"))).status, 200);
      assert.equal(server.sockets[0]!.timeout, server.server.keepAliveTimeout + server.server.keepAliveTimeoutBuffer);
    }
  });

  test("who leaves without having read is reported as gone", async () => {
    await using server = await laneServer({ stands });
    const client = await taken(server);
    client.socket.pause();
    client.send(get("/large").repeat(100));
    await eventually("an answer waits", () => server.sockets[0]!.writableLength > 0);
    client.socket.resetAndDestroy();
    await once(server.sockets[0]!, "close").catch(() => {});
    await eventually("every answer is reported", () => server.reports.length === server.lane.counts.answered);
    assert.equal(server.reports.at(-1), false);
  });

  test("hits, a miss and a half-close behind an answer that waits come in their order", async () => {
    await using server = await laneServer({ stands });
    using client = await taken(server);
    client.socket.pause();
    const wanted = 40;
    client.send(get("/large").repeat(wanted) + get("/hit/1") + get("/miss/2") + get("/hit/3"));
    await eventually("an answer waits", () => server.sockets[0]!.writableLength > 0);
    client.socket.end();
    client.socket.resume();
    for (let i = 0; i < wanted; i++) assert.equal((await client.answer()).body.length, large.length);
    assert.equal((await client.answer()).body, String(hitBody("/hit/1")));
    assert.equal(told((await client.answer()).body).url, "/miss/2");
    assert.equal((await client.answer()).body, String(hitBody("/hit/3")));
    assert.equal(await client.rest(), "");
  });
});

suite("a lane turns itself off", () => {
  test("when an answer cannot be made, and node answers that request", async () => {
    await using server = await laneServer({
      answers: {
        find() {
          throw new Error("broken");
        },
      },
    });
    using client = await taken(server);
    assert.equal((await client.ask(get("/hit"))).status, 200);
    assert.equal(server.byNode, 2);
    assert.equal(server.lane.state, "off");
    assert.equal(server.warnings.length, 1);
    assert.match(String(server.warnings[0]!.error), /broken/);
    assert.equal((await client.ask(get("/hit"))).status, 200);
    assert.equal(server.byNode, 3);
  });

  test("when this Node is not as expected, with a warning; everything goes the ordinary way", async () => {
    await using server = await laneServer({ check: async () => "planted" });
    using client = await taken(server);
    assert.equal((await client.ask(get("/hit"))).status, 200);
    assert.equal(server.byNode, 2);
    assert.equal(server.lane.counts.connections, 0);
    assert.match(server.warnings[0]!.reason, /not as expected: planted/);
  });

  test("this Node is as expected", async () => {
    assert.equal(await differenceInNode(), undefined);
  });

  /** A Node that is otherwise: what `change` does to every connection. */
  const otherNode =
    (change: (socket: Socket & { parser: Record<PropertyKey, unknown>; _httpMessage: unknown }) => void) =>
    (listener: RequestListener): Server => {
      const server = createServer(listener);
      server.on("connection", change as (socket: Socket) => void);
      return server;
    };

  for (const [what, change, says] of [
    [
      "the answer that is being sent has another name",
      (socket) => Object.defineProperty(socket, "_httpMessage", { get: () => undefined, set() {} }),
      /an answer is owed|failed|not answered/,
    ],
    ["the parser has another name", (socket) => Object.defineProperty(socket, "parser", { value: undefined }), /watched|failed/],
    [
      "the beginning of a message has another number",
      (socket) => Object.defineProperty(socket.parser, "constructor", { value: { kOnMessageBegin: 77 } }),
      /head has begun/,
    ],
    [
      "the message in work is forgotten at once",
      (socket) => {
        let last: { readonly url?: string } | null = null;
        Object.defineProperty(socket.parser, "incoming", {
          get: () => (last?.url === "/first" ? last : null), // seen when the watch begins, and never again
          set: (value: typeof last) => {
            last = value;
          },
        });
      },
      /body is on its way|failed|watched|not answered/,
    ],
  ] as readonly (readonly [string, Parameters<typeof otherNode>[0], RegExp])[]) {
    test(`it is seen when ${what}`, async () => {
      assert.match(String(await differenceInNode(otherNode(change))), says);
    });
  }
});
