// The lane in a whole app: what it counts, and that nobody gets anything but their answers, whatever others do.

import assert from "node:assert/strict";
import { Writable } from "node:stream";
import { suite, test } from "node:test";
import { pino } from "pino";
import type { AppOptions, RequestMessage } from "../../../src/http/index.ts";
import { requestChannel, responseCacheChannel } from "../../../src/http/index.ts";
import { eventually } from "../../harness/patience.ts";
import { Conversation, get } from "./conversation.ts";
import { itemOf, laneApp } from "./lane-app.ts";
import { talk } from "./traffic.ts";

async function start(options: Partial<AppOptions> = {}) {
  const app = laneApp(options);
  const { port } = new URL(await app.listen({ port: 0 }));
  // The first app of a process looks at this Node first.
  await eventually("the lane is on, or there is none", () => app.fastLane?.state !== "checking");
  return { app, port: Number(port), [Symbol.asyncDispose]: () => app.close() };
}

const changing = /^(?:date|x-request-id|age|cache-status):/i;
const withoutChanging = (head: string): string =>
  head
    .split("\r\n")
    .filter((line) => !changing.test(line))
    .join("\n");

test("it is on by default, answers what the ordinary way answers, and fastLane: false turns it off", async () => {
  await using server = await start();
  await using ordinary = await start({ fastLane: false });
  const answers: string[] = [];
  for (const { port } of [server, ordinary]) {
    using client = await Conversation.begin(port);
    for (let i = 0; i < 5; i++) {
      const { head, body } = await client.ask(get("/items/1", "Accept-Encoding: identity"));
      assert.deepEqual(JSON.parse(body), itemOf(1));
      if (i > 0) answers.push(withoutChanging(head));
    }
  }
  assert.equal(new Set(answers).size, 1, answers.join("\n\n"));
  // The first fills, the second is answered by the ordinary way, and invites.
  assert.equal(server.app.fastLane!.counts.answered, 3);
  assert.equal(ordinary.app.fastLane, undefined);
});

test("without a cache there is no lane", async () => {
  await using server = await start({ cache: false });
  assert.equal(server.app.fastLane, undefined);
});

test("the access log and the channels have every answer of the lane's", async () => {
  const lines: { readonly path?: string; readonly status?: number; readonly requestId?: string; readonly bytes?: number }[] = [];
  const logger = pino(
    new Writable({
      write(line: Buffer, _encoding, done) {
        lines.push(JSON.parse(String(line)) as (typeof lines)[number]);
        done();
      },
    }),
  );
  await using server = await start({ logger });
  const messages: RequestMessage[] = [];
  let hits = 0;
  const onRequest = (message: unknown): void => void messages.push(message as RequestMessage);
  const onCache = (message: unknown): void => {
    if ((message as { readonly state: string }).state === "hit") hits++;
  };
  using _onRequest = requestChannel.subscribe(onRequest);
  using _onCache = responseCacheChannel.subscribe(onCache);
  using client = await Conversation.begin(server.port);
  for (let i = 0; i < 10; i++) await client.ask(get("/items/2?", `X-Request-Id: request-${i}-of-ten`));
  await eventually("every request is reported", () => messages.length === 10);
  assert.equal(server.app.fastLane!.counts.answered, 8);
  assert.equal(hits, 9);
  for (const [i, message] of messages.entries()) {
    assert.equal(message.requestId, `request-${i}-of-ten`);
    assert.equal(message.route, "/items/:id");
    assert.equal(message.status, 200);
    assert.equal(message.bytes, messages[0]!.bytes);
  }
  const requests = lines.filter(({ path }) => path === "/items/2");
  assert.deepEqual(
    requests.map(({ requestId }) => requestId),
    messages.map(({ requestId }) => requestId),
  );
});

suite("many connections at once", () => {
  test("100 of them with hits, misses, uploads and exports in turns: every answer is the right one", async () => {
    await using server = await start();
    await Promise.all(Array.from({ length: 100 }, (_, i) => talk(server.port, 40, i + 1)));
    const { answered, connections, passed } = server.app.fastLane!.counts;
    assert.ok(connections > 90, `${connections} taken`);
    assert.ok(answered > 1_000, `${answered} answered`);
    assert.ok(passed > 100, `${passed} passed on`);
    assert.equal(server.app.fastLane!.state, "on");
  });

  test("300 idle ones and one that reads a few bytes at a time hold up nobody, and are closed in order", async () => {
    await using server = await start();
    const idle = await Promise.all(
      Array.from({ length: 300 }, async (_, i) => {
        const client = await Conversation.begin(server.port);
        await client.ask(get(`/items/${i % 20}`));
        await client.ask(get(`/items/${i % 20}`));
        return client;
      }),
    );
    using slow = await Conversation.begin(server.port);
    await slow.ask(get("/large"));
    await slow.ask(get("/large"));
    slow.send(get("/large").repeat(60));
    slow.socket.pause();
    await talk(server.port, 50, 1);
    // It takes what there is in small pieces.
    let bytes = 0;
    for (let i = 0; i < 20; i++) {
      bytes += slow.socket.read(100)?.length ?? 0;
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.ok(bytes <= 2_000);
    assert.ok(server.app.fastLane!.counts.answered > 300);
    for (const client of idle) assert.equal((await client.ask(get("/items/3"))).status, 200);
    slow.socket.destroy();
    await server.app.close();
    for (const client of idle) assert.equal(await client.rest(), "");
  });
});
