import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { suggest } from "./suggestion.ts";

const known = ["timeout", "size", "overflow", "pipelined", "acquireTimeout"];

suite("a suggestion", () => {
  test("is the known name of which the given one is a misspelling", () => {
    assert.equal(suggest("timout", known), "timeout");
    assert.equal(suggest("tiemout", known), "timeout");
    assert.equal(suggest("sise", known), "size");
    assert.equal(suggest("overfloww", known), "overflow");
    assert.equal(suggest("acquiretimeout", known), "acquireTimeout");
    assert.equal(suggest("pipeline", known), "pipelined");
  });

  test("is left out when nothing is near", () => {
    assert.equal(suggest("colour", known), undefined);
    assert.equal(suggest("x", known), undefined);
    assert.equal(suggest("", known), undefined);
    assert.equal(suggest("anything", []), undefined);
  });

  test("is the nearest of several", () => {
    assert.equal(suggest("limits", ["limited", "limit", "omits"]), "limit");
  });

  test("costs nothing for names too long to be a misspelling", () => {
    assert.equal(suggest("a".repeat(65), ["a".repeat(65)]), undefined);
  });

  test("finds every name of four letters or more that has one letter too many, too few, wrong, or swapped", () => {
    const name = fc.stringMatching(/^[a-z]{4,12}$/);
    const edit = fc.constantFrom("insert", "delete", "replace", "swap");
    fc.assert(
      fc.property(name, edit, fc.nat(), fc.stringMatching(/^[a-z]$/), (right, kind, seed, letter) => {
        const at = seed % (right.length - 1);
        const [head, tail] = [right.slice(0, at), right.slice(at)];
        const given =
          kind === "insert"
            ? head + letter + tail
            : kind === "delete"
              ? head + tail.slice(1)
              : kind === "replace"
                ? head + letter + tail.slice(1)
                : head + tail[1]! + tail[0]! + tail.slice(2);
        assert.equal(suggest(given, [right, "############"]), right);
      }),
    );
  });
});
