// The ghosts remember lately evicted keys by fingerprint, forget the others, and stay small.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { hashDependencies } from "./dependency-hash.ts";
import { Ghosts } from "./ghosts.ts";

const hashesOf = (count: number) => Array.from({ length: count }, (_, i) => hashDependencies([`key ${i}`])[0]! | 0);

suite("the ghosts", () => {
  test("are remembered while they grow, but for a few in places that are full", () => {
    const limit = 10_000;
    const ghosts = new Ghosts();
    const hashes = hashesOf(limit);
    for (const [i, hash] of hashes.entries()) ghosts.add(hash, i + 1);
    const found = hashes.filter((hash) => ghosts.take(hash, limit + 1)).length;
    assert.ok(found > 0.97 * limit, `${found} of ${limit}`);
    assert.equal(hashes.filter((hash) => ghosts.take(hash, limit + 1)).length, 0);
  });

  test("are forgotten when as many others came, and do not grow beyond what their limit needs", () => {
    const limit = 1_000;
    const ghosts = new Ghosts();
    const hashes = hashesOf(50_000);
    for (const hash of hashes) ghosts.add(hash, limit);
    assert.equal(ghosts.bytes, 2_048 * 8);
    const young = hashes.slice(-limit);
    assert.equal(hashes.slice(0, -limit).filter((hash) => ghosts.take(hash, limit)).length, 0);
    assert.ok(young.filter((hash) => ghosts.take(hash, limit)).length > 0.97 * limit);
  });

  test("are renewed when they come again", () => {
    const ghosts = new Ghosts();
    for (const hash of [1, 2, 3, 1, 4, 5]) ghosts.add(hash, 3);
    assert.deepEqual(
      [1, 2, 3, 4, 5].map((hash) => ghosts.take(hash, 3)),
      [true, false, false, true, true],
    );
  });

  test("include the key whose hash is 0", () => {
    const ghosts = new Ghosts();
    assert.equal(ghosts.take(0, 10), false);
    ghosts.add(0, 10);
    assert.equal(ghosts.take(0, 10), true);
  });
});
