// The cache against what must never happen, in random orders of requests, writes, their late delivery, tokens, silence, time, and fills
// that end well, badly or late: nobody is given less than they have been promised. And flaws in the ledger are found.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { type Coverage, type Flaw, play, steps } from "./cache-model.ts";

const none = (): Coverage => ({ served: 0, hits: 0, notJoined: 0, refused: {} });

const property = (isShared: boolean, coverage: Coverage, flaw?: Flaw) =>
  fc.asyncProperty(steps, (played) => play(played, isShared, coverage, flaw));

suite("nobody is given less than they have been promised", () => {
  for (const isShared of [false, true]) {
    test(isShared ? "in two processes over one store" : "in one process", async () => {
      const coverage = none();
      await fc.assert(property(isShared, coverage), { numRuns: 200, seed: 7 });
      const { served, hits, notJoined, refused } = coverage;
      const counts = [served, hits, notJoined, refused.written, refused["own-write"], refused["feed-silent"], refused.token];
      const least = [1_000, 100, 20, 100, 20, 20, isShared ? 10 : 0];
      for (const [i, count] of counts.entries()) assert.ok((count ?? 0) >= least[i]!, JSON.stringify(coverage));
    });
  }

  for (const flaw of ["stamped at the end", "own writes forgotten", "tokens ignored", "once fit, always fit"] as const) {
    test(`a ledger with a flaw is found out: ${flaw}`, async () => {
      const { failed, errorInstance } = await fc.check(property(true, none(), flaw), {
        numRuns: 2_000,
        seed: 11,
        endOnFailure: true,
      });
      assert.ok(failed);
      assert.match(String(errorInstance), /must be seen/);
    });
  }
});
