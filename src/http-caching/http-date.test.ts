import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { formatHttpDate, parseHttpDate } from "./http-date.ts";

const now = Date.UTC(2026, 0, 1);
const august = Date.UTC(2050, 7, 18, 2, 1, 18);

suite("an HTTP date", () => {
  test("is read in its three formats, in any case", () => {
    for (const text of [
      "Thu, 18 Aug 2050 02:01:18 GMT",
      "THU, 18 AUG 2050 02:01:18 gMT",
      "Thursday, 18-Aug-50 02:01:18 GMT",
      "Thu Aug 18 02:01:18 2050",
    ]) {
      assert.equal(parseHttpDate(text, now), august, text);
    }
    assert.equal(parseHttpDate("Mon Aug  8 02:01:18 2050", now), Date.UTC(2050, 7, 8, 2, 1, 18));
  });

  test("is nothing else", () => {
    for (const text of [
      "0",
      "",
      "Thu, 18 Aug 2050 02:01:18 UTC",
      "Thu, 18 Aug 2050 02:01:18 AEST",
      "Thu, 18 Aug 50 02:01:18 GMT",
      "Thu 18 Aug 2050 02:01:18 GMT",
      "Thu, 18  Aug  2050 02:01:18 GMT",
      "Thu, 18-Aug-2050 02:01:18 GMT",
      "Thu, 18 Aug 2050 02.01.18 GMT",
      "Thu, 18 Aug 2050 2:01:18 GMT",
      "Thu, 31 Feb 2050 02:01:18 GMT",
      "Thu, 00 Aug 2050 02:01:18 GMT",
      "Thu, 18 Aug 2050 25:01:18 GMT",
      "2050-08-18T02:01:18Z",
    ]) {
      assert.equal(parseHttpDate(text, now), undefined, text);
    }
  });

  test("with a year of two digits is never more than fifty years ahead", () => {
    assert.equal(parseHttpDate("Sunday, 06-Nov-94 08:49:37 GMT", now), Date.UTC(1994, 10, 6, 8, 49, 37));
    assert.equal(parseHttpDate("Sunday, 06-Nov-76 08:49:37 GMT", now), Date.UTC(2076, 10, 6, 8, 49, 37));
    assert.equal(parseHttpDate("Sunday, 06-Nov-77 08:49:37 GMT", now), Date.UTC(1977, 10, 6, 8, 49, 37));
  });

  test("comes back as it was written, to the second", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 253_402_300_799 }), (seconds) => {
        assert.equal(parseHttpDate(formatHttpDate(seconds * 1_000), now), seconds * 1_000);
      }),
    );
  });
});
