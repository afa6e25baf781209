// The suite that every shared store of the cache must pass, ours and yours: call it in a file of tests. docs/cache-stores.md
// explains the contract.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { type Clock, systemClock } from "../core/index.ts";
import type { Claim, Store } from "../cache/index.ts";

export interface StoreContractOptions {
  /** Lets this much time pass for the store: moves its clock, or really waits. Default: waits. */
  readonly pass?: (ms: number) => Promise<void>;
  /**
   * The time to live of what the suite sees end, in milliseconds; it lets three times as much pass. Default 1,000, because some stores
   * count in whole seconds. A store that counts in milliseconds is tested sooner with 200.
   */
  readonly briefMs?: number;
  /** The size from which the store must refuse a value; undefined: it takes whatever the suite has (32 MiB). */
  readonly refusesFromBytes?: number;
}

const hold = { leaseMs: 60_000 };
const ttl = { ttlMs: 60_000 };

async function wait(ms: number, clock: Clock = systemClock): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  clock.timer(ms, resolve, true);
  await promise;
}

const isLease = (claim: Claim): claim is Extract<Claim, { kind: "lease" }> => claim.kind === "lease";

async function leaseOf(store: Store, key: string, not?: string): Promise<string> {
  const claim = await store.claim(key, { ...hold, not });
  assert.ok(isLease(claim), "the lease is free");
  return claim.token;
}

