import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import type { Batch } from "./source.ts";
import { BatchReader, encodeBatch, maxPartBytes, wireVersion } from "./wire.ts";

/** What arrives when all payloads are read in order. */
function carried(payloads: readonly string[]) {
  const reader = new BatchReader();
  const arrived = payloads.map((payload) => reader.read(payload));
  assert.ok(
    arrived.slice(0, -1).every((each) => each === undefined),
    "a batch counts only once its last part has come",
  );
  const batch = arrived.at(-1);
  assert.ok(batch);
  return batch;
}

const batches: fc.Arbitrary<Batch> = fc
  .record({
    prev: fc.integer({ min: 0, max: 2 ** 50 }),
    steps: fc.array(
      fc.record({
        step: fc.integer({ min: 1, max: 2 ** 31 }),
        xid: fc.option(fc.bigInt({ min: 3n, max: 2n ** 64n - 1n }), { nil: undefined }),
        hashes: fc.oneof(
          { weight: 9, arbitrary: fc.integer({ min: 0, max: 5 }) },
          { weight: 1, arbitrary: fc.integer({ min: 0, max: 4_000 }) },
        ),
        everything: fc.boolean(),
      }),
      { maxLength: 20 },
    ),
    followed: fc.array(
      fc.record({
        table: fc.string({ minLength: 1, maxLength: 130 }),
        column: fc.option(fc.string({ minLength: 1 }), { nil: undefined }),
      }),
      { maxLength: 80 },
    ),
    more: fc.integer({ min: 0, max: 2 ** 30 }),
    seed: fc.integer(),
  })
  .map(({ prev, steps, followed, more, seed }) => {
    let number = prev;
    const commits = steps.map(({ step, xid, hashes, everything }) => {
      number += step;
      const dependencies = Uint32Array.from({ length: hashes * 2 }, (_, i) => Math.imul(seed + i, 0x9e3779b1));
      return { number, xid, dependencies, everything };
    });
    return { prev, upTo: number + more, commits, followed: followed.map((each) => ({ ...each, number })) };
  });

describe("a batch on the bus", () => {
  it("arrives as it was sent, in parts that NOTIFY takes, none equal to another", () => {
    fc.assert(
      fc.property(batches, fc.integer({ min: 1, max: 2 ** 31 - 1 }), fc.nat(), (batch, generation, sequence) => {
        const payloads = encodeBatch(batch, generation, sequence);
        for (const payload of payloads) assert.ok(payload.length < 8_000);
        assert.equal(new Set(payloads).size, payloads.length, "PostgreSQL drops equal notifications of a transaction");
        const { generation: arrived, ...rest } = carried(payloads);
        assert.equal(arrived, generation);
        assert.deepEqual({ prev: rest.prev, upTo: rest.upTo, commits: rest.commits, followed: rest.followed }, batch);
      }),
      { numRuns: 150 },
    );
  });

  it("is refused when a part is missing, of another batch, cut, or of another version", () => {
    const dependencies = new Uint32Array(2 * Math.ceil((2.5 * maxPartBytes) / 8));
    const batch: Batch = { prev: 7, upTo: 9, commits: [{ number: 8, xid: 5n, dependencies, everything: false }], followed: [] };
    const one = encodeBatch(batch, 1, 1);
    const two = encodeBatch(batch, 1, 2);
    assert.ok(one.length >= 3);
    const reader = new BatchReader();
    assert.throws(() => reader.read(one[1]!), RangeError);
    assert.equal(reader.read(one[0]!), undefined);
    assert.throws(() => reader.read(one[2]!), RangeError);
    assert.equal(reader.read(one[0]!), undefined);
    assert.throws(() => reader.read(two[1]!), RangeError);
    assert.throws(() => reader.read(one[0]!.slice(0, 2_000)), RangeError);
    const other = Buffer.from(one[0]!, "base64");
    other[0] = wireVersion + 1;
    assert.throws(() => reader.read(other.toString("base64")), /version 2, not 1/);
    assert.throws(() => reader.read(""), RangeError);
    for (const payload of one.slice(0, -1)) assert.equal(reader.read(payload), undefined);
    assert.deepEqual(reader.read(one.at(-1)!)?.commits, batch.commits);
  });

  it("never makes the reader fail in another way, whatever arrives", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const message = Buffer.from([wireVersion, 0, ...bytes]).toString("base64");
        try {
          new BatchReader().read(message);
        } catch (error) {
          assert.ok(error instanceof RangeError);
        }
      }),
      { numRuns: 500 },
    );
  });
});
