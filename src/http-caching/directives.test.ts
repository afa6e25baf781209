import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { mostSeconds, parseDirectives, parseSurrogate, parseTargeted } from "./directives.ts";
import { Fields } from "./fields.ts";

const maxAgeOf = (...lines: string[]) => parseDirectives(lines).seconds("max-age");

suite("Cache-Control", () => {
  test("has seconds, bare or quoted, in any case", () => {
    for (const [line, seconds] of [
      ["max-age=3600", 3600],
      ["MaX-aGe=3600", 3600],
      ["max-age=003600", 3600],
      ['max-age="3600"', 3600],
      ["foobar, max-age=3600", 3600],
      [" , ,max-age=3600,", 3600],
      ["max-age=3600 , public", 3600],
      ["max-age=2147483648", mostSeconds],
      ["max-age=99999999999", mostSeconds],
    ] as const) {
      assert.equal(maxAgeOf(line), seconds, line);
    }
    assert.equal(maxAgeOf("public"), undefined);
  });

  test("knows what is no number of seconds", () => {
    for (const value of ["'3600'", "-1", "3600.0", "3600.5", "a100", "100a", "", '""', "0x10", "1e3", " 3600", "+1"]) {
      assert.equal(maxAgeOf(`max-age=${value}`), "invalid", value);
    }
    assert.equal(maxAgeOf("max-age"), "invalid");
    assert.equal(maxAgeOf("max-age =3600"), "invalid");
    assert.equal(maxAgeOf('max-age="3600"x'), "invalid");
  });

  test("takes the smallest of several values, on one line or on two", () => {
    assert.equal(maxAgeOf("max-age=1800, max-age=1"), 1);
    assert.equal(maxAgeOf("max-age=1", "max-age=1800"), 1);
    assert.equal(maxAgeOf("max-age=5", "max-age=5"), 5);
    assert.equal(maxAgeOf("max-age=5, max-age=x"), "invalid");
  });

  test("finds nothing inside of quotes", () => {
    assert.equal(maxAgeOf('extension="max-age=3600", max-age=1'), 1);
    assert.equal(maxAgeOf('max-age=1, extension="a\\", max-age=3600, \\""'), 1);
    assert.equal(parseDirectives(['extension="no-store"']).has("no-store"), false);
  });

  test("heeds restrictions in what cannot be read", () => {
    for (const line of [
      "max-age=60; private",
      "public; private",
      'max-age=60, extension="private',
      "max-age=60 private",
      "@@@ private, max-age=60",
      'max-age="60" private',
    ]) {
      assert.equal(parseDirectives([line]).isUnqualified("private"), true, line);
    }
    assert.equal(parseDirectives(["x=private-address; not-private"]).has("private"), false);
  });

  test("a quote that is not closed swallows its line and not the next", () => {
    assert.equal(maxAgeOf('extension="oops, public', "max-age=7"), 7);
  });

  test("tells fields that are named from the wide meaning", () => {
    const of = (line: string) => {
      const directives = parseDirectives([line]);
      return [directives.isUnqualified("no-cache"), directives.fieldNames("no-cache")];
    };
    assert.deepEqual(of('no-cache="Set-Cookie, X-A"'), [false, ["set-cookie", "x-a"]]);
    assert.deepEqual(of("no-cache=x-a"), [false, ["x-a"]]);
    assert.deepEqual(of('no-cache="a", no-cache'), [true, ["a"]]);
    for (const wide of ["no-cache", 'no-cache=""', 'no-cache="a b"', "no-cache=", 'no-cache ="a"']) {
      assert.equal(of(wide)[0], true, wide);
    }
  });

  test("whatever is added to a line, nothing on it becomes longer or is lifted", () => {
    const member = fc.oneof(
      fc.constantFrom("max-age=10", "max-age=500", "s-maxage=20", "no-store", "private", 'x="a, b"', "public", 'max-age="3"'),
      fc.string({ maxLength: 12 }),
    );
    const line = fc.array(member, { maxLength: 5 }).map((members) => members.join(", "));
    const value = (seconds: number | "invalid" | undefined) => (seconds === "invalid" ? 0 : (seconds ?? Infinity));
    fc.assert(
      fc.property(line, line, (first, second) => {
        const before = parseDirectives([first]);
        const after = parseDirectives([first, second]);
        for (const name of ["no-store", "private", "no-cache"]) assert.ok(!before.has(name) || after.has(name), name);
        assert.ok(value(after.seconds("max-age")) <= value(before.seconds("max-age")));
      }),
      { numRuns: 500 },
    );
  });
});

suite("a targeted field", () => {
  const of = (value: string) => parseTargeted(new Fields(["CDN-Cache-Control", value]), "cdn-cache-control");

  test("is a dictionary", () => {
    assert.equal(of("max-age=3600, foo;x=1")?.seconds("max-age"), 3600);
    assert.equal(of("no-store")?.has("no-store"), true);
    assert.equal(of("no-store=?0, max-age=1")?.has("no-store"), false);
    assert.deepEqual(of('private="set-cookie"')?.fieldNames("private"), ["set-cookie"]);
  });

  test("that is not well-formed or empty counts for nothing", () => {
    for (const value of ["", "max-age =100", "max-age= 100", "MaX-aGe=3600", "max-age=10000, &&&&&", "max-age=1,", "a=,b"]) {
      assert.equal(of(value), undefined, value);
    }
  });

  test("leaves out a directive whose value is of another type, and takes a negative one for none", () => {
    assert.equal(of('max-age="10000"')?.seconds("max-age"), undefined);
    assert.equal(of("max-age=10.5")?.seconds("max-age"), undefined);
    assert.equal(of("max-age=-1")?.seconds("max-age"), "invalid");
    assert.equal(of("max-age=(1 2), no-store")?.has("no-store"), true);
  });
});

suite("Surrogate-Control", () => {
  const of = (value: string) => parseSurrogate(new Fields(["Surrogate-Control", value]), "mine");

  test("counts for all surrogates, or for the one that it names", () => {
    assert.equal(of("max-age=60")?.seconds("max-age"), 60);
    assert.equal(of("max-age=60;mine, max-age=5;other")?.seconds("max-age"), 60);
    assert.equal(of("no-store;mine")?.has("no-store"), true);
    assert.equal(of("max-age=60+30")?.seconds("stale-while-revalidate"), 30);
    assert.equal(of("max-age =60")?.seconds("max-age"), "invalid");
  });

  test("says nothing when it says neither whether nor how long", () => {
    for (const value of ["max-age=60;other", "foo", 'content="ESI/1.0"', "no-store-remote", ""])
      assert.equal(of(value), undefined, value);
  });
});
