import assert from "node:assert/strict";
import { test } from "node:test";
import { Type } from "typebox";
import type { FieldError } from "../problem.ts";
import { strictSchema } from "./strict-schema.ts";
import { compileValidator } from "./validator.ts";

const check = (schema: object, value: unknown, bytes = 100): FieldError[] =>
  compileValidator(strictSchema(schema), "body")(value, bytes) ?? [];
const brief = (errors: readonly FieldError[]): string[] => errors.map(({ field, message }) => `${field} ${message}`);

test("objects are closed at every depth unless they say otherwise", () => {
  const schema = Type.Object({
    a: Type.Object({ b: Type.String() }),
    list: Type.Array(Type.Object({ c: Type.Integer() })),
    open: Type.Object({}, { additionalProperties: true }),
  });
  const value = { a: { b: "x", x: 1 }, list: [{ c: 1, y: 1 }], open: { anything: 1 }, z: 1 };
  assert.deepEqual(brief(check(schema, value)).toSorted(), [
    "a.x is not known here",
    "list.0.y is not known here",
    "z is not known here",
  ]);
});

test("an intersection is closed as a whole, not part by part", () => {
  const schema = Type.Intersect([Type.Object({ a: Type.String() }), Type.Object({ b: Type.String() })]);
  assert.deepEqual(check(schema, { a: "1", b: "2" }), []);
  assert.deepEqual(brief(check(schema, { a: "1", b: "2", c: 3 })), ["c is not known here"]);
});

test("nothing is coerced", () => {
  const schema = Type.Object({ n: Type.Integer(), b: Type.Boolean(), s: Type.String() });
  assert.deepEqual(brief(check(schema, { n: "1", b: "true", s: 5 })), [
    "n must be a whole number",
    "b must be true or false",
    "s must be a string",
  ]);
});

test("a whole number beyond 2^53 is refused, for it is not the one that was sent", () => {
  assert.equal(check(Type.Object({ n: Type.Integer() }), { n: 2 ** 53 }).length, 1);
  assert.deepEqual(check(Type.Object({ n: Type.Integer() }), { n: 2 ** 53 - 1 }), []);
});

test("unions give one understandable error", () => {
  assert.deepEqual(brief(check(Type.Object({ u: Type.Union([Type.Literal("a"), Type.Literal("b")]) }), { u: "c" })), [
    'u must be one of "a", "b"',
  ]);
  assert.deepEqual(brief(check(Type.Object({ u: Type.Union([Type.String({ maxLength: 3 }), Type.Null()]) }), { u: 5 })), [
    "u must be a string or null",
  ]);
  const either = Type.Object({ u: Type.Union([Type.Object({ a: Type.String() }), Type.Object({ b: Type.Integer() })]) });
  assert.deepEqual(brief(check(either, { u: { c: 1 } })), ["u matches none of the forms that are allowed here"]);
});

test("defaults are filled", () => {
  const value = {};
  assert.deepEqual(check(Type.Object({ a: Type.Optional(Type.String({ default: "x" })) }), value), []);
  assert.deepEqual(value, { a: "x" });
});

test("tuples, records and formats work as TypeBox means them", () => {
  const schema = Type.Object({
    t: Type.Tuple([Type.String(), Type.Integer()]),
    r: Type.Record(Type.String(), Type.Integer()),
    d: Type.String({ format: "date" }),
  });
  assert.deepEqual(check(schema, { t: ["a", 1], r: { x: 1 }, d: "2024-02-29" }), []);
  assert.deepEqual(brief(check(schema, { t: ["a", 1, 2], r: { x: "1" }, d: "2023-02-29" })).toSorted(), [
    "d must be a valid date",
    "r.x must be a whole number",
    "t must NOT have more than 2 items",
  ]);
});

test("a large input with a million mistakes gives one error, a small one at most ten", () => {
  const schema = Type.Object({ list: Type.Array(Type.Integer()) });
  const value = { list: Array.from({ length: 100_000 }, () => "x") };
  assert.equal(check(schema, value, 400_000).length, 1);
  assert.equal(check(schema, { list: value.list.slice(0, 50) }, 200).length, 10);
});

test("a required property that is missing is named, and inherited ones do not count", () => {
  assert.deepEqual(brief(check(Type.Object({ toString: Type.String(), a: Type.String() }), {})), [
    "toString is required",
    "a is required",
  ]);
});
