// Stopping while the lane answers: whoever has been answered has been answered whole, and is told that this was the last time.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Socket } from "node:net";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { drainChannel } from "../../../src/http/index.ts";
import { eventually } from "../../harness/patience.ts";
import { Conversation, get } from "./conversation.ts";
import { itemOf, laneApp } from "./lane-app.ts";

const pipelined = 20;

/** Lets the server keep every answer that the clients will ask for, so that all of theirs are hits from the first on. */
async function warmUp(port: number): Promise<void> {
  using client = await Conversation.begin(port);
  for (let i = 0; i < pipelined; i++) {
    await client.ask(get(`/items/${i}`));
    const { head } = await client.ask(get(`/items/${i}`));
    assert.match(head, /^cache-status: .*; hit/im);
  }
}

/** Pipelines hits, twenty at a time, until the server ends. Returns the heads of all answers; every answer that began was whole. */
async function pipeline(port: number, answered: () => void): Promise<string[]> {
  using client = await Conversation.begin(port);
  const heads: string[] = [];
  const batch = Array.from({ length: pipelined }, (_, i) => get(`/items/${i}`)).join("");
  for (;;) {
    client.send(batch);
    for (let i = 0; i < pipelined; i++) {
      const found = await client.answerOrEnd();
      if (found === undefined) return heads;
      assert.equal(found.status, 200);
      assert.deepEqual(JSON.parse(found.body), itemOf(i));
      heads.push(found.head);
      answered();
    }
  }
}

test("SIGTERM in the middle of pipelined hits: every answer is whole, and the last one of each connection says so", async () => {
  const program = fileURLToPath(new URL("../fixtures/lane-server.ts", import.meta.url));
  const child = spawn(process.execPath, ["--conditions=millrace-source", program], { stdio: ["ignore", "pipe", "inherit"] });
  const exit = once(child, "exit");
  try {
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const url = String((await lines.next()).value);
    const port = Number(new URL(url).port);
    await warmUp(port);
    let answered = 0;
    const { promise: underLoad, resolve: loaded } = Promise.withResolvers<void>();
    const clients = Promise.all(Array.from({ length: 12 }, () => pipeline(port, () => void (++answered === 2_000 && loaded()))));
    await underLoad;
    child.kill("SIGTERM");
    for (const heads of await clients) {
      assert.match(heads.at(-1)!, /^connection: close$/im);
      for (const head of heads.slice(0, -1)) assert.match(head, /^connection: keep-alive$/im);
    }
    const counts = JSON.parse(String((await lines.next()).value)) as { readonly answered: number };
    assert.ok(counts.answered > 1_000, `${counts.answered} by the lane`);
    assert.deepEqual(await exit, [0, null]);
  } finally {
    child.kill("SIGKILL");
    await exit;
  }
});

test("answers that their client has not taken when the drain begins are sent whole", async () => {
  const app = laneApp({ drainTimeout: "20s" });
  const sockets: Socket[] = [];
  app.fastify.server.on("connection", (socket: Socket) => sockets.push(socket));
  const { port } = new URL(await app.listen({ port: 0 }));
  await eventually("the lane is on", () => app.fastLane!.state === "on");
  using client = await Conversation.begin(Number(port));
  await client.ask(get("/large"));
  await client.ask(get("/large"));
  const before = app.fastLane!.counts.answered;
  client.socket.pause();
  // One by one, so that there is none behind the one that waits: the connection is idle but for its bytes.
  let sent = 0;
  while (sockets[0]!.writableLength === 0) {
    client.send(get("/large"));
    sent++;
    await eventually("it is answered", () => app.fastLane!.counts.answered - before === sent);
  }
  const idleClosed = drainChannel.next(({ phase }) => phase === "idle-closed");
  const closing = app.close();
  await idleClosed;
  for (let i = 0; i < sent; i++) {
    const { status, body } = await client.answer();
    assert.equal(status, 200);
    assert.equal(body.length, 300_011);
  }
  assert.equal(await client.rest(), "");
  await closing;
});
