import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { Agent } from "node:http";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { createApp, drainChannel, endpoint } from "../../src/http/index.ts";
import { open, readAll, send } from "./client.ts";

/** The fixture in a process of its own. */
async function startServer() {
  const child = spawn(
    process.execPath,
    ["--conditions=millrace-source", new URL("fixtures/drain-server.ts", import.meta.url).pathname],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  const exit = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
  const lines = createInterface({ input: child.stdout });
  const seen: string[] = [];
  const waiting: { readonly text: string; readonly resolve: (line: string) => void }[] = [];
  lines.on("line", (line) => {
    seen.push(line);
    for (const { text, resolve } of waiting) if (line.startsWith(text)) resolve(line);
  });
  const said = (text: string): Promise<string> =>
    new Promise((resolve) => {
      const line = seen.find((each) => each.startsWith(text));
      if (line !== undefined) resolve(line);
      else waiting.push({ text, resolve });
    });
  return {
    url: await said("http"),
    said,
    exit,
    signal: (name: NodeJS.Signals) => child.kill(name),
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exit;
    },
  };
}

test("SIGTERM under load loses no request, and the process ends with 0", async () => {
  await using server = await startServer();
  let serving = true;
  // What a load balancer does: it stops sending where readiness fails.
  const balancer = (async () => {
    while (serving) {
      const answer = await send(`${server.url}/readyz`);
      if (answer.status === 503) serving = false;
    }
  })();
  let answered = 0;
  const { promise: underLoad, resolve: loaded } = Promise.withResolvers<void>();
  const client = async (): Promise<void> => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    for (let i = 1; serving; i++) {
      const answer = await send(`${server.url}${i % 20 === 0 ? "/slow" : "/quick"}`, { agent });
      assert.equal(answer.status, 200);
      assert.equal(answer.complete, true);
      if (++answered === 500) loaded();
    }
    agent.destroy();
  };
  const clients = Promise.all(Array.from({ length: 16 }, client));
  await underLoad;
  server.signal("SIGTERM");
  await clients;
  await balancer;
  assert.deepEqual(await server.exit, [0, null]);
  await server.said("closed after SIGTERM");
});

test("a request that runs at the end of the delay is finished, and its connection closed", async () => {
  await using server = await startServer();
  const asked = send(`${server.url}/slow`, { agent: new Agent({ keepAlive: true }) });
  await server.said("slow");
  server.signal("SIGINT"); // no delay: the listener closes while the request runs
  const answer = await asked;
  assert.equal(answer.text, '{"slow":true}');
  assert.equal(answer.headers["connection"], "close");
  assert.deepEqual(await server.exit, [0, null]);
});

test("what does not end is cut at the limit, and the process ends with 0", async () => {
  await using server = await startServer();
  const asked = send(`${server.url}/stuck`).then(
    () => "answered",
    (error: { code: string }) => error.code,
  );
  await server.said("stuck");
  server.signal("SIGINT");
  assert.equal(await asked, "ECONNRESET");
  assert.deepEqual(await server.exit, [0, null]);
});

test("a second signal ends the process at once", async () => {
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    await using server = await startServer();
    const asked = send(`${server.url}/stuck`).catch(() => undefined);
    await server.said("stuck");
    server.signal("SIGTERM");
    // The first has been heard when readiness fails.
    while ((await send(`${server.url}/readyz`)).status !== 503);
    // One that follows within half a second is taken for the same: see below.
    const again = setInterval(() => server.signal(signal), 100);
    assert.deepEqual(await server.exit, [code, null]);
    clearInterval(again);
    await asked;
  }
});

test("a signal that arrives twice at once, from a process group and from a parent, counts once", async () => {
  await using server = await startServer();
  const asked = send(`${server.url}/slow`);
  await server.said("slow");
  server.signal("SIGINT");
  server.signal("SIGTERM");
  assert.equal((await asked).status, 200);
  assert.deepEqual(await server.exit, [0, null]);
});

test("idle connections are closed, and one whose request is arriving is answered first", async () => {
  const app = createApp({ endpoints: [endpoint("GET /x", {}, () => 1)], logger: false });
  const url = await app.listen({ port: 0 });
  const idle = await open(url);
  idle.write("GET /x HTTP/1.1\r\nhost: x\r\n\r\n");
  await once(idle, "data");
  const arriving = await open(url);
  const answer = readAll(arriving);
  arriving.write("GET /x HTTP/1.1\r\nhost: x\r\n");
  await send(`${url}/x`); // by now the half of a request has been read
  const closedIdle = drainChannel.next(({ phase }) => phase === "idle-closed");
  const closing = app.close();
  await closedIdle;
  await once(idle, "close");
  arriving.write("\r\n");
  const text = await answer;
  assert.match(text, /^HTTP\/1\.1 200/);
  assert.match(text, /connection: close/i);
  await closing;
});

test("closing twice, or without ever listening, is harmless", async () => {
  const app = createApp({ endpoints: [], logger: false });
  await Promise.all([app.close(), app.close()]);
});
