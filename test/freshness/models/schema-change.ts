// A change of schema while fills run: what a statement reads is found out from a copy of the catalogue, and the copy may be older than
// the statement's answer. The first transaction makes a view read another table; the second writes to that one.

import type { Judgement, System } from "./explore.ts";
import {
  type Snapshot,
  type Transactions,
  bit,
  byList,
  noTransactions,
  snapshotOf,
  those,
  transactionSteps,
  visibleOn,
} from "./transactions.ts";

interface Fill {
  readonly snapshot: Snapshot;
  /** Found out when it began. */
  readonly dependsOn: "old table" | "new table";
  /** The last number that it may be said to reflect. */
  readonly cap: number;
  /** What had been acknowledged to this process when it sampled. */
  readonly acknowledged: number;
  readonly saw: number;
  readonly hasQueried: boolean;
}

export interface State extends Transactions {
  /** Transactions, and -1 for the mark. */
  readonly log: readonly number[];
  readonly applied: number;
  /** What was acknowledged when it was written; see marks.ts. */
  readonly mark: { readonly covers: number; readonly at: number } | undefined;
  readonly catalogue: "old" | "void" | "new";
  readonly fill: Fill | undefined;
  readonly isFilled: boolean;
  readonly entry: (Pick<Fill, "dependsOn" | "saw" | "acknowledged"> & { readonly upTo: number }) | undefined;
}

export interface Protocol {
  /** A change of schema caps what open fills may be said to reflect. */
  readonly caps: boolean;
  /** The catalogue is loaded again only by a snapshot that sees the change. */
  readonly looks: boolean;
  /** The writer is this process, and finds its write at once. */
  readonly ownWrite: boolean;
}

const change = bit(0);
const write = bit(1);
const noCap = 9;

function* steps(state: State, protocol: Protocol): Generator<readonly [string, State]> {
  const { log, applied, fill } = state;
  for (const { what, writer, phase, after } of transactionSteps(state, { atOnce: true, alike: false })) {
    const name = what.replace("transaction 1", "the change of schema").replace("transaction 2", "the write");
    yield [name, { ...state, ...after, log: phase === "logged" ? [...log, writer] : log }];
  }
  if (applied < log.length) {
    const next = { ...state, applied: applied + 1 };
    const isChange = log[applied] === 0;
    const capped = isChange && fill && protocol.caps ? { ...fill, cap: Math.min(fill.cap, applied) } : fill;
    yield ["the process applies a commit", { ...next, fill: capped, catalogue: isChange ? "void" : state.catalogue }];
  }
  const acknowledged = those(state, "acknowledged");
  if (!state.mark && acknowledged) {
    yield ["a mark is written", { ...state, log: [...log, -1], mark: { covers: acknowledged, at: log.length + 1 } }];
  }
  const seesChange = (visibleOn(state) & change) !== 0;
  if (state.catalogue === "void" && (seesChange || !protocol.looks)) {
    yield ["the catalogue is loaded again", { ...state, catalogue: seesChange ? "new" : "old" }];
  }
  if (state.isFilled) return;
  if (!fill) {
    if (state.catalogue === "void") return;
    const begun = { acknowledged, saw: 0, hasQueried: false, cap: noCap };
    const dependsOn = state.catalogue === "new" ? "new table" : "old table";
    yield ["the fill takes its snapshot", { ...state, fill: { ...begun, dependsOn, snapshot: snapshotOf(state) } }];
  } else if (!fill.hasQueried) {
    yield ["the fill queries", { ...state, fill: { ...fill, saw: visibleOn(state), hasQueried: true } }];
  } else {
    const missed = log.slice(0, applied).findIndex((writer) => writer >= 0 && !byList(fill.snapshot, state.xids[writer]!));
    const upTo = Math.min(missed === -1 ? applied : missed, fill.cap);
    const entry = { dependsOn: fill.dependsOn, saw: fill.saw, acknowledged: fill.acknowledged, upTo };
    yield ["the fill stores", { ...state, fill: undefined, isFilled: true, entry }];
  }
}

function judge(state: State, { ownWrite }: Protocol): Judgement {
  const { entry } = state;
  if (!entry) return { served: 0, refused: 0, stale: false };
  const refused = { served: 0, refused: 1, stale: false };
  const heard = state.log.slice(0, state.applied);
  const isOnNew = entry.dependsOn === "new table";
  if (heard.some((writer, place) => (writer === 0 || (writer === 1 && isOnNew)) && place + 1 > entry.upTo)) return refused;
  const known = heard.reduce((set, writer) => (writer < 0 ? set : set | bit(writer)), 0);
  const own = ownWrite ? those(state, "acknowledged") & write : 0;
  if (isOnNew && own & ~known & ~entry.acknowledged) return refused;
  // The answer is of the view as the query found it: of the old one, the change makes it stale; of the new one, the write does.
  const asOf = state.mark && state.applied >= state.mark.at ? state.mark.covers : 0;
  const matters = entry.saw & change ? write : change;
  return { served: 1, refused: 0, stale: ((asOf | own) & matters & ~entry.saw) !== 0 };
}

export function schemaChangeSystem(protocol: Protocol): System<State> {
  return {
    initial: {
      ...noTransactions(2),
      log: [],
      applied: 0,
      mark: undefined,
      catalogue: "old",
      fill: undefined,
      isFilled: false,
      entry: undefined,
    },
    steps: (state) => steps(state, protocol),
    judge: (state) => judge(state, protocol),
  };
}
