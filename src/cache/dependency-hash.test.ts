// The hash is part of the format of stored entries: it may never change, and it must spread the names that dependencies have.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { hashDependencies, hashDependency } from "./dependency-hash.ts";

const hex = (name: string) => {
  const [low, high] = hashDependencies([name]);
  return high!.toString(16).padStart(8, "0") + low!.toString(16).padStart(8, "0");
};

/** Names as they come: counting ids, one column and another, tables that differ in a letter, digits swapped. */
function* names(count: number): Generator<string> {
  for (let i = 0; i < count; i += 4) {
    yield `public.reports:id=${i}`;
    yield `public.reports:city_id=${i}`;
    yield `public.report${i % 10}:id=${i * 1000}`;
    yield `user:${String(i).split("").toReversed().join("")}:${i % 7}`;
  }
}

suite("the hash of a dependency", () => {
  test("is the same in every process and every release", () => {
    assert.deepEqual(["", "a", "ab", "public.reports:city_id=42", "Zürich", "日本", "\ud800", "😀"].map(hex), [
      "c7d9504e02b18130",
      "93586eea0f7feee3",
      "116539ada2099750",
      "4f1fbaa9ea33498e",
      "d9116dad5671c329",
      "0100b60cecfe465e",
      "a74a292d398601c8",
      "50294c2142e23319",
    ]);
  });

  test("is written where it is asked for, and nowhere else", () => {
    const into = new Uint32Array(4).fill(7);
    hashDependency("a", into, 1);
    assert.deepEqual([...into], [7, ...hashDependencies(["a"]), 7]);
    assert.deepEqual([...hashDependencies(["b", "a"])], [...hashDependencies(["b"]), ...hashDependencies(["a"])]);
  });

  test("tells apart what differs in length, order, case or a zero", () => {
    const alike = ["", "\0", "\0\0", "\0\0\0", "a", "a\0", "\0a", "A", "aa", "ab", "ba", "abc", "acb", "\u0100", "\u0001\u0000"];
    assert.equal(new Set(alike.map(hex)).size, alike.length);
  });

  test("collides on none of 400,000 names, and fills the slots of each row as chance would", () => {
    const slots = 2 ** 16;
    const count = 400_000;
    const seen = new Set<bigint>();
    const rows = [new Uint32Array(slots), new Uint32Array(slots), new Uint32Array(slots)];
    const hash = new Uint32Array(2);
    let different = 0;
    const all = new Set(names(count));
    for (const name of all) {
      hashDependency(name, hash, 0);
      seen.add((BigInt(hash[1]!) << 32n) | BigInt(hash[0]!));
      for (const [i, row] of rows.entries()) row[(hash[0]! + i * hash[1]!) % slots]!++;
      different++;
    }
    assert.equal(seen.size, different);
    const expected = different / slots;
    for (const row of rows) {
      const chiSquare = row.reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0);
      // 65,535 degrees of freedom: standard deviation 362, so this is six of them.
      assert.ok(Math.abs(chiSquare - slots) < 6 * Math.sqrt(2 * slots), `χ² ${chiSquare.toFixed(0)} of ${slots}`);
    }
  });

  test("changes half of its bits when one bit of the name changes", () => {
    const flips = new Float64Array(64);
    const a = new Uint32Array(2);
    const b = new Uint32Array(2);
    let pairs = 0;
    for (const name of names(4_000)) {
      hashDependency(name, a, 0);
      for (let at = 0; at < name.length; at += 3) {
        hashDependency(
          name.slice(0, at) + String.fromCharCode(name.charCodeAt(at) ^ (1 << (pairs % 16))) + name.slice(at + 1),
          b,
          0,
        );
        for (let bit = 0; bit < 64; bit++) flips[bit]! += ((a[bit >> 5]! ^ b[bit >> 5]!) >>> (bit & 31)) & 1;
        pairs++;
      }
    }
    for (const [bit, count] of flips.entries()) {
      assert.ok(Math.abs(count / pairs - 0.5) < 0.02, `bit ${bit} changes in ${((100 * count) / pairs).toFixed(1)} % of ${pairs}`);
    }
  });
});
