// What docs/memory-tier.md says, and the tier against a naive S3-FIFO that works with arrays.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { MillraceError } from "../core/index.ts";
import { type EvictionMessage, evictionChannel } from "./channels.ts";
import { type MemoryTier, createMemoryTier, entryOverheadBytes, mostSpared } from "./memory.ts";

/** What an entry of a one-byte key pair `k0`…`k9` and this value counts. */
const bytesOf = (key: string, valueBytes: number) => entryOverheadBytes + key.length * 2 + valueBytes;

/** A tier that has room for `entries` entries with keys of two characters and values of no size. */
const roomFor = (entries: number, options: { maxEntryRatio?: number; smallRatio?: number } = {}): MemoryTier<number> =>
  createMemoryTier<number>({ maxBytes: entries * bytesOf("k0", 0), maxEntryRatio: 1, sizeOf: () => 0, ...options });

const keysIn = (tier: MemoryTier<number>, keys: readonly string[]) => keys.filter((key) => tier.has(key));

/** S3-FIFO as one would write it down: arrays, oldest first, and nothing fast. */
class NaiveTier {
  readonly small: { key: string; value: number; bytes: number; uses: number }[] = [];
  readonly main: typeof this.small = [];
  readonly ghosts = new Map<string, number>();
  added = 0;
  readonly maxBytes: number;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  bytes(queue = [...this.small, ...this.main]): number {
    return queue.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  find(key: string) {
    return [...this.small, ...this.main].find((entry) => entry.key === key);
  }

  get(key: string): number | undefined {
    const entry = this.find(key);
    if (entry) entry.uses = Math.min(3, entry.uses + 1);
    return entry?.value;
  }

  delete(key: string): boolean {
    for (const queue of [this.small, this.main]) {
      const i = queue.findIndex((entry) => entry.key === key);
      if (i !== -1) return queue.splice(i, 1).length === 1;
    }
    return false;
  }

  set(key: string, value: number, maxEntryBytes: number): boolean {
    const bytes = bytesOf(key, value);
    if (bytes > maxEntryBytes) {
      this.delete(key);
      return false;
    }
    const before = this.find(key);
    if (before) {
      before.value = value;
      before.bytes = bytes;
      this.makeRoom(0);
      return true;
    }
    const entries = this.small.length + this.main.length;
    const isGhost = this.ghosts.has(key) && this.added - this.ghosts.get(key)! < entries;
    this.ghosts.delete(key);
    this.makeRoom(bytes);
    (isGhost ? this.main : this.small).push({ key, value, bytes, uses: 0 });
    return true;
  }

  makeRoom(bytes: number): void {
    while (this.bytes() + bytes > this.maxBytes) {
      const small = this.small.length > 0 && (this.main.length === 0 || this.bytes(this.small) >= Math.floor(this.maxBytes / 10));
      const entry = (small ? this.small : this.main).shift()!;
      if (entry.uses > (small ? 1 : 0)) this.main.push({ ...entry, uses: small ? 0 : entry.uses - 1 });
      else if (small) this.ghosts.set(entry.key, ++this.added);
    }
  }

  clear(): void {
    this.small.length = 0;
    this.main.length = 0;
    this.ghosts.clear();
    this.added = 0;
  }
}

const alphabet = Array.from({ length: 40 }, (_, i) => `k${i}`);
const key = fc.oneof(fc.constantFrom(...alphabet.slice(0, 8)), fc.constantFrom(...alphabet));
const operation = fc.oneof(
  { weight: 100, arbitrary: fc.record({ op: fc.constant("set" as const), key, size: fc.integer({ min: 0, max: 900 }) }) },
  { weight: 200, arbitrary: fc.record({ op: fc.constant("get" as const), key }) },
  { weight: 10, arbitrary: fc.record({ op: fc.constant("delete" as const), key }) },
  { weight: 1, arbitrary: fc.constant({ op: "clear" as const }) },
);
const operations = fc.array(operation, { maxLength: 400, size: "max" });

suite("the memory tier", () => {
  test("does what a naive S3-FIFO does, whatever is done to it", () => {
    let returns = 0;
    let fromMain = 0;
    using _subscription = evictionChannel.subscribe(({ queue }) => (fromMain += queue === "main" ? 1 : 0));
    fc.assert(
      fc.property(operations, (steps) => {
        const maxBytes = 5000;
        const tier = createMemoryTier<number>({ maxBytes, maxEntryRatio: 0.2, sizeOf: (value) => value });
        const naive = new NaiveTier(maxBytes);
        for (const step of steps) {
          if (step.op === "get") assert.equal(tier.get(step.key), naive.get(step.key));
          else if (step.op === "delete") assert.equal(tier.delete(step.key), naive.delete(step.key));
          else if (step.op === "set") assert.equal(tier.set(step.key, step.size), naive.set(step.key, step.size, maxBytes * 0.2));
          else {
            tier.clear();
            naive.clear();
          }
          const stats = tier.stats();
          assert.deepEqual(
            [stats.smallEntries, stats.mainEntries, stats.smallBytes, stats.mainBytes],
            [naive.small.length, naive.main.length, naive.bytes(naive.small), naive.bytes(naive.main)],
          );
        }
        for (const each of alphabet) assert.equal(tier.has(each), naive.find(each) !== undefined, each);
        returns += tier.stats().returns;
      }),
      { numRuns: 200, seed: 1 },
    );
    assert.ok(returns > 100 && fromMain > 100, `${returns} ghosts came back and ${fromMain} left the main queue`);
  });

  test("never holds more than maxBytes, and what it counts adds up", () => {
    fc.assert(
      fc.property(
        operations,
        fc.integer({ min: 1024, max: 9000 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (steps, maxBytes, smallRatio) => {
          const tier = createMemoryTier<number>({ maxBytes, smallRatio, maxEntryRatio: 1, sizeOf: (value) => value });
          let gets = 0;
          for (const step of steps) {
            if (step.op === "get") {
              tier.get(step.key);
              gets++;
            } else if (step.op === "delete") tier.delete(step.key);
            else if (step.op === "set") tier.set(step.key, step.size);
            else tier.clear();
            const stats = tier.stats();
            assert.ok(stats.bytes <= maxBytes, `${stats.bytes} of ${maxBytes}`);
            assert.equal(stats.bytes, stats.smallBytes + stats.mainBytes);
            assert.equal(stats.entries, stats.smallEntries + stats.mainEntries);
            assert.equal(stats.hits + stats.misses, gets);
          }
          const held = alphabet.flatMap((each) => (tier.has(each) ? bytesOf(each, tier.get(each)!) : []));
          assert.deepEqual([held.length, held.reduce((sum, bytes) => sum + bytes, 0)], [tier.stats().entries, tier.stats().bytes]);
        },
      ),
      { numRuns: 200, seed: 2 },
    );
  });

  test("finds what was set, with its last value, until it is deleted, refused or reported as evicted", () => {
    fc.assert(
      fc.property(operations, (steps) => {
        const tier = createMemoryTier<number>({ maxBytes: 4000, maxEntryRatio: 0.25, sizeOf: (value) => value });
        const expected = new Map<string, number>();
        using _subscription = evictionChannel.subscribe((message) => {
          assert.equal(message.bytes, bytesOf(message.key, expected.get(message.key)!));
          expected.delete(message.key);
        });
        for (const step of steps) {
          if (step.op === "get") assert.equal(tier.get(step.key), expected.get(step.key));
          else if (step.op === "delete") assert.equal(tier.delete(step.key), expected.delete(step.key));
          else if (step.op === "clear") {
            tier.clear();
            expected.clear();
          } else {
            // Before set(), because an overwritten entry may itself be evicted to make room for its larger value.
            const isTaken = bytesOf(step.key, step.size) <= 1000;
            if (isTaken) expected.set(step.key, step.size);
            else expected.delete(step.key);
            assert.equal(tier.set(step.key, step.size), isTaken);
          }
        }
        assert.equal(tier.stats().entries, expected.size);
      }),
      { numRuns: 200, seed: 3 },
    );
  });

  test("keeps what is asked for again through a scan of keys that are asked for once", () => {
    const tier = roomFor(100);
    const hot = alphabet.slice(0, 10);
    for (const each of hot) tier.set(each, 1);
    for (let round = 0; round < 2; round++) for (const each of hot) tier.get(each);
    for (let i = 0; i < 10_000; i++) tier.set(`s${i}`, i);
    assert.deepEqual(keysIn(tier, hot), hot);
    assert.ok(tier.stats().smallEntries > 0);
  });

  test("evicts from what is new as soon as that has its share, and otherwise from what is old", () => {
    const evictedFirst = (used: number) => {
      const tier = roomFor(10);
      for (let i = 0; i < 10; i++) tier.set(`k${i}`, i);
      for (let i = 0; i < used; i++) for (let use = 0; use < 2; use++) tier.get(`k${i}`);
      tier.set("aa", 0);
      return alphabet.slice(0, 10).find((each) => !tier.has(each));
    };
    assert.equal(evictedFirst(9), "k9"); // nine went to main, and one tenth is exactly what k9 takes
    assert.equal(evictedFirst(10), "k0"); // all went to main
  });

  test("takes a key that comes back soon after its eviction for one that is worth keeping", () => {
    const tier = roomFor(10);
    for (let i = 0; i < 11; i++) tier.set(`k${i % 10}${i > 9 ? "x" : ""}`, i); // k0 is evicted
    assert.equal(tier.has("k0"), false);
    tier.set("k0", 0);
    assert.equal(tier.stats().returns, 1);
    assert.equal(tier.stats().mainEntries, 1);
    for (let i = 0; i < 100; i++) tier.set(`s${i}`, i);
    assert.equal(tier.has("k0"), true);
  });

  test("forgets a ghost when as many others were evicted as it has entries", () => {
    const returned = (others: number) => {
      const tier = roomFor(10);
      for (let i = 0; i < 10; i++) tier.set(`k${i}`, i);
      tier.set("aa", 0); // k0 is evicted
      for (let i = 0; i < others; i++) tier.set(`${String.fromCharCode(98 + i)}b`, i);
      tier.set("k0", 0);
      return tier.stats().returns;
    };
    assert.equal(returned(9), 1);
    assert.equal(returned(10), 0);
  });

  test("leaves no ghost of what was deleted or cleared", () => {
    const tier = roomFor(10);
    for (let i = 0; i < 10; i++) tier.set(`k${i}`, i);
    tier.delete("k0");
    tier.set("k0", 0);
    tier.clear();
    for (let i = 0; i < 10; i++) tier.set(`k${i}`, i);
    assert.equal(tier.stats().returns, 0);
    assert.equal(tier.stats().entries, 10);
  });

  test("refuses an entry beyond its share, and then has no older value under the key either", () => {
    const tier = createMemoryTier({ maxBytes: 100_000 });
    const limit = 5_000 - entryOverheadBytes - 2;
    assert.equal(tier.set("a", Buffer.alloc(limit)), true);
    assert.equal(tier.set("a", Buffer.alloc(limit + 1)), false);
    assert.equal(tier.get("a"), undefined);
    assert.deepEqual([tier.stats().entries, tier.stats().bytes, tier.stats().refusals], [0, 0, 1]);
  });

  test("counts strings at two bytes a character and keys as well, and an empty value at its overhead", () => {
    const tier = createMemoryTier<string | Uint8Array>({ maxBytes: 1_000_000 });
    tier.set("", "");
    assert.equal(tier.stats().bytes, entryOverheadBytes);
    tier.set("key", "four");
    assert.equal(tier.stats().bytes, 2 * entryOverheadBytes + 6 + 8);
    tier.set("key", new Uint8Array(5));
    assert.equal(tier.stats().bytes, 2 * entryOverheadBytes + 6 + 5);
  });

  test("refuses values of no possible size, and counts a fraction of a byte as one", () => {
    const tier = createMemoryTier<number>({ maxBytes: 1_000_000, sizeOf: (value) => value });
    for (const size of [Number.NaN, -1, -0.5, Number.POSITIVE_INFINITY, Number.MAX_VALUE]) assert.equal(tier.set("a", size), false);
    tier.set("a", 0.1);
    assert.equal(tier.stats().bytes, bytesOf("a", 1));
  });

  test("bounds a stranger's keys: many, long, or named like parts of an object", () => {
    const maxBytes = 200_000;
    const tier = createMemoryTier<string>({ maxBytes });
    for (let i = 0; i < 50_000; i++) tier.set(`/?q=${i}`, "");
    assert.ok(tier.stats().bytes <= maxBytes && tier.stats().entries <= maxBytes / entryOverheadBytes);
    assert.equal(tier.set("x".repeat(10_000), ""), false);
    for (const name of ["__proto__", "constructor", "hasOwnProperty", "\u0000", "\ud800", "é", "e\u0301"]) {
      assert.equal(tier.get(name), undefined);
      tier.set(name, name);
      assert.equal(tier.get(name), name);
    }
  });

  test("spares no more than a fixed number of entries per eviction, however hot all of them are", () => {
    const tier = roomFor(mostSpared * 4);
    const keys = Array.from(
      { length: mostSpared * 4 },
      (_, i) => `${String.fromCharCode(256 + (i >> 8))}${String.fromCharCode(256 + (i & 255))}`,
    );
    for (const each of keys) tier.set(each, 0);
    for (let use = 0; use < 3; use++) for (const each of keys) tier.get(each);
    tier.set("k0", 0);
    assert.deepEqual(
      keys.filter((each) => !tier.has(each)),
      [keys[mostSpared]],
    );
  });

  test("says what it evicted only when everything is in order, so that a listener may use it", () => {
    const tier = roomFor(5);
    const messages: EvictionMessage[] = [];
    using _subscription = evictionChannel.subscribe((message) => {
      messages.push(message);
      assert.ok(tier.has("k5"));
      if (messages.length === 1) tier.set("k5", 50);
      if (messages.length === 1) tier.set(message.key, 1);
    });
    for (let i = 0; i < 6; i++) tier.set(`k${i}`, i);
    assert.deepEqual(
      messages.map(({ tier: name, key: evicted, bytes, queue }) => [name, evicted, bytes, queue]),
      [
        ["memory", "k0", bytesOf("k0", 0), "small"],
        ["memory", "k1", bytesOf("k1", 0), "small"],
      ],
    );
    assert.deepEqual([tier.get("k5"), tier.get("k0"), tier.stats().entries], [50, 1, 5]);
    assert.equal(tier.stats().bytes, 5 * bytesOf("k0", 0));
  });

  test("counts hits, misses and evictions, and has() as neither hit nor use", () => {
    const tier = roomFor(5);
    for (let i = 0; i < 5; i++) tier.set(`k${i}`, i);
    tier.get("k4");
    tier.get("none");
    for (let i = 0; i < 5; i++) tier.has("k0");
    tier.set("k5", 5);
    const { hits, misses, evictions, entries } = tier.stats();
    assert.deepEqual({ hits, misses, evictions, entries }, { hits: 1, misses: 1, evictions: 1, entries: 5 });
    assert.equal(tier.has("k0"), false);
  });

  test("is used as its page shows", () => {
    // #region tier
    const pictures = createMemoryTier<Uint8Array>({ name: "pictures", maxBytes: 32 * 2 ** 20 });
    pictures.set("/cities/1/map.png", new Uint8Array(20_000));
    pictures.get("/cities/1/map.png"); // the bytes, or undefined
    // #endregion
    const evicted: string[] = [];
    // #region watch
    using _subscription = evictionChannel.subscribe(({ tier, key, bytes }) => evicted.push(`${tier}: ${key}, ${bytes} bytes`));
    // #endregion
    for (let i = 2; i < 2_000; i++) pictures.set(`/cities/${i}/map.png`, new Uint8Array(20_000));
    assert.equal(pictures.has("/cities/1999/map.png"), true);
    assert.match(evicted[0]!, /^pictures: .cities.\d+.map\.png, 202\d\d bytes$/);
  });

  test("refuses unknown and senseless options", () => {
    for (const options of [{ maxbytes: 1 }, { maxBytes: 10 }, { smallRatio: 2 }, { maxEntryRatio: -1 }]) {
      assert.throws(() => createMemoryTier(options as object), MillraceError);
    }
  });
});
