// What goes into a store comes back as it was, and whatever else is found there is a miss.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { crc32 } from "node:zlib";
import fc from "fast-check";
import { type EncodedEntry, decodeEntry, encodeEntry } from "./entry-codec.ts";
import { codecIds, decodeValue, encodeValue } from "./value-codec.ts";

const most = 2 ** 20;

const duration = fc.double({ min: 0, max: 1e10, noNaN: true });
const payload = fc.oneof(
  fc.constantFrom("undefined" as const, "null" as const),
  fc.record({
    codecId: fc.integer({ min: 1, max: 255 }),
    bytes: fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.uint8Array({ minLength: 5_000, maxLength: 9_000 }),
      fc.integer({ min: 4_000, max: 200_000 }).map((length) => new Uint8Array(length).fill(length & 255)),
    ),
  }),
);
const entry: fc.Arbitrary<EncodedEntry> = fc.record<EncodedEntry>({
  payload,
  generation: fc.maxSafeNat(),
  upTo: fc.maxSafeNat(),
  createdMs: duration,
  freshForMs: duration,
  staleForMs: duration,
  computeMs: duration,
  timeDependent: fc.boolean(),
  dependencies: fc
    .array(fc.tuple(fc.nat(0xffffffff), fc.nat(0xffffffff)), { maxLength: 20 })
    .map((all) => Uint32Array.from(all.flat())),
  names: fc.array(fc.string({ maxLength: 50, unit: "grapheme" }), { maxLength: 10 }),
});

const plain = (decoded: EncodedEntry | undefined) =>
  decoded &&
  (typeof decoded.payload === "string"
    ? { ...decoded }
    : { ...decoded, payload: { ...decoded.payload, bytes: Uint8Array.from(decoded.payload.bytes) } });

suite("an entry in a store", () => {
  test("comes back as it was", async () => {
    await fc.assert(
      fc.asyncProperty(entry, async (each) => {
        // A copy, because the generated one has no prototype.
        assert.deepEqual(plain(await decodeEntry(await encodeEntry(each), most)), { ...plain(each) });
      }),
      { numRuns: 200, seed: 1 },
    );
  });

  test("is nothing once a byte is changed, cut off or added", async () => {
    await fc.assert(
      fc.asyncProperty(entry, fc.nat(), fc.integer({ min: 1, max: 255 }), async (each, where, by) => {
        const bytes = await encodeEntry(each);
        const changed = Uint8Array.from(bytes);
        changed[where % bytes.length]! ^= by;
        assert.equal(await decodeEntry(changed, most), undefined);
        assert.equal(await decodeEntry(bytes.subarray(0, where % bytes.length), most), undefined);
        assert.equal(await decodeEntry(Uint8Array.of(...bytes.subarray(0, 100), by, ...bytes.subarray(100)), most), undefined);
      }),
      { numRuns: 150, seed: 2 },
    );
  });

  test("is nothing when the bytes are anything, also with a header and a checksum that are right", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.nat(3), async (bytes, codec) => {
        await decodeEntry(bytes, most); // does not throw
        const forged = Buffer.concat([Buffer.from([0x4d, 0x72, 1, codec]), bytes, Buffer.alloc(72)]);
        forged.writeUInt16LE(forged.readUInt16LE(4) & 15, 4);
        forged.writeUInt16LE(0, 6);
        forged.writeUInt32LE(0, 12);
        forged.writeUInt32LE(forged.length - 72, 16);
        forged.writeUInt32LE(crc32(forged.subarray(12), crc32(forged.subarray(0, 8))), 8);
        await decodeEntry(forged, most);
      }),
      { numRuns: 300, seed: 3 },
    );
  });

  test("may not be larger than it says, nor larger than is asked for: a bomb ends at its bound", async () => {
    const bomb = { codecId: 1, bytes: new Uint8Array(50_000_000) };
    const parts = { generation: 1, upTo: 1, createdMs: 1, freshForMs: 1, staleForMs: 1, computeMs: 1 };
    const bytes = Buffer.from(
      await encodeEntry({ payload: bomb, ...parts, timeDependent: false, dependencies: new Uint32Array(0), names: [] }),
    );
    assert.ok(bytes.length < 10_000, "it is small");
    assert.equal(await decodeEntry(bytes, most), undefined);
    bytes.writeUInt32LE(1_000, 20); // says that it is small once unpacked
    bytes.writeUInt32LE(crc32(bytes.subarray(12), crc32(bytes.subarray(0, 8))), 8);
    assert.equal(await decodeEntry(bytes, most), undefined);
  });
});

suite("a value as bytes", () => {
  test("comes back as what it was", () => {
    const values = [
      "",
      "Zürich 日本 😀",
      "a lone \ud800 surrogate",
      new Uint8Array([1, 2, 3]),
      Buffer.from("abc"),
      { at: new Date(5), map: new Map([["a", 1n]]), set: new Set([1]), none: undefined, list: [1], nan: Number.NaN },
      [-0, 1.5, true, /x/g],
    ];
    for (const value of values) {
      const { codecId, bytes } = encodeValue(value, undefined);
      assert.deepEqual(decodeValue(codecId, bytes, undefined), value);
    }
    assert.equal(encodeValue("a lone \ud800 surrogate", undefined).codecId, codecIds.utf16);
  });

  test("is refused by a codec that has not made it", () => {
    const codec = { id: 16, encode: (value: unknown) => Buffer.from(String(value)), decode: (bytes: Uint8Array) => bytes.length };
    assert.equal(decodeValue(16, codec.encode("abc"), codec), 3);
    assert.throws(() => decodeValue(17, new Uint8Array(0), codec));
    assert.throws(() => decodeValue(codecIds.utf8, new Uint8Array(0), codec));
    assert.throws(() => decodeValue(16, new Uint8Array(0), undefined));
  });
});
