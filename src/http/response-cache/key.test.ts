import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type KeyParts, keyOf, maxKeyLength } from "./key.ts";

const parts = (given: Partial<KeyParts>): KeyParts => ({
  release: "1.0.0",
  path: "/x",
  search: "",
  varied: [],
  scope: "",
  ...given,
});

/** What a URL may be made of, as far as a request that validates goes: no spaces, no control characters. */
const urlText = fc.string({ unit: fc.constantFrom(..."ab:%41&=+?/ #'~-".replace(" ", "").split("")), maxLength: 12 });
const value = fc.option(fc.string({ unit: fc.constantFrom(...'ab: ,"[]'.split("")), maxLength: 4 }), { nil: null });
const request = fc.record({
  release: fc.constantFrom("1.0.0", "2.0.0"),
  path: urlText.map((text) => `/${text.replaceAll("?", "")}`),
  search: urlText,
  varied: fc.array(value, { minLength: 2, maxLength: 2 }),
  scope: fc.constantFrom("", "nobody", "user 1 x", "user 2 x", "tenant 1"),
});

/** Two requests must get the same answer when all of this is the same, and only then. */
const meaning = ({ release, path, search, varied, scope }: KeyParts): string =>
  JSON.stringify([
    release,
    path,
    search
      .split("&")
      .filter((pair) => pair !== "")
      .toSorted(),
    varied,
    scope,
  ]);

test("two requests share a key if and only if they must get the same answer", () => {
  fc.assert(
    fc.property(request, request, fc.boolean(), (one, two, related) => {
      // Unrelated requests hardly ever mean the same: every other pair differs in one place only.
      const other = related ? { ...one, search: two.search.split("&").toReversed().join("&") } : two;
      assert.equal(keyOf(one) === keyOf(other), meaning(one) === meaning(other), `${keyOf(one)}\n${keyOf(other)}`);
    }),
    { numRuns: 3_000 },
  );
});

test("a query's pairs may come in any order", () => {
  fc.assert(
    fc.property(fc.array(urlText, { maxLength: 6 }), (pairs) => {
      const asked = keyOf(parts({ search: pairs.join("&") }));
      assert.equal(keyOf(parts({ search: pairs.toReversed().join("&&") })), asked);
    }),
  );
});

test("a key is bounded, and no client adds a colon to it: prefixes are the server's", () => {
  fc.assert(
    fc.property(request, fc.nat(5_000), (one, length) => {
      const key = keyOf({ ...one, search: one.search + "a:".repeat(length) });
      assert.ok(key.length <= "http:1.0.0:".length + maxKeyLength, key);
      assert.equal(key.split(":").length, 3, key);
    }),
  );
});

test("long keys differ where their requests do", () => {
  const long = "a".repeat(1_000);
  assert.notEqual(keyOf(parts({ search: `${long}b` })), keyOf(parts({ search: `${long}c` })));
});
