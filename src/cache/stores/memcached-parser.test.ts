// The parser of memcached's replies: cut anywhere, and fed with nonsense.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { MemcachedParser, type MemcachedReply } from "./memcached-parser.ts";

const parse = (chunks: readonly Buffer[], largestValue = 1_000_000): MemcachedReply[] => {
  const replies: MemcachedReply[] = [];
  const parser = new MemcachedParser((reply) => {
    replies.push({ ...reply, value: reply.value && Buffer.from(reply.value) });
  }, largestValue);
  for (const chunk of chunks) parser.push(chunk);
  return replies;
};

const wire = Buffer.concat([
  Buffer.from("HD c3 O1\r\nEN O2\r\nVA 4 c7 f1 O3 W X\r\n"),
  Buffer.from([13, 10, 0, 255]),
  Buffer.from("\r\nVA 0 c1 t-1 f0 s0 O4 Z\r\n\r\nSERVER_ERROR object too large for cache\r\nNS O5\r\nEX O6\r\nNF O7\r\nMN\r\n"),
]);
const replies: readonly MemcachedReply[] = [
  { code: "HD", flags: ["c3", "O1"], value: undefined },
  { code: "EN", flags: ["O2"], value: undefined },
  { code: "VA", flags: ["c7", "f1", "O3", "W", "X"], value: Buffer.from([13, 10, 0, 255]) },
  { code: "VA", flags: ["c1", "t-1", "f0", "s0", "O4", "Z"], value: Buffer.alloc(0) },
  { code: "SERVER_ERROR", flags: ["object too large for cache"], value: undefined },
  { code: "NS", flags: ["O5"], value: undefined },
  { code: "EX", flags: ["O6"], value: undefined },
  { code: "NF", flags: ["O7"], value: undefined },
  { code: "MN", flags: [], value: undefined },
];

suite("the parser of memcached's replies", () => {
  test("reads the same wherever the bytes are cut in two, and byte by byte", () => {
    assert.deepEqual(parse([wire]), replies);
    for (let at = 0; at <= wire.byteLength; at++) assert.deepEqual(parse([wire.subarray(0, at), wire.subarray(at)]), replies);
    assert.deepEqual(parse([...wire].map((byte) => Buffer.from([byte]))), replies);
  });

  test("reads any values, cut anywhere", () => {
    const value = fc.uint8Array({ maxLength: 300 });
    fc.assert(
      fc.property(fc.array(value, { maxLength: 8 }), fc.array(fc.nat(4_000), { maxLength: 12 }), (values, places) => {
        const bytes = Buffer.concat(
          values.flatMap((each, i) => [Buffer.from(`VA ${each.length} f1 O${i}\r\n`), Buffer.from(each), Buffer.from("\r\n")]),
        );
        const cuts = [0, ...places.map((place) => Math.min(place, bytes.byteLength)).toSorted((a, b) => a - b), bytes.byteLength];
        const chunks = cuts.slice(1).map((end, i) => bytes.subarray(cuts[i], end));
        assert.deepEqual(
          parse(chunks).map(({ value }) => [...value!]),
          values.map((each) => [...each]),
        );
      }),
      { numRuns: 300 },
    );
  });

  test("throws at what is not the protocol", () => {
    for (const text of [
      "ERROR\r\n",
      "CLIENT_ERROR bad data chunk\r\n",
      "VA\r\n",
      "VA x\r\n",
      "VA -1\r\n",
      "VA 99999999999\r\n",
      "VA 1000001 O1\r\n",
      "VA 1 O1\r\nabc",
      "HD\n",
      "\r\n",
      "\n",
      "hd\r\n",
      "VALUE k 0 1\r\n",
      "HTTP/1.1 400 Bad Request\r\n",
      "x".repeat(3_000),
      `HD ${"x".repeat(3_000)}\r\n`,
    ]) {
      assert.throws(() => parse([Buffer.from(text)]), Error, JSON.stringify(text.slice(0, 40)));
    }
  });

  test("ends in replies or an Error for any bytes, and never keeps more than a line of nonsense", () => {
    const pieces = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc
        .constantFrom("VA ", "HD", " ", "\r\n", "\r", "\n", "5", "O1", "SERVER_ERROR ")
        .map((text) => Uint8Array.from(Buffer.from(text))),
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 40 }), (chunks) => {
        try {
          parse(chunks.map((chunk) => Buffer.from(chunk)));
        } catch (error) {
          assert.ok(error instanceof Error && error.name === "Error", String(error)); // not a TypeError or RangeError
        }
      }),
      { numRuns: 500 },
    );
  });
});
