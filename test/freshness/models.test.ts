// The protocol of docs/change-feed.md in every order of events, rule by rule: what holds, and what looks right and does not. Each model is
// a file in models/; docs/freshness-proof.md tells what they leave out.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import * as continuity from "./models/continuity.ts";
import { type System, explore } from "./models/explore.ts";
import { followingSystem } from "./models/following.ts";
import * as marks from "./models/marks.ts";
import { schemaChangeSystem } from "./models/schema-change.ts";
import { byXmin } from "./models/transactions.ts";

/** The number of states is part of what is expected where a rule holds: a model that lost half of them would hold as well. */
type Expected = "violated" | { readonly states: number };

function check<State>(name: string, system: System<State>, expected: Expected): void {
  test(`${name}: ${expected === "violated" ? "a stale answer is served" : "holds"}`, (t) => {
    const { holds, states, served, refused, steps } = explore(system);
    t.diagnostic(`${states} states, ${served} served, ${refused} refused${steps.map((step) => `\n  ${step}`).join("")}`);
    if (expected === "violated") {
      assert.equal(holds, false);
      assert.ok(steps.includes("the fill stores") && steps.some((step) => step.endsWith("is in the log")));
    } else {
      assert.equal(holds, true, steps.join("\n"));
      assert.ok(served > 0 && refused > 0);
      assert.equal(states, expected.states);
    }
  });
}

const checkMarks = (name: string, changes: Partial<marks.Protocol>, expected: Expected) =>
  check(name, marks.marksSystem({ ...marks.soundProtocol, ...changes }), expected);

const onStandby = { readsFrom: "standby", sees: byXmin } as const;
const fromTable = { source: "log table" } as const;

suite("within the bound: what was acknowledged before the newest passed mark was asked for", () => {
  checkMarks("logical decoding", {}, { states: 16_576 });
  checkMarks("read from a standby", onStandby, { states: 54_252 });
  checkMarks("filled in one process and served in another", { processes: 2 }, { states: 61_764 });
  checkMarks("log table, the position read before the snapshot", fromTable, { states: 105_613 });
  checkMarks("log table, the position read after the snapshot", { ...fromTable, position: "after snapshot" }, "violated");
  checkMarks("log table, a mark that is a position and no record", { ...fromTable, mark: "read" }, "violated");
  checkMarks("log table, a number never comes twice", { ...fromTable, writers: 1, rounds: 3 }, { states: 2_245 });
  const repeats = { ...fromTable, writers: 1, rounds: 3, repeatsNumbers: true };
  checkMarks("log table, rows under the number of the batch before when the position has not moved", repeats, "violated");
});

suite("own writes, from when they are acknowledged", () => {
  const own = { ownWrites: true } as const;
  checkMarks("entries filled from a sample after the write are served, others wait for the mark", own, { states: 16_576 });
  checkMarks("the same by the end of the fill instead of its sample", { ...own, ownFill: "by end" }, "violated");
  checkMarks(
    "a mark that was under way counts for a write acknowledged meanwhile",
    { ...own, covers: "when answered" },
    "violated",
  );
  checkMarks("logical decoding, a position instead of a mark", { ...own, mark: "read" }, { states: 12_652 });
  checkMarks("log table", { ...own, ...fromTable }, { states: 105_613 });
  checkMarks("log table, a position instead of a mark", { ...own, ...fromTable, mark: "read" }, "violated");
  checkMarks("from a standby, all entries wait for the mark", { ...own, ...onStandby, ownFill: "refused" }, { states: 54_252 });
  checkMarks("from a standby, entries filled after the write are served", { ...own, ...onStandby }, "violated");
});

suite("with the token of another process", () => {
  const token = { processes: 2, marksBy: "writer" } as const;
  checkMarks("logical decoding", token, { states: 61_764 });
  checkMarks("logical decoding, from a standby", { ...token, ...onStandby }, { states: 204_980 });
  checkMarks("log table, an entry reflects whole batches", { ...token, ...fromTable }, { states: 258_724 });
  const lessOne = { ...token, ...fromTable, upTo: "number less one" } as const;
  checkMarks("log table, an entry reflects all below the first number that it misses something of", lessOne, "violated");
});

