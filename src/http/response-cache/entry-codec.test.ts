import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type EntryParts, ResponseEntry } from "./entry.ts";
import { entryCodec } from "./entry-codec.ts";
import { type EncodedName, encodedNames } from "./variants.ts";

const latin1 = fc.string({ unit: fc.integer({ min: 0x20, max: 0xff }).map((code) => String.fromCharCode(code)), maxLength: 20 });
const bytes = fc.uint8Array({ maxLength: 300 }).map((value) => Buffer.from(value));
const failure = fc.record(
  {
    status: fc.constant(404),
    code: fc.constantFrom("CITY_NOT_FOUND", "X"),
    detail: fc.string({ unit: "grapheme" }),
    errors: fc.option(fc.constant([{ in: "query" as const, field: "é", message: "…" }]), { nil: undefined }),
    headers: fc.option(fc.constant({ "retry-after": "5" }), { nil: undefined }),
  },
  { noNullPrototype: true },
);
const entryParts: fc.Arbitrary<EntryParts> = fc.record({
  status: fc.constantFrom(200, 203, 204, 404),
  headers: fc.array(fc.record({ name: latin1, values: fc.array(latin1, { maxLength: 3 }) }, { noNullPrototype: true }), {
    maxLength: 6,
  }),
  body: bytes,
  etag: fc.option(latin1, { nil: undefined }),
  vary: latin1,
  compressible: fc.boolean(),
  forAuthorized: fc.boolean(),
  age: fc.nat(2 ** 31 - 1),
  failure: fc.option(failure, { nil: undefined }),
});

const plain = (entry: ResponseEntry) => {
  const { status, headers, body, etag, vary, compressible, forAuthorized, age, failure: kept, variants } = entry;
  return {
    status,
    headers,
    body: [...body],
    etag,
    vary,
    compressible,
    forAuthorized,
    age,
    failure: kept,
    encoded: variants.encoded,
  };
};

test("an entry comes back as it went, variants included", () => {
  fc.assert(
    fc.property(entryParts, fc.dictionary(fc.constantFrom(...encodedNames), bytes), (parts, encoded) => {
      const variants = Object.entries(encoded) as [EncodedName, Buffer][];
      const entry = new ResponseEntry(parts, variants);
      assert.deepEqual(plain(entryCodec.decode(entryCodec.encode(entry)) as ResponseEntry), plain(entry));
    }),
  );
});

test("an entry that is cut, goes on, or is of another format is refused, wherever it is cut", () => {
  fc.assert(
    fc.property(entryParts, fc.nat(), (parts, cut) => {
      const whole = Buffer.from(entryCodec.encode(new ResponseEntry(parts)));
      assert.throws(() => entryCodec.decode(whole.subarray(0, cut % whole.length)));
      assert.throws(() => entryCodec.decode(Buffer.concat([whole, Buffer.from([0])])));
      for (const [at, value] of [
        [0, 1],
        [1, 0xff],
      ] as const) {
        const changed = Buffer.from(whole);
        changed[at] = value;
        assert.throws(() => entryCodec.decode(changed));
      }
    }),
  );
});

test("any bytes at all are refused by an error or read as an entry, and nothing else happens", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
      try {
        assert.ok(entryCodec.decode(Uint8Array.of(1, 0, ...noise)) instanceof ResponseEntry);
      } catch (error) {
        assert.ok(error instanceof Error);
      }
    }),
  );
});
