// The sketch may say "later" and never "earlier": what that takes through collisions, gaps, generations and four billion writes.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { MillraceError } from "../core/index.ts";
import { hashDependencies } from "./dependency-hash.ts";
import { Judged, type Versions, createVersions } from "./versions.ts";

const alphabet = Array.from({ length: 30 }, (_, i) => `public.reports:id=${i}`);
const hashes = hashDependencies(alphabet);
const versionOf = (versions: Versions, i: number) => versions.version(hashes[i * 2]!, hashes[i * 2 + 1]!);
const bump = (versions: Versions, i: number, sequence: number) => versions.bump(hashes[i * 2]!, hashes[i * 2 + 1]!, sequence);
const dependency = (...which: readonly number[]) => hashDependencies(which.map((i) => alphabet[i]!));

const which = fc.nat({ max: alphabet.length - 1 });
/** How far the number moves: mostly by one, sometimes back, and sometimes past everything that a slot can hold. */
const stride = fc.oneof(
  { weight: 20, arbitrary: fc.integer({ min: 1, max: 3 }) },
  { weight: 4, arbitrary: fc.integer({ min: -50, max: 0 }) },
  { weight: 2, arbitrary: fc.integer({ min: 2 ** 30, max: 2 ** 33 }) },
);
const step = fc.oneof(
  { weight: 20, arbitrary: fc.record({ op: fc.constant("bump" as const), which, stride }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("all" as const), stride }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("generation" as const) }) },
);

