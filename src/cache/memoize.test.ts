// Keys of memoised functions: the same for the same arguments everywhere, different for different ones.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { canonicalArguments } from "./canonical-arguments.ts";
import { createCache, memoize } from "./index.ts";

const text = (...values: readonly unknown[]) => canonicalArguments("f", values);

suite("canonical arguments", () => {
  test("are these, in every process and every release", () => {
    assert.equal(text(), "()");
    assert.equal(text(1, "a", undefined, null, true), '(1,"a",u,null,true)');
    assert.equal(text({ b: [2n], a: new Date(5) }), '({"a"=Date(5),"b"=[2n]})');
    assert.equal(text(new Map([["k", new Set([2, 1])]]), new Uint8Array([1])), '(Map("k"=Set(1,2)),Uint8Array(AQ==))');
    assert.match(text("x".repeat(300)), /^#[\w-]{43}$/);
  });

  test("tell apart what is different", () => {
    const different: readonly (readonly unknown[])[] = [
      [],
      [undefined],
      [null],
      [[]],
      [{}],
      [0],
      [-0],
      ["0"],
      [0n],
      [Number.NaN],
      ["NaN"],
      [Infinity],
      [true],
      ["true"],
      [""],
      ["a", "b"],
      ["a,b"],
      ['a","b'],
      [["a", "b"]],
      [[["a"], "b"]],
      [{ a: undefined }],
      [{ a: null }],
      [{ "a:1": 1 }],
      [{ a: { 1: 1 } }],
      [new Date(0)],
      [new Date(Number.NaN)],
      ["Date(0)"],
      [new Map()],
      [new Set()],
      [new Map([[1, 2]])],
      [new Map([["1", 2]])],
      [new Set([1, 2])],
      [new Uint8Array(1)],
      [new Uint16Array(1)],
      [new Uint8Array(2)],
      [new Float64Array(1)],
      [/a/],
      [/a/g],
      [new URL("http://a/")],
      ["\ud800"],
      ["\ufffd"],
    ];
    const texts = different.map((values) => text(...values));
    assert.equal(new Set(texts).size, different.length);
  });

  test("are the same whatever the order of keys, and different when a value is", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue(), { noNullPrototype: true }), (record) => {
        const turned = Object.fromEntries(Object.entries(record).toReversed());
        assert.equal(text(record), text(turned));
      }),
      { numRuns: 200, seed: 1 },
    );
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
        const isSame = JSON.stringify(sorted(a)) === JSON.stringify(sorted(b)) && text(a) === text(b);
        assert.equal(text(a) === text(b), isSame);
      }),
      { numRuns: 200, seed: 2 },
    );
  });

  test("refuse what has no stable text", () => {
    const cyclic: unknown[] = [];
    cyclic.push(cyclic);
    class Money {
      readonly cents = 5;
    }
    let deep: unknown = 1;
    for (let i = 0; i < 5_000; i++) deep = [deep];
    for (const value of [() => 1, Symbol("s"), cyclic, new Money(), { a: new Money() }, deep, new WeakMap()]) {
      assert.throws(() => text(value), { code: "MILLRACE_CACHE_ARGUMENT_UNKEYABLE" });
    }
    const twice = {};
    assert.equal(text([twice, twice]), "([{},{}])", "the same thing twice is no cycle");
  });
});

/** Sorted keys, deep down, for comparing. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, item]) => [key, sorted(item)]),
  );
}

suite("memoize", () => {
  test("computes once for the same arguments, and again when one of its names is invalidated", async () => {
    let computed = 0;
    // #region memoize
    const cache = createCache();
    const forecastOf = memoize(
      async (city: { id: number; unit: string }) => ({ city: city.id, in: city.unit, computed: ++computed }),
      { cache, name: "forecast", ttl: "10m", depends: ({ id }) => [`city:${id}`] },
    );

    await forecastOf({ id: 42, unit: "C" });
    await forecastOf({ unit: "C", id: 42 }); // the same key: computed once
    await cache.invalidate("city:42"); // stale, in every unit
    // #endregion
    assert.equal(computed, 1);
    assert.equal((await forecastOf({ id: 42, unit: "C" })).computed, 2);
    await forecastOf({ id: 7, unit: "C" });
    assert.equal(computed, 3);
    await forecastOf.invalidate({ unit: "C", id: 7 });
    await forecastOf({ id: 7, unit: "C" });
    assert.equal(computed, 4);
    await forecastOf.invalidateAll();
    await forecastOf({ id: 42, unit: "C" });
    assert.equal(computed, 5);
    assert.equal(forecastOf.key({ id: 1, unit: "F" }), 'forecast:({"id"=1,"unit"="F"})');
  });

  test("can be told what of its arguments decides", async () => {
    const cache = createCache();
    let computed = 0;
    const find = memoize((_connection: object, id: number) => `${id}: ${++computed}`, {
      cache,
      name: "find",
      keyOf: (_connection, id) => id,
    });
    assert.equal(await find(process, 1), "1: 1");
    assert.equal(await find(globalThis, 1), "1: 1");
    await assert.rejects(
      memoize((_run: () => void) => 1, { cache, name: "f" })(() => {}),
      { code: "MILLRACE_CACHE_ARGUMENT_UNKEYABLE" },
    );
    assert.throws(() => memoize(() => 1, { cache, nam: "f" } as never), { code: "MILLRACE_OPTION_UNKNOWN" });
    assert.throws(() => memoize(() => 1, { cache, name: "" }), { code: "MILLRACE_OPTION_INVALID" });
  });
});
