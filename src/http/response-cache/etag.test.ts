import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { digestOf, etagIn, isEtag, namesEtag } from "./etag.ts";

const opaque = fc.string({ unit: fc.constantFrom(..."abc,/ W-".replace(" ", "").split("")), maxLength: 6 });
const etag = fc.tuple(fc.boolean(), opaque).map(([weak, text]) => `${weak ? "W/" : ""}"${text}"`);
const bare = (tag: string) => tag.replace(/^W\//, "");

test("If-None-Match names a tag when one in its list is the same but for weakness", () => {
  fc.assert(
    fc.property(fc.array(etag, { maxLength: 5 }), etag, fc.constantFrom(",", ", ", " ,\t"), (listed, sought, comma) => {
      assert.equal(namesEtag(listed.join(comma), sought), listed.map(bare).includes(bare(sought)));
    }),
    { numRuns: 2_000 },
  );
  assert.ok(namesEtag(" * ", '"a"'));
  assert.ok(!namesEtag("a", '"a"'));
  assert.ok(!namesEtag('"a', '"a"'));
});

test("a strong tag is another in every coding, a weak one the same in all", () => {
  const codings = ["identity", "zstd", "br", "gzip"] as const;
  const tag = `"${digestOf("x")}"`;
  assert.equal(new Set(codings.map((coding) => etagIn(tag, coding))).size, 4);
  for (const coding of codings) {
    assert.ok(isEtag(etagIn(tag, coding)));
    assert.equal(etagIn('W/"x"', coding), 'W/"x"');
  }
});

test("what is no tag is not taken for one", () => {
  for (const text of ["x", '"x', 'w/"x"', '"x"y"', '""x', '"a b"', ""]) assert.ok(!isEtag(text), text);
  assert.ok(isEtag('""'));
});
