import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Type } from "typebox";
import type { FieldError } from "../problem.ts";
import { readQuery } from "./query-string.ts";
import { RecordReader } from "./record-reader.ts";

const shape = {
  type: "object",
  properties: {
    limit: Type.Integer({ minimum: 1, maximum: 100, default: 20 }),
    text: Type.String(),
    ratio: Type.Number(),
    flag: Type.Boolean(),
    size: Type.Union([Type.Literal("small"), Type.Literal("large"), Type.Literal(3)]),
    count: Type.Union([Type.Integer(), Type.Null()]),
  },
  additionalProperties: false,
};
const reader = new RecordReader("query", shape);

function read(search: string): { values: Record<string, unknown>; errors: FieldError[] } {
  const errors: FieldError[] = [];
  return { values: readQuery(search, reader, errors), errors };
}

test("values are read into their types, and defaults filled", () => {
  const { values, errors } = read("text=a+b%26c&ratio=1.5e2&flag=true&size=3&count=-7");
  assert.deepEqual(errors, []);
  assert.deepEqual(values, { limit: 20, text: "a b&c", ratio: 150, flag: true, size: 3, count: -7 });
});

for (const text of ["1e1", "0x10", " 5", "5.0", "05", "+5", "-0", "", "five", "99999999999999999999", "9007199254740993"]) {
  test(`"${text}" is not a whole number`, () => {
    const { errors } = read(`limit=${encodeURIComponent(text)}`);
    assert.equal(errors.length, 1);
    assert.equal(errors[0]!.field, "limit");
  });
}

test("a number outside of its range says the range", () => {
  for (const limit of ["0", "101", "-1"]) {
    assert.deepEqual(read(`limit=${limit}`).errors, [{ in: "query", field: "limit", message: "must be from 1 to 100" }]);
  }
});

test("an unknown parameter is named, with the one that was probably meant", () => {
  assert.deepEqual(read("limt=5").errors, [{ in: "query", field: "limt", message: "is not known here", suggestion: "limit" }]);
  assert.deepEqual(read("__proto__=5&constructor=1").errors.length, 2);
});

test("a repeated parameter is refused, however it is spelled", () => {
  assert.deepEqual(read("text=a&te%78t=b").errors, [{ in: "query", field: "text", message: "is given more than once" }]);
});

test("NUL, broken percent-encoding and bytes that are no UTF-8 are refused by name", () => {
  assert.equal(read("text=a%00b").errors[0]!.message, "must not contain a NUL character");
  for (const broken of ["%", "%zz", "%ff", "%c3%28", "%ed%a0%80"]) {
    assert.deepEqual(read(`text=${broken}`).errors, [
      { in: "query", field: "text", message: "is not valid percent-encoded UTF-8" },
    ]);
  }
});

test("thousands of parameters end in a few errors", () => {
  const { errors } = read(Array.from({ length: 5_000 }, (_, i) => `x${i}=1`).join("&"));
  assert.ok(errors.length <= 10);
});

test("every well-formed text without NUL arrives as it was sent", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (text) => {
      fc.pre(!text.includes("\0"));
      assert.equal(read(`text=${encodeURIComponent(text)}`).values["text"], text);
      assert.equal(read(new URLSearchParams({ text }).toString()).values["text"], text);
    }),
  );
});

test("no query makes it throw", () => {
  fc.assert(
    fc.property(fc.string(), (search) => {
      read(search);
    }),
  );
});
