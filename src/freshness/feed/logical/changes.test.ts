import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { hashDependencies } from "../../../cache/index.ts";
import type { FeedCommit } from "../../feed.ts";
import { Changes, completeXid, messagePrefixes } from "./changes.ts";
import { Tuple, columnStates, readRelation } from "./pgoutput.ts";

const int16 = (value: number) => Buffer.from([value >> 8, value & 255]);
const int32 = (value: number) => {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32BE(value >>> 0);
  return buffer;
};
const int64 = (value: number) => Buffer.concat([int32(Math.floor(value / 2 ** 32)), int32(value)]);
const text = (value: string) => Buffer.from(`${value}\0`);
const bytes = (...parts: (string | Buffer | number)[]) =>
  Buffer.concat(
    parts.map((part) => (typeof part === "number" ? Buffer.from([part]) : typeof part === "string" ? Buffer.from(part) : part)),
  );

const unchanged = Symbol("unchanged");
const tuple = (...values: (string | null | typeof unchanged)[]) =>
  bytes(
    int16(values.length),
    ...values.map((value) =>
      value === null ? "n" : value === unchanged ? "u" : bytes("t", int32(Buffer.byteLength(value)), Buffer.from(value)),
    ),
  );

const begin = (xid: number) => bytes("B", int64(0), int64(0), int32(xid));
const commit = (end: number) => bytes("C", 0, int64(end - 8), int64(end), int64(0));
/** public.t(id, city, note): id is the key. */
const relation = bytes(
  "R",
  int32(7),
  text("public"),
  text("t"),
  "d",
  int16(3),
  1,
  text("id"),
  int32(23),
  int32(-1),
  0,
  text("city"),
  int32(23),
  int32(-1),
  0,
  text("note"),
  int32(25),
  int32(-1),
);

async function touched(follow: readonly string[], ...messages: Buffer[]): Promise<readonly string[]> {
  const changes = new Changes({
    canonicalValue: (_type, value) => value,
    maxDependenciesPerCommit: 100,
    recentXid: 1_000n,
    rootOf: async (oid) => ({ oid, schema: "public", name: "t" }),
  });
  for (const column of follow) changes.follow(7, column);
  for (const message of [begin(900), relation, ...messages, commit(6_400)]) await changes.read(message);
  const { commits } = changes.drain();
  assert.equal(changes.upTo, 200);
  if (commits.length === 0) return [];
  assert.deepEqual([commits.length, commits[0]!.number, commits[0]!.xid], [1, 200, 900n]);
  return namesIn(commits[0]!);
}

const candidates = [
  "public.t",
  "public.t:*",
  ...["id", "city", "note"].flatMap((c) => ["1", "2", "5", "6", "x"].map((v) => `public.t:${c}=${v}`)),
  "tag",
];

function namesIn({ dependencies, everything }: FeedCommit): string[] {
  const found = candidates.filter((name) => {
    const [low, high] = hashDependencies([name]);
    for (let i = 0; i < dependencies.length; i += 2) if (dependencies[i] === low && dependencies[i + 1] === high) return true;
    return false;
  });
  assert.equal(found.length, dependencies.length / 2, "nothing else is named");
  return everything ? [...found, "everything"] : found;
}

describe("commits made of pgoutput's messages", () => {
  it("name what an INSERT, an UPDATE and a DELETE say of followed columns", async () => {
    const insert = bytes("I", int32(7), "N", tuple("1", "5", "x"));
    assert.deepEqual(await touched([], insert), ["public.t"]);
    assert.deepEqual(await touched(["city"], insert), ["public.t", "public.t:city=5"]);
    const full = bytes("U", int32(7), "O", tuple("1", "5", "x"), "N", tuple("1", "6", unchanged));
    assert.deepEqual(await touched(["city", "note"], full), ["public.t", "public.t:city=5", "public.t:city=6", "public.t:note=x"]);
    const removed = bytes("D", int32(7), "O", tuple("1", null, "x"));
    assert.deepEqual(await touched(["id", "city"], removed), ["public.t", "public.t:id=1"]);
  });

  it("know the key without an old row, and take it from one that has only the key", async () => {
    const same = bytes("U", int32(7), "N", tuple("1", "6", "x"));
    assert.deepEqual(await touched(["id"], same), ["public.t", "public.t:id=1"]);
    const moved = bytes("U", int32(7), "K", tuple("1", null, null), "N", tuple("2", "6", "x"));
    assert.deepEqual(await touched(["id"], moved), ["public.t", "public.t:id=1", "public.t:id=2"]);
    assert.deepEqual(await touched(["id"], bytes("D", int32(7), "K", tuple("1", null, null))), ["public.t", "public.t:id=1"]);
  });

  it("name all rows where a value is not in the log", async () => {
    const rows = ["public.t", "public.t:*"];
    assert.deepEqual(await touched(["city"], bytes("U", int32(7), "N", tuple("1", "6", "x"))), rows);
    assert.deepEqual(await touched(["city"], bytes("D", int32(7), "K", tuple("1", null, null))), rows);
    assert.deepEqual(await touched(["id"], bytes("D", int32(7), "K", tuple(null, null, null))), rows);
    assert.deepEqual(await touched(["generated"], bytes("I", int32(7), "N", tuple("1", "5", "x"))), rows);
    assert.deepEqual(await touched([], bytes("T", int32(1), 0, int32(7))), rows);
  });

  it("hear messages of ours inside a transaction and let others pass", async () => {
    const message = (prefix: string, content: Buffer) => bytes("M", 1, int64(64), text(prefix), int32(content.length), content);
    assert.deepEqual(await touched([], message(messagePrefixes.ddl, Buffer.alloc(0))), ["everything"]);
    const hashes = Buffer.from(hashDependencies(["tag"]).buffer);
    assert.deepEqual(await touched([], message(messagePrefixes.bump, hashes)), ["tag"]);
    assert.deepEqual(await touched([], message("theirs", hashes), message(messagePrefixes.mark, Buffer.alloc(0))), []);
  });

  it("complete a transaction's number across a wrap of its 32 bits, forwards and backwards", () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: 2n ** 33n, max: 2n ** 62n }),
        fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
        (recent, by) => {
          const xid = recent + BigInt(by);
          assert.equal(completeXid(recent, Number(xid & 0xffff_ffffn)), xid);
        },
      ),
    );
  });

  it("read any tuple as it was written, and fail only in one way on anything else", () => {
    const values = fc.array(
      fc.oneof(fc.string({ unit: "grapheme" }), fc.constant(null), fc.constant<typeof unchanged>(unchanged)),
      { maxLength: 70 },
    );
    const read = new Tuple();
    fc.assert(
      fc.property(values, (row) => {
        const message = tuple(...row);
        assert.equal(read.read(message, 0), message.length);
        for (const [i, value] of row.entries()) {
          if (value === null) assert.equal(read.state(i), columnStates.null);
          else if (value === unchanged) assert.equal(read.state(i), columnStates.unchanged);
          else assert.equal(read.text(message, i), value);
        }
        assert.equal(read.state(row.length), columnStates.absent);
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (noise) => {
        for (const reading of [() => read.read(Buffer.from(noise), 0), () => readRelation(Buffer.from([0x52, ...noise]))]) {
          try {
            reading();
          } catch (error) {
            assert.ok(error instanceof RangeError);
          }
        }
      }),
    );
  });
});
