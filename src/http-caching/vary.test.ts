import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { Fields } from "./fields.ts";
import { variantKey, varyOf } from "./vary.ts";

const vary = (...lines: string[]) => varyOf(new Fields(lines.flatMap((line) => ["Vary", line])));
const key = (name: string, ...lines: string[]) => variantKey([name], new Fields(lines.flatMap((line) => [name, line])));

suite("Vary", () => {
  test("is a set of names, or anything", () => {
    assert.deepEqual(vary("Foo, bar", "FOO"), ["bar", "foo"]);
    assert.deepEqual(vary(), []);
    for (const lines of [["*"], ["*, *"], ["*", "*"], [", *"], ["", "*"], ["*, Foo"], ["Foo, *"], ["Foo bar"]]) {
      assert.equal(vary(...lines), "any", lines.join("|"));
    }
  });

  test("does not mind white space, nor lines", () => {
    assert.equal(key("foo", "1, 2"), key("foo", "1", "2"));
    assert.equal(key("foo", "1,2"), key("foo", " 1,  2 "));
    assert.notEqual(key("foo", "1"), key("foo", "2"));
    assert.notEqual(key("foo", '"a, b"'), key("foo", '"a,b"'));
    assert.notEqual(key("foo", "A"), key("foo", "a"));
  });

  test("tells a field that is not there from an empty one", () => {
    assert.notEqual(key("foo"), key("foo", ""));
  });

  test("does not mind order and case of what a client accepts, but weights", () => {
    assert.equal(key("accept-language", "en, de"), key("accept-language", "De ,  eN"));
    assert.equal(key("accept-language", "en;q=1.0, de;q=0.5"), key("accept-language", "de; q=0.500, en"));
    assert.notEqual(key("accept-language", "en, de;q=0.5"), key("accept-language", "de, en;q=0.5"));
    assert.notEqual(key("accept", "text/html;level=A"), key("accept", "text/html;level=a"));
  });

  test("has the same key for every order of a client's preferences, and another for another set", () => {
    const preferences = fc.uniqueArray(fc.constantFrom("gzip", "br", "zstd", "deflate", "gzip;q=0.1", "*;q=0"), { minLength: 1 });
    fc.assert(
      fc.property(preferences, preferences, (one, other) => {
        assert.equal(key("accept-encoding", one.join(",")), key("accept-encoding", one.toReversed().join(" , ")));
        const same = one.toSorted().join() === other.toSorted().join();
        assert.equal(key("accept-encoding", one.join(",")) === key("accept-encoding", other.join(",")), same);
      }),
    );
  });

  test("keeps keys short, and values from being mistaken for other fields", () => {
    assert.ok(key("cookie", "x".repeat(10_000)).length < 100);
    const names = ["a", "b"];
    assert.notEqual(variantKey(names, new Fields(["a", "1"])), variantKey(names, new Fields(["b", "1"])));
  });
});
