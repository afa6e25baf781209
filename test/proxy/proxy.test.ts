// The proxy as a piece of software: bodies that stream, requests that meet, connections that break, and what is never let through.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { type ServerResponse, createServer, request as httpRequest } from "node:http";
import { type AddressInfo, type Socket, connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { suite, test } from "node:test";
import { createProxy, proxyInvalidationChannel, proxyOriginFailureChannel, proxyRequestChannel } from "../../src/proxy/index.ts";
import { open, readAll, send } from "../http/client.ts";
import { createWorld } from "./origin.ts";

const soon = () => AbortSignal.timeout(20_000);

/** Waits for a condition, within a bound. */
async function until(condition: () => boolean): Promise<void> {
  const endMs = performance.now() + 20_000;
  while (!condition()) {
    assert.ok(performance.now() < endMs, `it never came: ${String(condition)}`);
    await delay(5);
  }
}

suite("bodies", () => {
  test("stream: the first piece arrives before the last one exists, stored or not", async () => {
    await using world = await createWorld();
    for (const headers of [{}, { "Cache-Control": "max-age=60" }]) {
      const { promise: firstArrived, resolve: goOn } = Promise.withResolvers<void>();
      world.handle("/slow", (_request, response) => {
        response.writeHead(200, headers);
        response.write("first ");
        void firstArrived.then(() => response.end("last"));
      });
      const answer = await new Promise<string>((resolve) => {
        httpRequest(`${world.url}/slow?${Object.keys(headers).length}`, (response) => {
          let text = "";
          response.on("data", (chunk: Buffer) => {
            text += chunk.toString();
            goOn();
          });
          response.on("end", () => resolve(text));
        }).end();
      });
      assert.equal(answer, "first last");
    }
  });

  test("go through whole in both directions, however large, and are not held", async () => {
    await using world = await createWorld({ maxBytes: 1_048_576 });
    const size = 12 * 2 ** 20;
    const piece = Buffer.alloc(2 ** 16, "x");
    world.handle("/upload", (request, response) => {
      const hash = createHash("sha256");
      let bytes = 0;
      request.on("data", (chunk: Buffer) => {
        hash.update(chunk);
        bytes += chunk.byteLength;
      });
      request.on("end", () => response.end(`${bytes} ${hash.digest("hex")}`));
    });
    world.handle("/download", (_request, response) => {
      response.writeHead(200, { "Cache-Control": "max-age=60" }); // of unknown length: it turns out too large
      let sent = 0;
      const more = () => {
        let goesOn = true;
        while (goesOn && sent < size) {
          sent += piece.byteLength;
          goesOn = response.write(piece);
        }
        if (sent < size) response.once("drain", more);
        else response.end();
      };
      more();
    });
    const whole = Buffer.alloc(size, "x");
    const expected = createHash("sha256").update(whole).digest("hex");
    const upload = await send(`${world.url}/upload`, { method: "POST", body: whole });
    assert.equal(upload.text, `${size} ${expected}`);
    const download = await send(`${world.url}/download`);
    assert.equal(createHash("sha256").update(download.body).digest("hex"), expected);
    assert.ok(world.proxy.stats().memory.bytes < 1_048_576);
  });

  test("that break off break off at the client, too, and are not stored", async () => {
    await using world = await createWorld();
    let asked = 0;
    world.handle("/broken", (_request, response) => {
      asked++;
      response.writeHead(200, { "Cache-Control": "max-age=60", "Content-Length": "100" });
      response.write("half");
      setImmediate(() => response.destroy());
    });
    for (let i = 0; i < 2; i++) assert.equal((await send(`${world.url}/broken`)).complete, false);
    assert.equal(asked, 2);
    world.handle("/chunked", (_request, response) => {
      asked++;
      response.writeHead(200, { "Cache-Control": "max-age=60" });
      response.write("half");
      setImmediate(() => response.destroy());
    });
    assert.equal((await send(`${world.url}/chunked`)).complete, false);
    await send(`${world.url}/chunked`);
    assert.equal(asked, 4);
  });

  test("end at the origin when the client leaves", async () => {
    await using world = await createWorld();
    for (const cacheControl of ["no-store", "max-age=60"]) {
      const { promise: closed, resolve } = Promise.withResolvers<void>();
      world.handle("/endless", (_request, response) => {
        response.writeHead(200, { "Cache-Control": cacheControl });
        response.write("x");
        response.on("close", resolve);
      });
      const request = httpRequest(`${world.url}/endless?${cacheControl}`, { agent: false }, (response) => {
        response.on("error", () => {});
        response.once("data", () => request.destroy());
      });
      request.on("error", () => {});
      request.end();
      await closed;
    }
    await until(() => world.proxy.stats().running === 0);
  });

  test("keep their trailers when they are not stored", async () => {
    await using world = await createWorld();
    world.handle("/trailers", (_request, response) => {
      response.writeHead(200, { Trailer: "X-Sum" });
      response.write("body");
      response.addTrailers({ "X-Sum": "42" });
      response.end();
    });
    const trailers = await new Promise((resolve) => {
      httpRequest(`${world.url}/trailers`, { agent: false }, (response) => {
        response.resume().on("end", () => resolve(response.trailers));
      }).end();
    });
    assert.deepEqual({ ...(trailers as object) }, { "x-sum": "42" });
  });
});

suite("requests for the same", () => {
  const many = (url: string, count: number) => Promise.all(Array.from({ length: count }, () => send(url)));

  test("ask the origin once, whether the length is known or not", async () => {
    await using world = await createWorld();
    for (const length of [undefined, "4"]) {
      const waiting: ServerResponse[] = [];
      world.handle("/once", (_request, response) => {
        response.writeHead(200, { "Cache-Control": "max-age=60", ...(length && { "Content-Length": length }) });
        waiting.push(response);
      });
      const answers = many(`${world.url}/once?${length}`, 20);
      await until(() => world.proxy.stats().running === 20);
      for (const response of waiting) response.end("body");
      const all = await answers;
      assert.deepEqual(new Set(all.map(({ text }) => text)), new Set(["body"]));
      assert.equal(waiting.length, 1);
      const collapsed = all.filter(({ headers }) => String(headers["cache-status"]).includes("collapsed"));
      assert.equal(collapsed.length, 19);
    }
  });

  test("do not wait for each other when the answer is for one alone, and remember that", async () => {
    await using world = await createWorld();
    let running = 0;
    let most = 0;
    const waiting: ServerResponse[] = [];
    world.handle("/private", (_request, response) => {
      most = Math.max(most, ++running);
      response.on("close", () => running--);
      response.writeHead(200, { "Cache-Control": "private" });
      response.flushHeaders();
      waiting.push(response);
    });
    // The first one alone tells what kind of answer it is; its head is enough for that.
    const answers = many(`${world.url}/private`, 20);
    await until(() => running === 20);
    for (const response of waiting.splice(0)) response.end("mine");
    assert.equal((await answers).length, 20);
    const more = many(`${world.url}/private`, 5);
    await until(() => running === 5);
    for (const response of waiting.splice(0)) response.end("mine");
    await more;
    assert.equal(most, 20);
  });

  test("get each its own variant", async () => {
    await using world = await createWorld();
    const asked: string[] = [];
    world.handle("/varied", (request, response) => {
      const foo = String(request.headers["foo"]);
      asked.push(foo);
      setTimeout(() => response.writeHead(200, { "Cache-Control": "max-age=60", Vary: "Foo" }).end(foo), 20);
    });
    const foos = Array.from({ length: 24 }, (_, i) => String(i % 3));
    const answers = await Promise.all(foos.map((foo) => send(`${world.url}/varied`, { headers: { Foo: foo } })));
    assert.deepEqual(
      answers.map(({ text }) => text),
      foos,
    );
    for (const foo of foos) assert.equal((await send(`${world.url}/varied`, { headers: { Foo: foo } })).text, foo);
    assert.ok(asked.length <= 9, `${asked.length} requests`);
  });

  test("fail together, and the next one tries again", async () => {
    await using world = await createWorld();
    let asked = 0;
    world.handle("/dead", (_request, response) => {
      asked++;
      setTimeout(() => response.destroy(), 30);
    });
    const answers = await many(`${world.url}/dead`, 10);
    assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([502]));
    assert.equal(asked, 2); // one and its repetition, for a connection may have been closed while it was idle
    assert.equal((await send(`${world.url}/dead`)).status, 502);
  });

  test("the one that asked may leave: the others get it", async () => {
    await using world = await createWorld();
    const waiting: ServerResponse[] = [];
    world.handle("/left", (_request, response) => void waiting.push(response));
    const first = httpRequest(`${world.url}/left`, { agent: false });
    first.on("error", () => {});
    first.end();
    await until(() => waiting.length === 1);
    const second = send(`${world.url}/left`);
    await until(() => world.proxy.stats().running === 2);
    first.destroy();
    await until(() => world.proxy.stats().running === 1);
    waiting[0]!.writeHead(200, { "Cache-Control": "max-age=60" }).end("body");
    assert.equal((await second).text, "body");
    assert.equal(waiting.length, 1);
  });

  test("who has waited long enough asks by itself", async () => {
    await using world = await createWorld({ collapseTimeout: "50ms" });
    const waiting: ServerResponse[] = [];
    world.handle("/stuck", (_request, response) => void waiting.push(response));
    const answers = many(`${world.url}/stuck`, 2);
    await until(() => waiting.length === 2);
    for (const response of waiting) response.writeHead(200, { "Cache-Control": "max-age=60" }).end("body");
    await answers;
  });
});