suite("the versions of dependencies", () => {
  test("are never earlier than the truth, and what was written after an answer is never served", () => {
    let serves = 0;
    let refuses = 0;
    let remembered = 0;
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 150, size: "max" }),
        fc.array(which, { maxLength: 5 }),
        fc.nat({ max: 60 }),
        fc.constantFrom(2, 4, 1024),
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 4 }),
        (steps, dependsOn, ago, slots, rows, times) => {
          // Named several times they are more than an answer remembers by itself.
          const remembers = dependency(...Array.from({ length: times }, () => dependsOn).flat());
          const versions = createVersions(1, { slots, rows });
          const truth = new Map<number, number>();
          let everything = 0;
          let newest = 0;
          let sequence = 0;
          /** Answers that are asked about again and again, with what is remembered of the last time. */
          const kept: { readonly generation: number; readonly upTo: number; readonly judged: Judged }[] = [];
          for (const each of steps) {
            if (each.op === "generation") {
              versions.startGeneration(versions.generation + 1);
              truth.clear();
              everything = newest = sequence = 0;
            } else {
              sequence = Math.max(1, sequence + each.stride);
              newest = Math.max(newest, sequence);
              if (each.op === "all") {
                versions.bumpAll(sequence);
                everything = Math.max(everything, sequence);
              } else {
                bump(versions, each.which, sequence);
                truth.set(each.which, Math.max(truth.get(each.which) ?? 0, sequence));
              }
            }
            assert.equal(versions.newest, newest);
            for (let i = 0; i < alphabet.length; i++) {
              const said = versionOf(versions, i);
              assert.ok(
                said >= Math.max(truth.get(i) ?? 0, everything),
                `${alphabet[i]} was written by ${truth.get(i)}, not ${said}`,
              );
              assert.ok(said <= newest, `${alphabet[i]} cannot have been written by ${said} of ${newest}`);
            }
            const upTo = Math.max(0, newest - ago);
            const mayServe = versions.mayServe(versions.generation, upTo, dependency(...dependsOn));
            const isFresh = dependsOn.every((i) => (truth.get(i) ?? 0) <= upTo) && everything <= upTo;
            assert.ok(isFresh || !mayServe, "a stale answer may be served");
            const saidFresh = dependsOn.every((i) => versionOf(versions, i) <= upTo);
            if (dependsOn.length > 0) assert.equal(mayServe, saidFresh);
            kept.push({ generation: versions.generation, upTo, judged: new Judged(remembers) });
            for (const answer of kept) {
              const { generation, judged } = answer;
              const isKnown = judged.judgedAt !== 0;
              const serves = versions.isUntouched(judged) || versions.mayServe(generation, answer.upTo, remembers, judged);
              const isOfNow = generation === versions.generation && everything <= answer.upTo;
              const isFitNow = isOfNow && dependsOn.every((i) => (truth.get(i) ?? 0) <= answer.upTo);
              assert.ok(isFitNow || !serves, "a stale answer may be served by what is remembered of it");
              // What is remembered may only know better than the sketch, which refuses by mistake.
              if (versions.mayServe(generation, answer.upTo, dependency(...dependsOn))) assert.ok(serves);
              if (serves && isKnown) remembered++;
            }
            if (mayServe) serves++;
            else refuses++;
          }
        },
      ),
      { numRuns: 300, seed: 1 },
    );
    assert.ok(serves > 1_000 && refuses > 1_000, `${serves} served, ${refuses} refused`);
    assert.ok(remembered > 1_000, `${remembered} served by what was remembered`);
  });

  test("serve an answer that reflects the last write to each dependency, and not one that misses it", () => {
    const versions = createVersions(1);
    bump(versions, 1, 10);
    bump(versions, 2, 20);
    bump(versions, 2, 15); // late; the larger number counts
    assert.equal(versionOf(versions, 2), 20);
    assert.equal(versions.mayServe(1, 20, dependency(0, 1, 2)), true);
    assert.equal(versions.mayServe(1, 19, dependency(0, 1, 2)), false);
    assert.equal(versions.mayServe(1, 19, dependency(0, 1)), true);
    assert.equal(versions.mayServe(1, 9, dependency(0)), true);
  });

  test("are used as their page shows", () => {
    // #region versions
    const versions = createVersions(1);
    const answer = { generation: 1, upTo: 41, dependencies: hashDependencies(["reports:city_id=7", "cities:id=7"]) };

    const [low, high] = hashDependencies(["reports:city_id=7"]);
    versions.bump(low!, high!, 42); // write number 42 is a new report of city 7

    versions.mayServe(answer.generation, answer.upTo, answer.dependencies); // false
    // #endregion
    assert.equal(versions.mayServe(answer.generation, answer.upTo, answer.dependencies), false);
    assert.equal(versions.mayServe(answer.generation, 42, answer.dependencies), true);
  });

  test("serve what depends on nothing, until everything may have changed", () => {
    const versions = createVersions(1);
    bump(versions, 1, 10);
    assert.equal(versions.mayServe(1, 0, dependency()), true);
    versions.bumpAll(11);
    assert.equal(versions.mayServe(1, 10, dependency()), false);
    assert.equal(versions.mayServe(1, 11, dependency(1)), true);
  });

  test("serve nothing of another generation, of the one before or of the next", () => {
    const versions = createVersions(7);
    assert.equal(versions.mayServe(6, 100, dependency(0)), false);
    versions.startGeneration(8);
    assert.equal(versions.mayServe(7, 100, dependency(0)), false);
    assert.equal(versions.mayServe(9, 100, dependency(0)), false);
    assert.equal(versions.mayServe(8, 0, dependency(0)), true);
  });

  test("serve nothing that has no number", () => {
    const versions = createVersions(1);
    assert.equal(versions.mayServe(1, Number.NaN, dependency(0)), false);
    assert.equal(versions.mayServe(1, -1, dependency(0)), false);
    assert.equal(versions.mayServe(Number.NaN, 1, dependency(0)), false);
  });

  test("go on past 2^32 writes in the same generation, exact for the latest half of them", () => {
    const versions = createVersions(1, { slots: 1024 });
    const last = 2 ** 32 - 1;
    bump(versions, 0, 5);
    bump(versions, 1, 2 ** 31 + 5);
    bump(versions, 2, last);
    assert.deepEqual(
      [0, 1, 2].map((i) => versionOf(versions, i)),
      [5, 2 ** 31 + 5, last],
    );
    bump(versions, 3, last + 1); // does not fit: everything moves down by 2^31
    assert.deepEqual(
      [0, 1, 2, 3].map((i) => versionOf(versions, i)),
      [2 ** 31, 2 ** 31 + 5, last, last + 1],
    );
    assert.equal(versions.mayServe(1, last, dependency(0, 1, 2)), true);
    assert.equal(versions.mayServe(1, last, dependency(3)), false);
    assert.equal(versions.mayServe(1, 2 ** 31 - 1, dependency(0)), false);
    bump(versions, 0, 2 ** 52); // a jump past several times what a slot can hold
    assert.equal(versionOf(versions, 0), 2 ** 52);
    assert.equal(versions.mayServe(1, 2 ** 52, dependency(0, 1, 2, 3)), true);
    assert.equal(versions.mayServe(1, 2 ** 52 - 1, dependency(0)), false);
  });

  test("invalidate by mistake as often as the arithmetic of two rows says: ≤ 1 % for a tenth of the slots in other writes", () => {
    const slots = 2 ** 14;
    for (const [rows, load] of [
      [2, 0.105],
      [2, 0.3],
      [4, 0.3],
    ] as const) {
      const versions = createVersions(1, { slots, rows });
      const others = Math.round(slots * load);
      const written = hashDependencies(Array.from({ length: others }, (_, i) => `public.reports:id=${i}`));
      for (let i = 0; i < others; i++) versions.bump(written[i * 2]!, written[i * 2 + 1]!, i + 1);
      const asked = 40_000;
      const untouched = hashDependencies(Array.from({ length: asked }, (_, i) => `public.cities:id=${i}`));
      let mistakes = 0;
      for (let i = 0; i < asked; i++) if (!versions.mayServe(1, 0, untouched.subarray(i * 2, i * 2 + 2))) mistakes++;
      const expected = (1 - Math.exp(-load)) ** rows;
      assert.ok(Math.abs(mistakes / asked - expected) < 0.15 * expected + 0.001, `${mistakes / asked}, expected ${expected}`);
      if (load < 0.11) assert.ok(mistakes / asked <= 0.011);
    }
  });

  test("of a process that begins later are complete again with another's dump", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(which, fc.integer({ min: 1, max: 3 })), { maxLength: 60 }),
        fc.nat({ max: 60 }),
        fc.nat({ max: 60 }),
        async (writes, joinAfter, dumpAfter) => {
          const before = createVersions(1, { slots: 1024 });
          let later: Versions | undefined;
          let dump: Promise<Uint8Array> | undefined;
          let sequence = 100;
          let dumpedAt = 0;
          before.bumpAll(sequence);
          let joinedAt = Infinity;
          for (const [i, [dependency, by]] of writes.entries()) {
            if (i === joinAfter) {
              later = createVersions(1, { slots: 1024 });
              later.bumpAll((joinedAt = sequence));
            }
            if (i === dumpAfter) dump = before.dump((dumpedAt = sequence));
            sequence += by;
            bump(before, dependency, sequence);
            if (later) bump(later, dependency, sequence);
          }
          if (!later || !dump) return;
          assert.equal(await later.merge(await dump), dumpedAt >= joinedAt);
          for (let i = 0; i < alphabet.length; i++) {
            assert.equal(
              versionOf(later, i),
              dumpedAt >= joinedAt ? versionOf(before, i) : Math.max(joinedAt, versionOf(before, i)),
            );
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  test("take nothing from a dump that is broken, of another size or of another kind", async () => {
    const versions = createVersions(1, { slots: 1024 });
    versions.bumpAll(50);
    const good = await createVersions(1, { slots: 1024 }).dump(60);
    assert.equal(await versions.merge(await createVersions(1, { slots: 2048 }).dump(60)), false);
    assert.equal(await versions.merge(await createVersions(1, { slots: 1024, rows: 3 }).dump(60)), false);
    for (const broken of [
      new Uint8Array(0),
      good.subarray(0, 40),
      Buffer.from(good).fill(1, 0, 4),
      Buffer.from(good).fill(7, 32),
    ]) {
      assert.equal(await versions.merge(broken), false);
    }
    assert.equal(versions.mayServe(1, 49, dependency(0)), false);
    assert.equal(await versions.merge(good), true);
    assert.equal(versions.mayServe(1, 49, dependency(0)), true);
  });

  test("take only sizes that masks can reach", () => {
    for (const options of [{ slots: 1000 }, { slots: 1 }, { slots: 2 ** 27 }, { slots: Number.NaN }, { rows: 0 }, { rows: 9 }]) {
      assert.throws(() => createVersions(1, options), MillraceError);
    }
  });
});
