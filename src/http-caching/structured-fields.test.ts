import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { parseDictionary, parseList, structuredString, tokenOrString } from "./structured-fields.ts";

const items = (text: string) => parseList(text)?.map((member) => ("items" in member ? member.items.length : member.item));

suite("a structured list", () => {
  test("has items of every type", () => {
    assert.deepEqual(items('1, -2.5, "a\\"b", tok/en, ?1, :aGk=:, @1659578233, %"%c3%bc", ()'), [
      { type: "integer", value: 1 },
      { type: "decimal", value: -2.5 },
      { type: "string", value: 'a"b' },
      { type: "token", value: "tok/en" },
      { type: "boolean", value: true },
      { type: "bytes", value: Buffer.from("hi") },
      { type: "date", value: 1_659_578_233 },
      { type: "display", value: "ü" },
      0,
    ]);
    assert.deepEqual(items(""), []);
    assert.deepEqual(items("  1  "), [{ type: "integer", value: 1 }]);
  });

  test("has parameters, of which the last of a name counts", () => {
    const [member] = parseList("a;x;y=2; x=3")!;
    assert.deepEqual(
      [...member!.parameters],
      [
        ["y", { type: "integer", value: 2 }],
        ["x", { type: "integer", value: 3 }],
      ],
    );
  });

  test("that is not well-formed is none", () => {
    for (const text of [
      "a,",
      ",a",
      "a b",
      '"a',
      '"ü"',
      "&&",
      "1.",
      "1.2345",
      "1234567890123456",
      "@1.5",
      '%"%zz"',
      "(a",
      "a;X=1",
      "?2",
    ]) {
      assert.equal(parseList(text), undefined, text);
    }
  });

  test("takes back any string that was written", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)) }), (text) => {
        assert.deepEqual(items(structuredString(text)), [{ type: "string", value: text }]);
        const [item] = items(tokenOrString(text))! as readonly { readonly value: string }[];
        assert.equal(item!.value, text);
      }),
    );
  });

  test("never throws", () => {
    fc.assert(fc.property(fc.string(), (text) => void [parseList(text), parseDictionary(text)]));
  });
});

suite("a structured dictionary", () => {
  test("has keys in lower case, and the last of a name counts", () => {
    assert.deepEqual([...parseDictionary("a=1, b, a=2;x")!.keys()], ["b", "a"]);
    for (const text of ["A=1", "a =1", "a= 1", "=1", "a=1,", "a=1 b"]) assert.equal(parseDictionary(text), undefined, text);
  });
});