const checkContinuity = (name: string, changes: Partial<continuity.Protocol>, expected: Expected) =>
  check(name, continuity.continuitySystem({ ...continuity.soundProtocol, ...changes }), expected);

suite("when the elected process dies, with a message of its own still to come", () => {
  const takeover = { takeovers: 1 } as const;
  checkContinuity("the next begins where the source was told", takeover, { states: 14_970 });
  checkContinuity(
    "the source is told too early, but listeners compare positions",
    { ...takeover, confirms: "before sending" },
    { states: 18_735 },
  );
  checkContinuity(
    "the source is told too early, and nobody compares",
    { ...takeover, confirms: "before sending", gap: "ignored" },
    "violated",
  );
  const elsewhere = { ...takeover, cuts: 1, processes: 2 } as const;
  checkContinuity("while a listener connects again", { ...elsewhere, writers: 1 }, { states: 2_268 });
  checkContinuity(
    "the next reads where it continues before the source is its own",
    { ...elsewhere, bystander: true, prevRead: "before" },
    "violated",
  );
});

suite("when a process loses its connection and misses messages", () => {
  const cut = { cuts: 1 } as const;
  checkContinuity("floor and horizon", cut, { states: 6_568 });
  checkContinuity("the floor alone", { ...cut, gap: "floor" }, "violated");
  checkContinuity("taking no note of it", { ...cut, gap: "ignored" }, "violated");
  checkContinuity("a horizon that is the xmax of a snapshot", { ...cut, horizon: "xmax of a snapshot" }, "violated");
  const inherits = { ...cut, processes: 2, bystander: true } as const;
  checkContinuity(
    "it takes versions that another left, if they reach what it hears",
    { ...inherits, dump: "reaching" },
    { states: 89_140 },
  );
  checkContinuity("it takes versions that another left, however old", { ...inherits, dump: "any" }, "violated");
});

suite("when the source is lost", () => {
  const loss = { losses: 1 } as const;
  checkContinuity("a new generation with a horizon", loss, { states: 19_289 });
  checkContinuity("filled in one process and served in another", { ...loss, processes: 2 }, { states: 112_132 });
  checkContinuity("a horizon that is the xmax of a snapshot", { ...loss, horizon: "xmax of a snapshot" }, "violated");
  checkContinuity("a horizon read before the new source begins", { ...loss, horizonRead: "before" }, "violated");
});

suite("when a table or a column begins to be followed", () => {
  const sound = { follows: "a column", locks: true, from: "reflects it" } as const;
  check("a column, for entries that reflect it", followingSystem(sound), { states: 3_825 });
  check("a column, for whatever ends later", followingSystem({ ...sound, from: "knows of it" }), "violated");
  check("a column, without a lock", followingSystem({ ...sound, locks: false }), "violated");
  check("a table, for entries that reflect it", followingSystem({ ...sound, follows: "a table" }), { states: 3_133 });
  check("a table, for whatever ends later", followingSystem({ ...sound, follows: "a table", from: "knows of it" }), "violated");
  check("a table, without a lock", followingSystem({ ...sound, follows: "a table", locks: false }), "violated");
});

suite("when the schema changes under a fill", () => {
  const sound = { caps: true, looks: true, ownWrite: false } as const;
  check("it caps open fills, and the catalogue is loaded by who sees it", schemaChangeSystem(sound), { states: 4_135 });
  check("it caps nothing", schemaChangeSystem({ ...sound, caps: false }), "violated");
  check("the catalogue is loaded by whom it may", schemaChangeSystem({ ...sound, looks: false }), "violated");
  // A limit that docs/freshness-proof.md states, not a rule that could be taken.
  check(
    "an own write to what a view reads since a change that was not heard of yet",
    schemaChangeSystem({ ...sound, ownWrite: true }),
    "violated",
  );
});
