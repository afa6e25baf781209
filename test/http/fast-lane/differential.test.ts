// The lane cannot be seen: whatever a client sends, and however the kernel cuts it, a server with a lane answers the same bytes as one without.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Conversation, get } from "./conversation.ts";
import { Random } from "./fuzz/inputs.ts";
import { laneServer } from "./lane-server.ts";

const conversations = 250;
const seed = 7;

let withLane: Awaited<ReturnType<typeof laneServer>>;
let without: typeof withLane;
before(async () => {
  [withLane, without] = await Promise.all([laneServer(), laneServer({ lane: false })]);
});
after(async () => {
  await withLane[Symbol.asyncDispose]();
  await without[Symbol.asyncDispose]();
});

const bodied = (method: string, body: string, random: Random): string =>
  random.oneIn(2)
    ? `${method} /upload HTTP/1.1\r\nHost: h\r\nContent-Length: ${body.length}\r\n\r\n${body}`
    : `${method} /upload HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;

/** One message, mostly one that a lane may answer. */
function message(random: Random): string {
  switch (random.below(20)) {
    case 9:
      return `POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: ${get("/hit/6").length}\r\n\r\n${get("/hit/6")}`;
    case 10:
      return `GET /miss HTTP/1.1\r\nHost: h\r\nX-Inner: ${get("/hit/7")}`;
    case 0:
      return get("/miss");
    case 1:
      return bodied("POST", get("/hit/1").repeat(1 + random.below(3)), random);
    case 2:
      return bodied("PUT", `0\r\n\r\n${get("/hit/2")}`, random);
    case 3:
      return get("/hit", "X-Unknown: 1");
    case 4:
      return get("/hit", 'If-None-Match: "one"');
    case 5:
      return `HEAD /hit HTTP/1.1\r\nHost: h\r\n\r\n`;
    case 6:
      return `\r\n${get("/hit/3")}`;
    case 7:
      return get("/hit", `Referer: /${"r".repeat(5_000)}`);
    case 8:
      return bodied("GET", get("/hit/4"), random);
    default:
      return get(`/hit/${random.below(50)}`, ...(random.oneIn(3) ? ["Accept: */*", "User-Agent: test"] : []));
  }
}

/** What ends a conversation. It is sent when everything before it has been answered: what node does with the answers it owes then is a race. */
const ends = [
  "",
  "",
  get("/hit", "Connection: close"),
  "GET /hit HTTP/1.0\r\nHost: h\r\n\r\n",
  "GET /hit HTTP/1.1\nHost: h\n\n",
  "GET /hit HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
  "GET /hit HTTP/1.1\r\nHost : h\r\n\r\n",
  "POST /hit HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  "nonsense\r\n\r\n",
  "GET /hi",
];

/** Sends `text` and then `end` by `send`, and returns all that comes back. */
async function converse(
  port: number,
  messages: readonly string[],
  end: string,
  send: (text: string, client: Conversation) => Promise<void>,
): Promise<string> {
  using client = await Conversation.begin(port, { allowHalfOpen: true });
  await client.ask(get("/hit"));
  await send(messages.join(""), client);
  const answers: string[] = [];
  for (const each of messages) {
    const { head, body } = await client.answer(each.startsWith("HEAD"));
    answers.push(`${head}\r\n\r\n${body}`);
  }
  if (end !== "") await send(end, client);
  client.socket.end();
  return answers.join("\n") + (await client.rest());
}

/** In one piece, in a few, byte by byte, or at what looks like a message. */
function cut(text: string, messages: readonly string[], random: Random): readonly string[] {
  // Where a message seems to begin, be it one or not.
  if (random.oneIn(2) && text === messages.join("")) return text.split(/(?=GET |POST |PUT |HEAD |\r\nGET )/);
  const most = random.of([text.length, Math.ceil(text.length / 2), Math.ceil(text.length / 5), 3]);
  const pieces: string[] = [];
  for (let from = 0; from < text.length;) {
    const to = most === text.length ? most : from + 1 + random.below(most);
    pieces.push(text.slice(from, to));
    from = to;
  }
  return pieces;
}

test(`${conversations} conversations, cut anywhere, get the same bytes from both`, async () => {
  const random = new Random(seed);
  for (let i = 0; i < conversations; i++) {
    const messages = Array.from({ length: 1 + random.below(12) }, () => message(random));
    const end = random.of(ends);
    const expected = await converse(without.port, messages, end, async (text, client) => client.send(text));
    const actual = await converse(withLane.port, messages, end, async (text) => {
      for (const piece of cut(text, messages, random)) {
        withLane.sockets.at(-1)!.push(Buffer.from(piece, "latin1")); // as if the kernel had given just this
        // Before the loop turns nothing of what node owes is answered; a few turns later everything is.
        for (let turns = random.oneIn(3) ? 0 : random.below(6); turns > 0; turns--)
          await new Promise((resolve) => setImmediate(resolve));
      }
    });
    assert.equal(actual, expected, `conversation ${i} (seed ${seed}): ${JSON.stringify(messages.join("") + end)}`);
  }
  // It was the lane that answered, not node alone.
  const { answered, connections } = withLane.lane.counts;
  assert.equal(connections, conversations);
  assert.ok(answered > conversations / 2, `${answered} answered`);
  assert.ok(withLane.byNode - conversations > conversations, `${withLane.byNode} by node`);
  assert.deepEqual(withLane.warnings, []);
});
