// What real clients and proxies do to a connection, to the app alone and behind Debian's nginx with its own connections to it.

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";
import type { App } from "../../../src/http/index.ts";
import { debianPackage } from "../../harness/debian.ts";
import { eventually } from "../../harness/patience.ts";
import { type ServerProcess, freePort, serverProcess } from "../../harness/server-process.ts";
import { Conversation, get } from "./conversation.ts";
import { itemOf, laneApp } from "./lane-app.ts";
import { talk } from "./traffic.ts";

let app: App;
let nginx: ServerProcess | undefined;
let directory: string;
const ports: Record<string, number> = {};

const config = (directory: string, listen: number, upstream: number): string => `
daemon off; master_process off; pid ${directory}/nginx.pid; error_log ${directory}/error.log crit;
events { worker_connections 512; }
http {
  access_log off;
  client_body_temp_path ${directory}/b; proxy_temp_path ${directory}/p; fastcgi_temp_path ${directory}/f; uwsgi_temp_path ${directory}/u; scgi_temp_path ${directory}/s;
  upstream app { server 127.0.0.1:${upstream}; keepalive 4; }
  server {
    listen 127.0.0.1:${listen};
    location / {
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
    }
  }
}
`;

before(async () => {
  const program = await debianPackage("nginx", "nginx");
  app = laneApp();
  ports["alone"] = Number(new URL(await app.listen({ port: 0 })).port);
  await eventually("the lane is on", () => app.fastLane!.state === "on");
  const port = await freePort();
  ports["behind nginx"] = port;
  directory = await mkdtemp(join(tmpdir(), "millrace-nginx-"));
  const path = join(directory, "nginx.conf");
  await writeFile(path, config(directory, port, ports["alone"]));
  nginx = await serverProcess({
    program,
    args: () => ["-c", path],
    answers: () =>
      fetch(`http://127.0.0.1:${port}/healthz`).then(
        ({ ok }) => ok,
        () => false,
      ),
  });
});

after(async () => {
  await nginx?.[Symbol.asyncDispose]();
  await app.close();
  await rm(directory, { recursive: true, force: true });
});

for (const way of ["alone", "behind nginx"]) {
  suite(way, () => {
    /** A connection on which two hits have been answered, so that the lane is in the game. */
    const connection = async (): Promise<Conversation> => {
      const client = await Conversation.begin(ports[way]!);
      await client.ask(get("/items/1"));
      await client.ask(get("/items/1"));
      return client;
    };
    const isItem = (body: string, id: number): void => assert.deepEqual(JSON.parse(body), itemOf(id));

    test("ten connections with everything in turns", async () => {
      const { answered } = app.fastLane!.counts;
      await Promise.all(Array.from({ length: 10 }, (_, i) => talk(ports[way]!, 50, 100 + i)));
      assert.ok(app.fastLane!.counts.answered - answered > 100, "it is the lane that answers");
    });

    test("pipelined requests are answered in their order", async () => {
      using client = await connection();
      client.send(Array.from({ length: 200 }, (_, i) => get(i % 9 === 8 ? `/uncached/${i}` : `/items/${i % 20}`)).join(""));
      for (let i = 0; i < 200; i++) isItem((await client.answer()).body, i % 9 === 8 ? i : i % 20);
    });

    test("a request that comes byte by byte is answered", async () => {
      using client = await connection();
      for (const byte of get("/items/2", "Accept: */*")) {
        client.send(byte);
        await new Promise((resolve) => setImmediate(resolve));
      }
      isItem((await client.answer()).body, 2);
    });

    test("a client that half-closes gets its answers and the end", async () => {
      using client = await connection();
      // nginx sees a client that has half-closed before it is answered as gone.
      if (way === "alone") {
        client.send(get("/items/3").repeat(10));
        client.socket.end();
        for (let i = 0; i < 10; i++) isItem((await client.answer()).body, 3);
      } else {
        isItem((await client.ask(get("/items/3"))).body, 3);
        client.socket.end();
      }
      assert.equal(await client.rest(), "");
    });

    test("clients that are cut in the middle of requests and answers do no harm", async () => {
      for (const bytes of [
        get("/items/4").slice(0, 25),
        get("/large").repeat(30),
        `${get("/items/4").repeat(3)}POST /uploads HTTP/1.1\r\nHost: h\r\n`,
      ]) {
        const client = await connection();
        client.send(bytes);
        await once(client.socket, "drain", { signal: AbortSignal.timeout(50) }).catch(() => {});
        client.socket.resetAndDestroy();
      }
      using client = await connection();
      isItem((await client.ask(get("/items/4"))).body, 4);
      assert.equal(app.fastLane!.state, "on");
    });

    test("a request that is too large is refused, and the others go on", async () => {
      using other = await connection();
      using client = await connection();
      const { status } = await client.ask(get("/items/5", `Referer: /${"r".repeat(40_000)}`));
      assert.ok(status === 431 || status === 400, `${status}`); // nginx says 400
      await client.rest();
      isItem((await other.ask(get("/items/5"))).body, 5);
      // What only the lane finds too large is answered by Node.
      isItem((await other.ask(get("/items/5", `Referer: /${"r".repeat(6_000)}`))).body, 5);
    });

    test("a client that reads a little at a time gets all of it, and holds up nobody", async () => {
      using client = await connection();
      await client.ask(get("/large"));
      client.socket.pause();
      client.send(get("/large").repeat(40));
      await talk(ports[way]!, 30, 7);
      for (let i = 0; i < 30; i++) {
        client.socket.read(1);
        await new Promise((resolve) => setImmediate(resolve));
      }
      await talk(ports[way]!, 30, 8);
      assert.equal(app.fastLane!.state, "on");
    });
  });
}
