import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import type { Duration } from "./duration.ts";
import { type OptionChecks, boolean, duration, given, integer, oneOf, ratio, resolveOptions, string } from "./options.ts";

// #region options
interface FunnelOptions {
  /** How many may pass at once. Default 4. */
  readonly width?: number;
  /** How long one may wait. Default "2s". "0s": not at all. */
  readonly maxWait?: Duration;
  /** Who hears of a refusal. Default: nobody. */
  readonly onRefusal?: (name: string) => void;
}

const funnelDefaults = {
  width: 4, // as many as the cores of a usual machine
  maxWait: "2s", // shorter than a client's patience
} as const satisfies FunnelOptions;

const funnelChecks = {
  width: integer(1, 1_000),
  maxWait: duration(),
  onRefusal: given<(name: string) => void>("a function"),
} satisfies OptionChecks<FunnelOptions>;

const resolveFunnel = (options: FunnelOptions) =>
  resolveOptions<FunnelOptions, typeof funnelChecks>("createFunnel", options, funnelDefaults, funnelChecks);
// #endregion

const refusal =
  (code: string, ...parts: readonly string[]) =>
  (error: unknown) => {
    const { code: actual, message } = error as { code: string; message: string };
    assert.equal(actual, code);
    for (const part of parts) assert.ok(message.includes(part), `"${message}" says ${part}`);
    return true;
  };

suite("options", () => {
  test("take their defaults where they are absent or undefined", () => {
    assert.deepEqual(resolveFunnel({}), { width: 4, maxWait: 2_000, onRefusal: undefined });
    assert.deepEqual(resolveFunnel({ width: undefined }), { width: 4, maxWait: 2_000, onRefusal: undefined });
  });

  test("are turned into what the code uses", () => {
    const onRefusal = () => {};
    assert.deepEqual(resolveFunnel({ width: 9, maxWait: "1.5s", onRefusal }), { width: 9, maxWait: 1_500, onRefusal });
  });

  test("are frozen, and what was given is left alone", () => {
    const options = { width: 9 };
    const resolved = resolveFunnel(options);
    assert.ok(Object.isFrozen(resolved));
    assert.throws(() => ((resolved as { width: number }).width = 1), TypeError);
    options.width = 1;
    assert.equal(resolved.width, 9);
  });

  test("that do not exist are refused with the one that was meant", () => {
    assert.throws(
      () => resolveFunnel({ widht: 9 } as FunnelOptions),
      refusal("MILLRACE_OPTION_UNKNOWN", 'createFunnel has no option "widht"', 'Did you mean "width"?'),
    );
  });

  test("that resemble nothing are refused with the list of those that exist", () => {
    assert.throws(
      () => resolveFunnel({ colour: "red" } as FunnelOptions),
      refusal("MILLRACE_OPTION_UNKNOWN", "It takes: width, maxWait, onRefusal."),
    );
  });

  test("cannot be named after what every object has", () => {
    for (const name of ["constructor", "toString", "hasOwnProperty", "__proto__"]) {
      const options = JSON.parse(`{ ${JSON.stringify(name)}: 1 }`) as FunnelOptions;
      assert.throws(() => resolveFunnel(options), refusal("MILLRACE_OPTION_UNKNOWN", `"${name}"`));
    }
  });

  test("outside of their range are refused with the value and what was expected", () => {
    assert.throws(
      () => resolveFunnel({ width: 0 }),
      refusal("MILLRACE_OPTION_INVALID", "createFunnel", '"width" is 0', "a whole number from 1 to 1000"),
    );
    assert.throws(() => resolveFunnel({ maxWait: "5 minutes" as Duration }), refusal("MILLRACE_DURATION_INVALID", "5 minutes"));
    assert.throws(() => resolveFunnel({ maxWait: "30d" }), refusal("MILLRACE_OPTION_INVALID", '"maxWait" is "30d"'));
  });

  test("of any JSON value are either resolved or refused by a code, never something else", () => {
    const value = fc.jsonValue({ maxDepth: 2 });
    fc.assert(
      fc.property(fc.record({ width: value, maxWait: value }, { requiredKeys: [] }), (options) => {
        try {
          const { width, maxWait } = resolveFunnel(options as FunnelOptions);
          assert.ok(Number.isInteger(width) && width >= 1 && width <= 1_000);
          assert.ok(maxWait >= 0);
        } catch (error) {
          assert.match((error as { code: string }).code, /^MILLRACE_(OPTION|DURATION)_INVALID$/);
        }
      }),
    );
  });

  test("are refused properly even when they cannot be turned into text", () => {
    const hostile = { toString: 1, valueOf: 1 } as unknown;
    assert.throws(() => resolveFunnel({ maxWait: hostile as Duration }), refusal("MILLRACE_DURATION_INVALID", "{…}"));
    assert.throws(() => resolveFunnel({ width: hostile as number }), refusal("MILLRACE_OPTION_INVALID", "an object"));
  });

  test("are shown in messages in a bounded length, and objects not at all", () => {
    const show = (width: unknown) => {
      try {
        resolveFunnel({ width } as FunnelOptions);
      } catch (error) {
        return (error as Error).message;
      }
      return assert.fail("it is not a width");
    };
    assert.ok(show("x".repeat(10_000)).length < 250);
    assert.ok(show({ password: "secret" }).includes("is an object"));
    assert.ok(show(["secret"]).includes("is an array"));
    assert.ok(show(() => "secret").includes("is a function"));
  });
});

suite("the checks", () => {
  const accepts = (check: { read(value: never): unknown }, ...values: readonly unknown[]) => {
    for (const value of values) assert.notEqual(check.read(value as never), undefined, `${String(value)} is accepted`);
  };
  const refuses = (check: { read(value: never): unknown }, ...values: readonly unknown[]) => {
    for (const value of values) assert.equal(check.read(value as never), undefined, `${String(value)} is refused`);
  };

  test("integer takes whole numbers of its closed range", () => {
    accepts(integer(1, 3), 1, 2, 3);
    refuses(integer(1, 3), 0, 4, 1.5, "2", NaN, Infinity, 2n, null);
    assert.equal(integer(1).expected, "a whole number of at least 1");
  });

  test("ratio takes 0 to 1", () => {
    accepts(ratio, 0, 0.5, 1);
    refuses(ratio, -0.1, 1.1, NaN, "0.5");
  });

  test("duration takes what is long enough and what a timer can wait", () => {
    accepts(duration("1s"), "1s", "1m", "24d");
    refuses(duration("1s"), "999ms", "25d");
    assert.equal(duration().read("0s"), 0);
  });

  test("boolean, string and oneOf take nothing that only looks like them", () => {
    accepts(boolean, true, false);
    refuses(boolean, 0, 1, "true", null);
    accepts(string, "a", " ");
    refuses(string, "", 1, null);
    accepts(oneOf("a", "b"), "a", "b");
    refuses(oneOf("a", "b"), "c", "A", 0);
    assert.equal(oneOf("a", "b").expected, 'one of "a", "b"');
  });
});