suite("stale answers", () => {
  test("are served while they are made anew, once for all who come", async () => {
    await using world = await createWorld();
    const directives = { "Cache-Control": "max-age=2, stale-while-revalidate=30" };
    let asked = 0;
    const waiting: ServerResponse[] = [];
    world.handle("/swr", (_request, response) => {
      response.writeHead(200, directives);
      if (asked++ === 0) response.end("old");
      else waiting.push(response);
    });
    await send(`${world.url}/swr`);
    world.clock.shift(5);
    for (let i = 0; i < 3; i++) assert.equal((await send(`${world.url}/swr`)).text, "old");
    await until(() => waiting.length === 1);
    waiting[0]!.end("new");
    await until(() => asked === 2);
    let text = "old";
    while (text === "old") ({ text } = await send(`${world.url}/swr`));
    assert.equal(text, "new");
    assert.equal(asked, 2);
  });

  test("stand in when the origin is not there at all, which is told", async () => {
    await using world = await createWorld();
    const server = createServer((_request, response) => {
      response.writeHead(200, { "Cache-Control": "max-age=2", "Content-Length": "4" }).end("body");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    await using proxy = createProxy({ to: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, clock: world.clock });
    const { url } = await proxy.listen();
    await send(`${url}/a`);
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    world.clock.shift(10);
    const failure = proxyOriginFailureChannel.next(undefined, soon());
    const answer = await send(`${url}/a`);
    assert.equal(answer.text, "body");
    assert.match(String(answer.headers["cache-status"]), /^millrace; fwd=stale; ttl=-\d+; detail=origin-failed$/);
    assert.match((await failure).reason, /connection refused|connection lost/);
    const other = await send(`${url}/b`);
    assert.equal(other.status, 502);
    assert.deepEqual(JSON.parse(other.text), {
      type: "about:blank",
      title: "Bad Gateway",
      status: 502,
      detail: "The server behind this one did not answer.",
      code: "MILLRACE_PROXY_ORIGIN_FAILED",
    });
  });

  test("an origin that does not answer in time: 504", async () => {
    await using world = await createWorld({ headersTimeout: "100ms" });
    world.handle("/late", () => {});
    const answer = await send(`${world.url}/late`);
    assert.equal(answer.status, 504);
    assert.match(answer.text, /MILLRACE_PROXY_ORIGIN_TIMEOUT/);
  });
});

suite("changes", () => {
  test("an answer that was on its way during one is not stored", async () => {
    await using world = await createWorld();
    const waiting: ServerResponse[] = [];
    world.handle("/racing", (request, response) => {
      if (request.method === "POST") response.end();
      else waiting.push(response);
    });
    const reading = send(`${world.url}/racing`);
    await until(() => waiting.length === 1);
    await send(`${world.url}/racing`, { method: "POST" });
    // Who comes after the change does not take what was asked for before it.
    const later = send(`${world.url}/racing`);
    await until(() => waiting.length === 2);
    waiting[0]!.writeHead(200, { "Cache-Control": "max-age=60" }).end("old");
    assert.equal((await reading).text, "old");
    waiting[1]!.writeHead(200, { "Cache-Control": "max-age=60" }).end("new");
    assert.equal((await later).text, "new");
    assert.equal((await send(`${world.url}/racing`)).text, "new");
    assert.equal(waiting.length, 2);
  });

  test("end what Location and Content-Location name, by the name of the client or of the origin", async () => {
    await using world = await createWorld();
    for (const location of ["/other", `${world.url}/other`, `${world.originUrl}/other`]) {
      world.script("/other", { headers: { "Cache-Control": "max-age=60" } });
      await send(`${world.url}/other`);
      const before = world.seen("/other").length;
      await send(`${world.url}/other`);
      assert.equal(world.seen("/other").length, before);
      world.script("/change", { status: 201, headers: { Location: location } });
      const said = proxyInvalidationChannel.next(undefined, soon());
      await send(`${world.url}/change`, { method: "POST" });
      assert.deepEqual((await said).urls, [`${world.url}/change`, `${world.url}/other`]);
      await send(`${world.url}/other`);
      assert.equal(world.seen("/other").length, before + 1);
    }
    world.script("/change", { status: 201, headers: { Location: "http://elsewhere.example/other" } });
    await send(`${world.url}/change`, { method: "POST" });
    const before = world.seen("/other").length;
    await send(`${world.url}/other`);
    assert.equal(world.seen("/other").length, before);
  });

  test("end a group, with every variant that belongs to it", async () => {
    await using world = await createWorld();
    const member = (path: string, groups: string) =>
      world.script(path, { headers: { "Cache-Control": "max-age=60", "Cache-Groups": groups, Vary: "Foo" } });
    member("/a", '"x", "y"');
    member("/b", '"y"');
    member("/c", '"z"');
    const paths = ["/a", "/b", "/c"];
    const ask = async () => {
      for (const path of paths) for (const foo of ["1", "2"]) await send(`${world.url}${path}`, { headers: { Foo: foo } });
      return paths.map((path) => world.seen(path).length);
    };
    assert.deepEqual(await ask(), [2, 2, 2]);
    assert.deepEqual(await ask(), [2, 2, 2]);
    world.script("/change", { headers: { "Cache-Group-Invalidation": '"y"' } });
    await send(`${world.url}/change`); // a safe request ends nothing
    assert.deepEqual(await ask(), [2, 2, 2]);
    await send(`${world.url}/change`, { method: "POST" });
    assert.deepEqual(await ask(), [4, 4, 2]);
  });
});

suite("what goes on to the origin", () => {
  test("is the request, less what belongs to the hop, with who sent it", async () => {
    await using world = await createWorld({ name: "edge" });
    await send(`${world.url}/x`, {
      method: "PUT",
      headers: {
        Connection: "close, X-Hop",
        "X-Hop": "1",
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Proto": "https",
        Forwarded: "for=6.6.6.6",
        TE: "trailers",
        Via: "1.0 before",
        "X-A": "1",
      },
      body: "body",
    });
    const [seen] = world.seen("/x");
    assert.equal(seen!.method, "PUT");
    assert.equal(seen!.body, "body");
    const { headers } = seen!;
    assert.equal(headers.host, new URL(world.originUrl).host);
    assert.equal(headers["x-a"], "1");
    for (const name of ["x-hop", "te", "forwarded"]) assert.equal(headers[name], undefined, name);
    assert.equal(headers["x-forwarded-for"], "127.0.0.1");
    assert.equal(headers["x-forwarded-proto"], "http");
    assert.equal(headers["x-forwarded-host"], new URL(world.url).host);
    assert.match(String(headers["via"]), /^1\.0 before, 1\.1 edge-[0-9a-f]{12}$/);
  });

  test("believes and adds to what a balancer said, and asks for the client's host, when it is told to", async () => {
    await using world = await createWorld({ trustForwarded: true, host: "client" });
    await send(`${world.url}/x`, {
      headers: { Host: "a.example", "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "b.example" },
    });
    const { headers } = world.seen("/x")[0]!;
    assert.equal(headers.host, "a.example");
    assert.equal(headers["x-forwarded-for"], "6.6.6.6, 127.0.0.1");
    assert.equal(headers["x-forwarded-proto"], "https");
    assert.equal(headers["x-forwarded-host"], "b.example");
  });

  test("hosts do not share answers", async () => {
    await using world = await createWorld();
    world.script("/x", { headers: { "Cache-Control": "max-age=60" } });
    await send(`${world.url}/x`, { headers: { Host: "a.example" } });
    await send(`${world.url}/x`, { headers: { Host: "b.example" } });
    await send(`${world.url}/x`, { headers: { Host: "A.example" } });
    assert.equal(world.seen("/x").length, 2);
  });

  test("a path in front, when the origin has one", async () => {
    await using world = await createWorld();
    await using proxy = createProxy({ to: `${world.originUrl}/base/` });
    const { url } = await proxy.listen();
    await send(`${url}/x?y=1`);
    assert.equal(world.seen("/base/x")[0]!.url, "/base/x?y=1");
  });

  test("never a second time through the same proxy", async () => {
    await using proxy = createProxy({ to: "http://127.0.0.1:9" });
    const { port } = await proxy.listen();
    await using looped = createProxy({ to: `http://127.0.0.1:${port}` });
    const { url } = await looped.listen();
    // One that leads to itself.
    await using world = await createWorld();
    world.handle("/loop", (request, response) => {
      httpRequest(`${world.url}/loop`, { headers: { via: request.headers["via"] } }, (answer) => {
        response.writeHead(answer.statusCode!);
        answer.pipe(response);
      }).end();
    });
    const answer = await send(`${world.url}/loop`);
    assert.equal(answer.status, 508);
    assert.equal((await send(`${url}/x`)).status, 502); // through two that are not the same
  });
});

suite("the connection", () => {
  const raw = async (url: string, text: string): Promise<string> => {
    const socket = await open(url);
    const answer = readAll(socket);
    socket.write(text, "latin1");
    return await answer;
  };

  test("requests that could be read in two ways are refused and do not reach the origin", async () => {
    await using world = await createWorld();
    const host = "Host: a.example\r\n";
    for (const head of [
      `POST /x HTTP/1.1\r\n${host}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /y HTTP/1.1\r\n${host}\r\n`,
      `POST /x HTTP/1.1\r\n${host}Content-Length: 4\r\nContent-Length: 5\r\n\r\nbody`,
      `POST /x HTTP/1.1\r\n${host}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`,
      `POST /x HTTP/1.1\r\n${host}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
      `GET /x HTTP/1.1\r\n${host}Host: b.example\r\nConnection: close\r\n\r\n`,
      "GET /x HTTP/1.1\r\nConnection: close\r\n\r\n",
      `GET /x HTTP/1.1\r\n${host}X : 1\r\n\r\n`,
      `GET /x HTTP/1.1\r\n${host} folded: 1\r\n\r\n`,
      `GET /x HTTP/1.1\n${host}\n\n`,
      "GET /x HTTP/1.1\r\nHost: a.example/evil\r\nConnection: close\r\n\r\n",
      `GET http:///x HTTP/1.1\r\n${host}Connection: close\r\n\r\n`,
    ]) {
      assert.match(await raw(world.url, head), /^HTTP\/1\.1 4\d\d /, head);
    }
    assert.equal(world.seen("/x").length + world.seen("/y").length, 0);
  });

  test("the absolute form names the host, and so the answer", async () => {
    await using world = await createWorld();
    world.script("/x", { headers: { "Cache-Control": "max-age=60" } });
    await raw(world.url, "GET http://a.example/x HTTP/1.1\r\nHost: b.example\r\nConnection: close\r\n\r\n");
    await send(`${world.url}/x`, { headers: { Host: "a.example" } });
    assert.equal(world.seen("/x").length, 1);
  });

  test("heads that are too large are refused", async () => {
    await using world = await createWorld({ maxHeaderBytes: 4_096 });
    assert.match(await raw(world.url, `GET /x HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(8_000)}\r\n\r\n`), /^HTTP\/1\.1 431 /);
  });

  test("carries interim answers", async () => {
    await using world = await createWorld();
    world.handle("/hints", (_request, response) => {
      response.writeProcessing();
      response.writeEarlyHints({ link: "</style.css>; rel=preload; as=style", "x-hint": "1" }, () => {
        response.writeHead(200, { "Cache-Control": "max-age=60" }).end("body");
      });
    });
    const heard: [number, unknown][] = [];
    await new Promise<void>((resolve) => {
      const request = httpRequest(`${world.url}/hints`, { agent: false }, (response) => response.resume().on("end", resolve));
      request.on("information", ({ statusCode, headers }) => heard.push([statusCode, headers["x-hint"]]));
      request.end();
    });
    assert.deepEqual(heard, [
      [102, undefined],
      [103, "1"],
    ]);
  });

  test("becomes a tunnel when the origin agrees", async () => {
    await using world = await createWorld();
    const server = createServer();
    server.on("upgrade", (request, socket: Socket, head: Buffer) => {
      socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: ${request.headers.upgrade}\r\nConnection: Upgrade\r\n\r\n`);
      socket.write(head);
      socket.pipe(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    await using proxy = createProxy({ to: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
    const { url, port } = await proxy.listen();
    const socket = connect(port, "127.0.0.1");
    let text = "";
    socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
    socket.write("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nfirst ");
    await until(() => text.endsWith("first "));
    assert.match(text, /^HTTP\/1\.1 101 [\s\S]*upgrade: echo/i);
    socket.write("second");
    await until(() => text.endsWith("second"));
    socket.destroy();
    // An origin that knows nothing of it answers as ever.
    const refused = await raw(world.url, "GET /plain HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    assert.match(refused, /^HTTP\/1\.1 200 [\s\S]*body$/);
    assert.match(await raw(url, "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"), /^HTTP\/1\.1 501 /);
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  test("to an origin that closed it meanwhile is replaced without anybody noticing", async () => {
    await using world = await createWorld();
    world.handle("/once", (request, response) => {
      response.end("body");
      response.on("finish", () => setTimeout(() => request.socket.destroy(), 1));
    });
    for (let i = 0; i < 20; i++) {
      assert.equal((await send(`${world.url}/once`)).status, 200);
      await delay(i % 3);
    }
  });
});

suite("the proxy", () => {
  test("says where it cannot listen", async () => {
    await using first = createProxy({ to: "http://127.0.0.1:9" });
    const { port } = await first.listen();
    await using second = createProxy({ to: "http://127.0.0.1:9" });
    await assert.rejects(second.listen({ port }), {
      code: "MILLRACE_PROXY_LISTEN_FAILED",
      message: `Port ${port} of 127.0.0.1 is taken. Choose another one, or stop what listens there.`,
    });
  });

  test("takes only an origin for one, and options that there are", () => {
    for (const to of ["127.0.0.1:80", "ftp://a", "http://a/?x=1", "http://user@a", ""]) {
      assert.throws(() => createProxy({ to }), { code: "MILLRACE_OPTION_INVALID" }, to);
    }
    assert.throws(() => createProxy({ to: "http://a", heuristics: true } as never), /did you mean/i);
  });

  test("lets requests end when it closes, and takes no more", async () => {
    const world = await createWorld();
    const { promise: begun, resolve: begin } = Promise.withResolvers<ServerResponse>();
    world.handle("/slow", (_request, response) => begin(response));
    const answer = send(`${world.url}/slow`, { agent: undefined });
    const response = await begun;
    const closing = world[Symbol.asyncDispose]();
    await assert.rejects(send(`${world.url}/other`), { code: "ECONNREFUSED" });
    response.end("whole");
    assert.equal((await answer).text, "whole");
    await closing;
  });

  test("tells of each request what became of it", async () => {
    await using world = await createWorld();
    world.script("/x", { headers: { "Cache-Control": "max-age=60" } });
    const messages: (string | undefined)[] = [];
    using _subscription = proxyRequestChannel.subscribe(({ path, cacheStatus }) => {
      if (path === "/x") messages.push(cacheStatus?.replace(/ttl=\d+/, "ttl=n"));
    });
    await send(`${world.url}/x?secret=1`);
    await send(`${world.url}/x?secret=1`);
    await send(`${world.url}/x?secret=1`, { method: "POST" });
    await until(() => messages.length === 3);
    assert.deepEqual(messages, ["millrace; fwd=uri-miss; stored; ttl=n", "millrace; hit; ttl=n", "millrace; fwd=method"]);
  });

  test("keeps within its memory, whatever comes", async () => {
    await using world = await createWorld({ maxBytes: 200_000 });
    world.handle("/many", (_request, response) => {
      response.writeHead(200, { "Cache-Control": "max-age=60", Vary: "Foo" }).end("x".repeat(9_000));
    });
    for (let i = 0; i < 120; i++) await send(`${world.url}/many?${i % 20}`, { headers: { Foo: String(i) } });
    const { bytes, entries } = world.proxy.stats().memory;
    assert.ok(bytes <= 200_000 && entries > 5, `${bytes} bytes, ${entries} entries`);
  });
});
