import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { rangeIn } from "./byte-range.ts";

test("a single range is read as RFC 9110 says", () => {
  const cases: [string, number, ReturnType<typeof rangeIn>][] = [
    ["bytes=0-499", 10_000, { first: 0, last: 499 }],
    ["bytes=500-999", 10_000, { first: 500, last: 999 }],
    ["bytes=-500", 10_000, { first: 9_500, last: 9_999 }],
    ["bytes=9500-", 10_000, { first: 9_500, last: 9_999 }],
    ["Bytes= 0-0 ", 10, { first: 0, last: 0 }],
    ["bytes=0-99999999999999999999999", 10, { first: 0, last: 9 }],
    ["bytes=-99999999999999999999999", 10, { first: 0, last: 9 }],
    ["bytes=10-", 10, "unsatisfiable"],
    ["bytes=99999999999999999999999-", 10, "unsatisfiable"],
    ["bytes=-0", 10, "unsatisfiable"],
    ["bytes=0-", 0, "unsatisfiable"],
    ["bytes=-5", 0, "unsatisfiable"],
    ["bytes=5-4", 10, undefined],
    ["bytes=0-1,3-4", 10, undefined],
    ["bytes=-", 10, undefined],
    ["bytes=", 10, undefined],
    ["bytes 0-1", 10, undefined],
    ["lines=0-1", 10, undefined],
    ["bytes=a-b", 10, undefined],
    ["bytes=1 -2", 10, undefined],
    ["bytes=+1-2", 10, undefined],
  ];
  for (const [header, length, expected] of cases) assert.deepEqual(rangeIn(header, length), expected, header);
});

test("whatever is asked for, what comes of it lies within the body", () => {
  const part = fc.oneof(fc.nat(40).map(String), fc.constantFrom("", "-", "x", " ", ","));
  fc.assert(
    fc.property(part, part, fc.nat(30), (from, to, length) => {
      const range = rangeIn(`bytes=${from}-${to}`, length);
      if (range === undefined || range === "unsatisfiable") return;
      assert.ok(range.first >= 0 && range.first <= range.last && range.last < length);
    }),
    { numRuns: 2_000 },
  );
});
