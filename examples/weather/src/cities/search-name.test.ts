import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { afterPrefix, searchName } from "./search-name.ts";

test("case, accents, apostrophes and the number of spaces make no difference", () => {
  const same: [string, string][] = [
    ["São Paulo", "sao paulo"],
    ["SÃO  PAULO", "sao paulo"],
    ["Sa\u0303o Paulo", "sao paulo"],
    ["Łódź", "lodz"],
    ["İstanbul", "istanbul"],
    ["Weißenfels", "weissenfels"],
    ["Yangī Qal‘ah", "yangi qalah"],
    ["  L'Aquila", "laquila"],
    ["ΑΘΉΝΑΣ", "αθηνασ"],
  ];
  for (const [name, expected] of same) assert.equal(searchName(name), expected);
});

test("whoever has typed the beginning of a name finds it", () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.string({ unit: "grapheme", maxLength: 2 }), fc.constantFrom(" ", "'", "Σ", "İ", "ß"))),
      fc.nat(),
      (parts, cut) => {
        const prefix = searchName(parts.slice(0, cut % (parts.length + 1)).join(""));
        const name = searchName(parts.join(""));
        assert.ok(name.startsWith(prefix), JSON.stringify([name, prefix]));
        // As bytes, which is how the index compares.
        assert.ok(Buffer.compare(Buffer.from(name), Buffer.from(prefix)) >= 0);
        assert.ok(Buffer.compare(Buffer.from(name), Buffer.from(afterPrefix(prefix))) < 0);
      },
    ),
    { numRuns: 2_000 },
  );
});

test("a name that has been made searchable stays as it is", () => {
  fc.assert(fc.property(fc.string({ unit: "grapheme" }), (name) => assert.equal(searchName(searchName(name)), searchName(name))));
});