/** Bytes in which every value occurs, and which do not repeat soon: whatever a store does to some of them shows. */
function bytesOf(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = length + 1;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

const sameBytes = (actual: Uint8Array | undefined, expected: Uint8Array, what: string) => {
  assert.ok(actual, `${what} is there`);
  assert.equal(Buffer.compare(actual, expected), 0, `${what} is what was set, byte for byte`);
};

/**
 * Declares the suite for `name`. `createStore` is called once per test; every store must be empty, or the keys of the suite (which
 * are different in every test) unknown to it. The suite closes it.
 */
export function storeContract(name: string, createStore: () => Promise<Store>, options: StoreContractOptions = {}): void {
  const { pass = wait, briefMs = 1_000 } = options;
  let keys = 0;
  const run = Math.random().toString(36).slice(2);
  const newKey = (about = "key") => `contract:${run}:${++keys}:${about}`;

  suite(`the store ${name}`, () => {
    test("has a name and closes twice", async () => {
      const store = await createStore();
      assert.match(store.name, /^\S+$/);
      await store.close();
      await store.close();
    });

    test("gives back what was set, byte for byte, and nothing for what was not", async () => {
      await using store = await createStore();
      const values = {
        "no bytes": new Uint8Array(0),
        "one byte": Uint8Array.of(0),
        "every byte": Uint8Array.from({ length: 256 }, (_, i) => i),
        "line ends": Buffer.from("\r\nEND\r\n\0VALUE x 1\r\n$-1\r\n"),
        "what is no UTF-8": Uint8Array.of(0xff, 0xfe, 0xc0, 0x80, 0xed, 0xa0, 0x80),
        "64 KiB": bytesOf(65_536),
        "900 KiB": bytesOf(900 * 1024),
      };
      for (const [what, bytes] of Object.entries(values)) {
        const key = newKey(what);
        assert.equal(await store.get(key), undefined);
        const kept = await store.set(key, bytes, ttl);
        assert.equal(kept, true, `${what} is kept`);
        sameBytes((await store.get(key))?.bytes, bytes, what);
      }
    });

    test("gives back a view of a larger buffer as the view, and keeps nothing of its caller's bytes or its reader's", async () => {
      await using store = await createStore();
      const key = newKey();
      const buffer = bytesOf(1_000);
      const view = buffer.subarray(100, 200);
      const expected = Uint8Array.from(view);
      await store.set(key, view, ttl);
      buffer.fill(7);
      const first = await store.get(key);
      sameBytes(first?.bytes, expected, "the view");
      first!.bytes.fill(9);
      sameBytes((await store.get(key))?.bytes, expected, "what the next reads");
    });

    test("takes a value whole or not at all", async () => {
      await using store = await createStore();
      const sizes = [1_000_000, 1_048_576, 4 * 2 ** 20, 32 * 2 ** 20];
      for (const size of sizes) {
        const key = newKey(`${size} bytes`);
        await store.set(key, Buffer.from("before"), ttl);
        const token = await leaseOf(store, key, (await store.get(key))!.version);
        const bytes = bytesOf(size);
        const kept = await store.set(key, bytes, { ...ttl, token });
        const found = await store.get(key);
        if (kept) sameBytes(found?.bytes, bytes, `${size} bytes`);
        else if (found) sameBytes(found.bytes, Buffer.from("before"), "what was there before");
        assert.equal(kept, size < (options.refusesFromBytes ?? Infinity), `${size} bytes`);
      }
    });

    test("knows any key from any other", async () => {
      await using store = await createStore();
      const longest = "k".repeat(5_000);
      const names = [
        "a b",
        "a\tb",
        "a\r\nb",
        "a\0b",
        "Zürich",
        "日本",
        "😀",
        "{a}b",
        "{a}c",
        "a{b}",
        "*",
        "?",
        "a:b",
        `${longest}1`,
        `${longest}2`,
        "é",
        "e\u0301",
      ];
      const prefix = newKey("");
      for (const [i, name] of names.entries()) assert.equal(await store.set(prefix + name, Buffer.from(`value ${i}`), ttl), true);
      for (const [i, name] of names.entries()) {
        sameBytes((await store.get(prefix + name))?.bytes, Buffer.from(`value ${i}`), JSON.stringify(name.slice(0, 20)));
      }
      await store.delete(prefix + names[0]!);
      assert.equal(await store.get(prefix + names[0]!), undefined);
      for (const name of names.slice(1)) assert.ok(await store.get(prefix + name), JSON.stringify(name.slice(0, 20)));
    });

    test("gives every set a version of its own, and the same to everybody", async () => {
      await using store = await createStore();
      const key = newKey();
      const seen = new Set<string>();
      for (let i = 0; i < 5; i++) {
        await store.set(key, Buffer.from("the same bytes"), ttl);
        const { version } = (await store.get(key))!;
        assert.equal((await store.get(key))!.version, version);
        const claim = await store.claim(key, hold);
        assert.equal(claim.kind === "value" ? claim.stored.version : undefined, version);
        seen.add(version);
      }
      assert.equal(seen.size, 5);
    });

    test("forgets a value when its time is over", async () => {
      await using store = await createStore();
      const [short, long] = [newKey("short"), newKey("long")];
      const setAtMs = performance.now();
      await store.set(short, Buffer.from("x"), { ttlMs: briefMs });
      await store.set(long, Buffer.from("y"), ttl);
      const found = await store.get(short);
      // On a machine that stood still meanwhile its time may be over already.
      if (performance.now() - setAtMs < briefMs / 2) assert.ok(found);
      await pass(3 * briefMs);
      assert.equal(await store.get(short), undefined);
      assert.ok(await store.get(long));
      assert.equal((await store.claim(short, hold)).kind, "lease");
    });

    test("gives one of many the lease, and tells the others that it is busy", async () => {
      await using store = await createStore();
      const key = newKey();
      const claims = await Promise.all(Array.from({ length: 100 }, () => store.claim(key, hold)));
      const leases = claims.filter(isLease);
      assert.equal(leases.length, 1);
      assert.equal(claims.filter(({ kind }) => kind === "busy").length, 99);
      assert.equal(await store.set(key, Buffer.from("v"), { ...ttl, token: leases[0]!.token }), true);
      const after = await Promise.all(Array.from({ length: 100 }, () => store.claim(key, hold)));
      for (const claim of after) sameBytes(claim.kind === "value" ? claim.stored.bytes : undefined, Buffer.from("v"), "the value");
    });

    test("counts a version that the caller cannot use as missing, and no other", async () => {
      await using store = await createStore();
      const key = newKey();
      await store.set(key, Buffer.from("one"), ttl);
      const { version } = (await store.get(key))!;
      const token = await leaseOf(store, key, version);
      assert.equal((await store.claim(key, { ...hold, not: version })).kind, "busy");
      const other = await store.claim(key, hold);
      sameBytes(other.kind === "value" ? other.stored.bytes : undefined, Buffer.from("one"), "the value, for who can use it");
      assert.equal(await store.set(key, Buffer.from("two"), { ...ttl, token }), true);
      const next = await store.claim(key, { ...hold, not: version });
      sameBytes(next.kind === "value" ? next.stored.bytes : undefined, Buffer.from("two"), "the newer value");
    });

    test("gives the lease again when its time is over, and refuses what its first holder brings late", async () => {
      await using store = await createStore();
      const key = newKey();
      const first = await store.claim(key, { leaseMs: briefMs });
      assert.ok(isLease(first));
      await pass(3 * briefMs);
      const second = await leaseOf(store, key);
      assert.notEqual(second, first.token);
      assert.equal(await store.set(key, Buffer.from("late"), { ...ttl, token: first.token }), false);
      assert.equal(await store.get(key), undefined);
      await store.release(key, first.token); // does not touch the second lease
      assert.equal((await store.claim(key, hold)).kind, "busy");
      assert.equal(await store.set(key, Buffer.from("in time"), { ...ttl, token: second }), true);
      assert.equal(await store.set(key, Buffer.from("later still"), { ...ttl, token: first.token }), false);
      sameBytes((await store.get(key))?.bytes, Buffer.from("in time"), "the value of the later lease");
    });

    test("gives a lease that was given back to the next at once", async () => {
      await using store = await createStore();
      const key = newKey();
      const token = await leaseOf(store, key);
      await store.release(key, token);
      const next = await leaseOf(store, key);
      assert.notEqual(next, token);
      assert.equal(await store.set(key, Buffer.from("late"), { ...ttl, token }), false);
      assert.equal(await store.set(key, Buffer.from("v"), { ...ttl, token: next }), true);
      assert.equal(await store.set(key, Buffer.from("again"), { ...ttl, token: next }), false, "a token is good for one set");
    });

    test("takes a token that it has never given for none of its own", async () => {
      await using store = await createStore();
      const key = newKey();
      for (const token of ["", "0", "1", "never given", "😀"]) {
        assert.equal(await store.set(key, Buffer.from("x"), { ...ttl, token }), false, JSON.stringify(token));
        await store.release(key, token);
      }
      assert.equal(await store.get(key), undefined);
    });

    test("keeps what is set without a token", async () => {
      await using store = await createStore();
      const key = newKey();
      await leaseOf(store, key);
      assert.equal(await store.set(key, Buffer.from("v"), ttl), true);
      const claim = await store.claim(key, hold);
      sameBytes(claim.kind === "value" ? claim.stored.bytes : undefined, Buffer.from("v"), "the value");
    });

    test("voids the lease of a key that is deleted: what its holder brings is of before", async () => {
      await using store = await createStore();
      const key = newKey();
      const token = await leaseOf(store, key);
      await store.delete(key);
      assert.equal(await store.set(key, Buffer.from("of before"), { ...ttl, token }), false);
      assert.equal(await store.set(key, Buffer.from("of after"), { ...ttl, token: await leaseOf(store, key) }), true);
    });

    test("deletes a value, and what is not there without complaint", async () => {
      await using store = await createStore();
      const key = newKey();
      await store.delete(key);
      await store.set(key, Buffer.from("v"), ttl);
      await store.delete(key);
      assert.equal(await store.get(key), undefined);
      assert.equal((await store.claim(key, hold)).kind, "lease");
    });
  });
}
