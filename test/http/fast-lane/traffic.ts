// Hits, misses, uploads and exports in turns, on one connection, every answer looked at.

import assert from "node:assert/strict";
import { Conversation, get } from "./conversation.ts";
import { Random } from "./fuzz/inputs.ts";
import { exportLines, itemOf, lineOf } from "./lane-app.ts";

export const hot = 20;

const upload = (text: string): string => {
  const body = JSON.stringify({ text });
  return `POST /uploads HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
};

/** What was asked, and what must come back. */
interface Asked {
  readonly bytes: string;
  readonly check: (body: string) => void;
}

function next(random: Random): Asked {
  const id = random.below(hot);
  const isItem = (body: string): void => assert.deepEqual(JSON.parse(body), itemOf(id));
  switch (random.below(10)) {
    case 0:
      return { bytes: get(`/uncached/${id}`), check: isItem };
    case 1: {
      // A body that has a request in it.
      const text = get(`/items/${id}`).repeat(1 + random.below(20));
      return { bytes: upload(text), check: (body) => assert.deepEqual(JSON.parse(body), { length: text.length, text }) };
    }
    case 2:
      return {
        bytes: get("/export"),
        check: (body) => assert.equal(body, Array.from({ length: exportLines }, (_, n) => lineOf(n)).join("")),
      };
    default:
      return { bytes: get(`/items/${id}`), check: isItem };
  }
}

/** Talks to the server at `port` over one connection: `requests` of them, up to four pipelined. */
export async function talk(port: number, requests: number, seed: number): Promise<void> {
  const random = new Random(seed);
  using client = await Conversation.begin(port);
  for (let sent = 0; sent < requests;) {
    const batch = Array.from({ length: Math.min(requests - sent, random.oneIn(3) ? 1 + random.below(4) : 1) }, () => next(random));
    sent += batch.length;
    client.send(batch.map(({ bytes }) => bytes).join(""));
    for (const { check } of batch) {
      const { status, body } = await client.answer();
      assert.equal(status, 200, body);
      check(body);
    }
  }
}
