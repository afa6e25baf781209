import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { suite, test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { createManualClock } from "../core/index.ts";
import { createLruMap } from "./lru-map.ts";
import { WeakValueMap } from "./weak-value-map.ts";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Collections and finalizers until `holds`, at most a few seconds. */
async function collectUntil(holds: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !holds(); i++) {
    collect();
    await setImmediate();
  }
  assert.ok(holds());
}

suite("a WeakValueMap", () => {
  test("keeps nothing alive, and loses the keys of what is gone", async () => {
    // #region weak-value-map
    const sessions = new WeakValueMap<string, { readonly user: string }>();
    const held = sessions.getOrCreate("a", () => ({ user: "ada" }));
    for (let i = 0; i < 1_000; i++) sessions.set(`session ${i}`, { user: "nobody holds this" });
    // … some garbage collections later only "a" is left
    // #endregion
    await collectUntil(() => sessions.size === 1);
    assert.equal(sessions.get("a"), held);
    assert.deepEqual([...sessions], [["a", held]]);
    assert.equal(
      sessions.getOrCreate("a", () => assert.fail("it is there")),
      held,
    );
  });

  test("does not lose a key that stands for another value meanwhile", async () => {
    const map = new WeakValueMap<string, object>();
    map.set("a", { old: true });
    const held = { old: false };
    map.set("a", held);
    const map2 = new WeakValueMap<string, object>([["gone", {}]]);
    await collectUntil(() => map2.size === 0);
    assert.equal(map.get("a"), held);
    assert.equal(map.delete("a"), true);
    assert.equal(map.delete("a"), false);
    assert.equal(map.has("a"), false);
    map.set("b", held).clear();
    assert.equal(map.size, 0);
  });
});

suite("an LruMap", () => {
  test("drops what was used least recently", () => {
    // #region lru-map
    const removed: string[] = [];
    const recent = createLruMap<string, number>({ maxEntries: 2, onRemove: (_value, key) => removed.push(key) });
    recent.set("a", 1);
    recent.set("b", 2);
    recent.get("a");
    recent.set("c", 3); // "b" goes
    // #endregion
    assert.deepEqual(removed, ["b"]);
    assert.deepEqual(
      [...recent.entries()],
      [
        ["c", 3],
        ["a", 1],
      ],
    );
    assert.equal(recent.peek("b"), undefined);
    assert.equal(recent.delete("a"), true);
    recent.clear();
    assert.equal(recent.size, 0);
  });

  test("bounds bytes, and does not keep what is larger than all", () => {
    const map = createLruMap<string, string>({ maxEntries: 100, maxBytes: 10, sizeOf: (value) => value.length });
    map.set("a", "12345");
    map.set("b", "12345");
    assert.equal(map.bytes, 10);
    map.set("c", "1");
    assert.equal(map.has("a"), false);
    map.set("b", "12345678901");
    assert.equal(map.has("b"), false);
    assert.equal(map.bytes, 1);
  });

  test("forgets by its clock", () => {
    const clock = createManualClock();
    const map = createLruMap<string, number>({ maxEntries: 10, ttl: "1s", clock });
    map.set("a", 1);
    clock.advance(999);
    assert.equal(map.get("a"), 1);
    clock.advance(2);
    assert.equal(map.has("a"), false);
    assert.equal(map.get("a"), undefined);
  });

  test("says which option is wrong", () => {
    assert.throws(() => createLruMap({ max: 5 } as never), { code: "MILLRACE_OPTION_UNKNOWN" });
    assert.throws(() => createLruMap({ maxEntries: 0 }), { code: "MILLRACE_OPTION_INVALID" });
  });
});
