// Following a table or a column from some commit on: from when may an entry depend on what the feed only names since then? The first
// transaction follows, the others write the row that the entry was made from.

import type { Judgement, System } from "./explore.ts";
import {
  type Snapshot,
  type Transactions,
  bit,
  byList,
  includes,
  noTransactions,
  snapshotOf,
  those,
  transactionSteps,
  visibleOn,
} from "./transactions.ts";

interface Fill {
  readonly snapshot: Snapshot;
  readonly saw: number;
  readonly hasQueried: boolean;
}

export interface State extends Transactions {
  readonly log: readonly number[];
  readonly applied: number;
  /** Writers that wrote after it was followed: the feed names the row for them. */
  readonly captured: number;
  readonly fill: Fill | undefined;
  readonly isFilled: boolean;
  readonly entry: { readonly upTo: number; readonly saw: number; readonly on: "row" | "table" } | undefined;
}

export interface Protocol {
  /** A column of a table that is followed already, or a table: until then its writes are in no message. */
  readonly follows: "a column" | "a table";
  /** No writer is half-way while the following transaction runs: LOCK TABLE … IN SHARE ROW EXCLUSIVE MODE. */
  readonly locks: boolean;
  /** When an entry may depend on it: if it reflects the following commit, or as soon as that commit is known when the fill ends. */
  readonly from: "reflects it" | "knows of it";
}

const follower = bit(0);
const writers = 3;

function entryOf({ log, applied, captured, xids }: State, fill: Fill, protocol: Protocol): State["entry"] {
  const heard = log.slice(0, applied);
  const isHeard = (writer: number) => protocol.follows === "a column" || ((captured | follower) & bit(writer)) !== 0;
  const missed = heard.findIndex((writer) => isHeard(writer) && !byList(fill.snapshot, xids[writer]!));
  const upTo = missed === -1 ? applied : missed;
  const number = heard.indexOf(0) + 1;
  const isUsable = number > 0 && (protocol.from === "knows of it" || upTo >= number);
  if (!isUsable && protocol.follows === "a table") return undefined;
  return { upTo, saw: fill.saw, on: isUsable ? "row" : "table" };
}

function* steps(state: State, protocol: Protocol): Generator<readonly [string, State]> {
  const half = those(state, "begun", "logged");
  for (const { what, writer, phase, after } of transactionSteps(state, { atOnce: true, alike: false })) {
    if (phase === "begun" && protocol.locks && (writer === 0 ? half !== 0 : (half & follower) !== 0)) continue;
    const isCaptured = phase === "begun" && writer > 0 && (visibleOn(state) & follower) !== 0;
    const captured = isCaptured ? state.captured | bit(writer) : state.captured;
    const name = writer === 0 ? what.replace("transaction 1", "the transaction that follows") : what;
    yield [name, { ...state, ...after, captured, log: phase === "logged" ? [...state.log, writer] : state.log }];
  }
  if (state.applied < state.log.length) yield ["the process applies a commit", { ...state, applied: state.applied + 1 }];
  const { fill } = state;
  if (state.isFilled) return;
  if (!fill) {
    yield ["the fill takes its snapshot", { ...state, fill: { snapshot: snapshotOf(state), saw: 0, hasQueried: false } }];
  } else if (!fill.hasQueried) {
    yield ["the fill queries", { ...state, fill: { ...fill, saw: visibleOn(state), hasQueried: true } }];
  } else {
    yield ["the fill stores", { ...state, fill: undefined, isFilled: true, entry: entryOf(state, fill, protocol) }];
  }
}

function judge({ entry, isFilled, log, applied, captured }: State, { follows }: Protocol): Judgement {
  if (!entry) return { served: 0, refused: isFilled ? 1 : 0, stale: false };
  const names = (writer: number) =>
    writer > 0 && ((captured & bit(writer)) !== 0 || (entry.on === "table" && follows === "a column"));
  const heard = log.slice(0, applied);
  if (heard.some((writer, place) => names(writer) && place + 1 > entry.upTo)) return { served: 0, refused: 1, stale: false };
  const written = heard.reduce((set, writer) => (writer > 0 ? set | bit(writer) : set), 0);
  return { served: 1, refused: 0, stale: !includes(entry.saw, written) };
}

export function followingSystem(protocol: Protocol): System<State> {
  return {
    initial: { ...noTransactions(writers), log: [], applied: 0, captured: 0, fill: undefined, isFilled: false, entry: undefined },
    steps: (state) => steps(state, protocol),
    judge: (state) => judge(state, protocol),
  };
}
