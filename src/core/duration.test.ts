import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { type Duration, type DurationUnit, formatDuration, parseDuration } from "./duration.ts";

const unitMs: Readonly<Record<DurationUnit, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

suite("a duration", () => {
  test("is a number with its unit", () => {
    assert.equal(parseDuration("250ms"), 250);
    assert.equal(parseDuration("30s"), 30_000);
    assert.equal(parseDuration("5m"), 300_000);
    assert.equal(parseDuration("1.5h"), 5_400_000);
    assert.equal(parseDuration("7d"), 604_800_000);
    assert.equal(parseDuration("0s"), 0);
  });

  test("of any whole number and unit is that many units", () => {
    fc.assert(
      fc.property(fc.nat(1_000_000), fc.constantFrom<DurationUnit>("ms", "s", "m", "h", "d"), (amount, unit) => {
        assert.equal(parseDuration(`${amount}${unit}`), amount * unitMs[unit]);
      }),
    );
  });

  test("is refused in any other form, with the value and an example in the message", () => {
    const wrong = [
      "",
      "5",
      "m",
      "5 m",
      " 5m",
      "5m ",
      "-5m",
      "+5m",
      "5M",
      "5min",
      ".5s",
      "5.s",
      "1e3ms",
      "0x5s",
      "Infinitys",
      "NaNs",
      "5m5s",
      "٥s",
      "5m\n",
    ];
    const values: readonly unknown[] = [...wrong, 5, null, undefined, {}, ["5m"], { toString: 1 }];
    for (const value of values) {
      assert.throws(
        () => parseDuration(value as Duration),
        (error: Error & { code?: string }) => {
          assert.equal(error.code, "MILLRACE_DURATION_INVALID");
          assert.ok(
            error.message.includes(typeof value === "object" && value ? "…" : String(value)) && error.message.includes("250ms"),
            error.message,
          );
          return true;
        },
      );
    }
  });

  test("is written in the largest unit that it fills", () => {
    assert.equal(formatDuration(0), "0ms");
    assert.equal(formatDuration(999), "999ms");
    assert.equal(formatDuration(0.125), "0.13ms");
    assert.equal(formatDuration(1_000), "1s");
    assert.equal(formatDuration(90_000), "1.5m");
    assert.equal(formatDuration(5_400_000), "1.5h");
    assert.equal(formatDuration(604_800_000), "7d");
  });

  test("that was written reads back within half a percent", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 31 - 1 }), (ms) => {
        assert.ok(Math.abs(parseDuration(formatDuration(ms)) - ms) <= ms * 0.005 + 0.005);
      }),
    );
  });
});
