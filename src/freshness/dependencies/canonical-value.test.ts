import assert from "node:assert/strict";
import { test } from "node:test";
import { canonicalParameter, canonicalValue, familyOf, followableTypes, typeOids } from "./canonical-value.ts";

const { bool, bytea, int4, int8, text, date, uuid, varchar } = typeOids;

test("a parameter and the column that it equals have one spelling", () => {
  const pairs: readonly (readonly [type: number, parameter: unknown, column: string])[] = [
    [int4, 7, "7"],
    [int4, " +007 ", "7"],
    [int4, -0, "0"],
    [int8, 9_007_199_254_740_993n, "9007199254740993"],
    [text, "é ", "é "],
    [text, 5, "5"],
    [text, "x".repeat(300), "x".repeat(300)],
    [text, "a\ud800", "a\ufffd"],
    [varchar, "", ""],
    [bool, true, "t"],
    [bool, "FALSE", "f"],
    [date, "2020-02-29", "2020-02-29"],
    [date, new Date(2020, 1, 29, 23, 59), "2020-02-29"],
    [uuid, "{A0EEBC99-9C0B4EF8-BB6D6BB9-BD380A11}", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
    [bytea, Buffer.from("00ff", "hex"), "\\x00ff"],
    [20_000, "good", "good"],
  ];
  for (const [type, parameter, column] of pairs) {
    assert.notEqual(canonicalValue(type, column), undefined);
    assert.equal(canonicalParameter(type, parameter), canonicalValue(type, column), String(parameter));
  }
});

test("NULL has none, which is not the same as one that is not certain", () => {
  assert.equal(canonicalParameter(int4, null), null);
  assert.equal(canonicalParameter(int4, undefined), null);
});

test("what has no certain spelling is refused", () => {
  for (const [type, value] of [
    [int8, 2 ** 53],
    [int4, "7.0"],
    [int4, "0x10"],
    [int4, 1.5],
    [int4, {}],
    [date, "29.02.2020"],
    [date, "infinity"],
    [date, "0044-03-15 BC"],
    [date, new Date(Number.NaN)],
    [uuid, "x"],
    [bytea, "abc"],
    [bool, "yes"],
    [text, { toPostgres: () => "x" }],
    [1700, 1],
    [1700, "1"],
    [1184, "2020-01-01 00:00:00+00"],
  ] as const) {
    assert.equal(canonicalParameter(type, value), undefined, `${type} ${String(value)}`);
  }
});

test("the types that can be followed are those of a family", () => {
  for (const type of followableTypes) assert.notEqual(familyOf(type), undefined);
  for (const type of [700, 701, 1700, 1042, 1114, 1184, 114, 3802]) assert.equal(familyOf(type), undefined);
});
