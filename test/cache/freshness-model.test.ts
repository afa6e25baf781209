// Which ways to keep a cache fresh hold in every order of events, and which do not: freshness-model.ts is the model.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { type Protocol, type Snapshot, beforeFirstInvisible, explore } from "./freshness-model.ts";

const byList = ({ xmax, xip }: Snapshot, xid: number) => xid < xmax && !xip.includes(xid);
const byXmin = ({ xmin }: Snapshot, xid: number) => xid < xmin;

const onPrimary = { readsFrom: "primary", processes: 1 } as const;
const onStandby = { readsFrom: "standby", processes: 1 } as const;

interface Case {
  readonly name: string;
  readonly transactions: number;
  readonly protocol: Protocol;
  /** The number of states is part of what is expected where the rule holds: a model that lost half of them would hold as well. */
  readonly expect: "violated" | { readonly states: number };
}

const protocols: readonly Case[] = [
  {
    name: "the entry is deleted when a write arrives, and a fill stores whatever it read",
    transactions: 3,
    protocol: { ...onPrimary, deletes: true, upTo: () => 0 },
    expect: "violated",
  },
  {
    name: "an entry goes by how far the feed was when its fill started",
    transactions: 3,
    protocol: { ...onPrimary, upTo: (_, { appliedAtStart }) => appliedAtStart },
    expect: "violated",
  },
  {
    name: "an entry goes by the end of the log before its query",
    transactions: 3,
    protocol: { ...onPrimary, upTo: (_, { loggedAtStart }) => loggedAtStart },
    expect: "violated",
  },
  {
    name: "an entry goes by the first commit that its snapshot does not see",
    transactions: 3,
    protocol: { ...onPrimary, upTo: beforeFirstInvisible(byList) },
    expect: { states: 94_594 },
  },
  {
    name: "the same on a standby, whose snapshots do not list what is running",
    transactions: 3,
    protocol: { ...onStandby, upTo: beforeFirstInvisible(byList) },
    expect: "violated",
  },
  {
    name: "on a standby, where only what is below xmin counts as seen",
    transactions: 3,
    protocol: { ...onStandby, upTo: beforeFirstInvisible(byXmin) },
    expect: { states: 287_104 },
  },
  {
    name: "filled in one process and served in another",
    transactions: 2,
    protocol: { readsFrom: "primary", processes: 2, upTo: beforeFirstInvisible(byList) },
    expect: { states: 4_424 },
  },
  {
    name: "filled in one process from a standby and served in another",
    transactions: 2,
    protocol: { readsFrom: "standby", processes: 2, upTo: beforeFirstInvisible(byXmin) },
    expect: { states: 11_820 },
  },
];

/** The snapshot rule, and only for fills whose snapshot sees everything that was under way when the generation started. */
const beyondHorizon =
  (sees: typeof byList): Protocol["upTo"] =>
  (state, fill) =>
    fill.snapshot.xmin >= state.horizon ? beforeFirstInvisible(sees)(state, fill) : undefined;

const losses: readonly Case[] = [
  {
    name: "going on with empty versions",
    transactions: 2,
    protocol: {
      ...onPrimary,
      upTo: beforeFirstInvisible(byList),
      loss: { startsGeneration: false, entryGeneration: "at snapshot" },
    },
    expect: "violated",
  },
  {
    name: "a new generation, and an entry belongs to the one in which it is stored",
    transactions: 2,
    protocol: { ...onPrimary, upTo: beforeFirstInvisible(byList), loss: { startsGeneration: true, entryGeneration: "at store" } },
    expect: "violated",
  },
  {
    name: "a new generation, and an entry belongs to the one in which its snapshot was taken",
    transactions: 2,
    protocol: {
      ...onPrimary,
      upTo: beforeFirstInvisible(byList),
      loss: { startsGeneration: true, entryGeneration: "at snapshot" },
    },
    expect: "violated",
  },
  {
    name: "the same, and no entry is kept whose snapshot's xmin is below the next xid of when the generation started",
    transactions: 2,
    protocol: { ...onPrimary, upTo: beyondHorizon(byList), loss: { startsGeneration: true, entryGeneration: "at snapshot" } },
    expect: { states: 9_451 },
  },
  {
    name: "the same on a standby",
    transactions: 2,
    protocol: { ...onStandby, upTo: beyondHorizon(byXmin), loss: { startsGeneration: true, entryGeneration: "at snapshot" } },
    expect: { states: 25_201 },
  },
];

const ownWrites: readonly Case[] = [
  {
    name: "waiting for the feed",
    transactions: 2,
    protocol: { ...onPrimary, upTo: beforeFirstInvisible(byList), ownWrites: { refuses: () => false } },
    expect: "violated",
  },
  {
    name: "refusing entries whose snapshot does not see a write that the feed has not brought yet",
    transactions: 3,
    protocol: {
      ...onPrimary,
      upTo: beforeFirstInvisible(byList),
      ownWrites: { refuses: (snapshot, xid) => !byList(snapshot, xid) },
    },
    expect: { states: 101_920 },
  },
  {
    name: "the same on a standby",
    transactions: 2,
    protocol: {
      ...onStandby,
      upTo: beforeFirstInvisible(byXmin),
      ownWrites: { refuses: (snapshot, xid) => !byXmin(snapshot, xid) },
    },
    expect: { states: 4_352 },
  },
];

function check({ name, transactions, protocol, expect }: Case): void {
  test(`${name}: ${expect === "violated" ? "a stale answer is served" : "holds"}`, (t) => {
    const { holds, states, served, refused, steps } = explore(transactions, protocol);
    t.diagnostic(`${states} states, ${served} served, ${refused} refused${steps.map((step) => `\n  ${step}`).join("")}`);
    if (expect === "violated") {
      assert.equal(holds, false);
      assert.ok(steps.includes("the fill stores") && steps.some((step) => step.endsWith("is in the log")));
    } else {
      assert.equal(holds, true, steps.join("\n"));
      assert.ok(served > 0 && refused > 0);
      assert.equal(states, expect.states);
    }
  });
}

suite("in every order of events", () => {
  for (const each of protocols) check(each);
});

suite("in every order of events, when the versions are lost once", () => {
  for (const each of losses) check(each);
});

suite("in every order of events, for a process that writes itself", () => {
  for (const each of ownWrites) check(each);
});
