// The promise as readers get it: own writes at once, everybody's within the bound, and what a token names. Marks in the log decide when
// the feed is far enough; this model asks which kinds of marks, numbers and sources keep the promise.

import type { System } from "./explore.ts";
import {
  type Sees,
  type Snapshot,
  type Transactions,
  bit,
  includes,
  noTransactions,
  snapshotOf,
  those,
  transactionSteps,
  visibleOn,
} from "./transactions.ts";

/** A mark: everything that was acknowledged when it was asked for lies before it. */
interface Mark {
  readonly state: "unsent" | "sent" | "placed" | "answered";
  /** The writers whose acknowledgement it counts for. */
  readonly covers: number;
  /** Its place in the log. */
  readonly at: number;
}

/** What the feed tells: the commits of `writers`, all under the number `upTo`. */
interface Batch {
  readonly upTo: number;
  readonly writers: number;
}

interface Fill {
  readonly snapshot: Snapshot;
  /** What had been acknowledged to the process when it sampled: the order of its own writes and its fills. */
  readonly acknowledged: number;
  readonly saw: number;
  readonly hasQueried: boolean;
}

interface Entry {
  readonly upTo: number;
  readonly acknowledged: number;
  readonly saw: number;
}

export interface State extends Transactions {
  /** Writers, or -1 for a mark. A place in it counts from 1; it is the number of a commit and the position of a mark. */
  readonly log: readonly number[];
  readonly marks: readonly Mark[];
  /** What a log table's relay has published, and the position that it has read for its next round. */
  readonly batches: readonly Batch[];
  readonly polling: { readonly position: number; readonly sees: number | undefined } | undefined;
  /** Batches applied by the process that fills and by the one that serves. */
  readonly applied: readonly [filler: number, server: number];
  /** Commits that a standby has replayed, in the log's order. */
  readonly replayed: number;
  readonly fill: Fill | undefined;
  readonly isFilled: boolean;
  readonly entry: Entry | undefined;
}

export interface Protocol {
  readonly writers: number;
  /** With a log table, transactions are acknowledged when they are visible, to keep the number of states small. */
  readonly source: "logical decoding" | "log table";
  readonly readsFrom: "primary" | "standby";
  readonly sees: Sees;
  /** One process fills and another serves; otherwise they are one. */
  readonly processes: 1 | 2;
  /** The writers are of the serving process itself. */
  readonly ownWrites: boolean;
  readonly marks: number;
  /** The serving process's marks say how far the feed is; a writing process's are tokens that its clients carry to the serving one. */
  readonly marksBy: "server" | "writer";
  /** A mark is a record of its own in the log, or the position at which the log ended when it was asked for. */
  readonly mark: "written" | "read";
  /** What a mark counts for: what was acknowledged when it was asked for, or when its number has come back. */
  readonly covers: "when asked" | "when answered";
  /** When an entry filled here may be served though an own write is pending: never, or if the write came before its sample, or its end. */
  readonly ownFill: "refused" | "by sample" | "by end";
  /** Rounds of a log table's relay that publish. */
  readonly rounds: number;
  /** The relay of a log table: reads the position before its snapshot, or after it. */
  readonly position: "before snapshot" | "after snapshot";
  /** It publishes rows also under the number of its last batch, when the position has not moved. */
  readonly repeatsNumbers: boolean;
  /** What an entry reflects when its snapshot misses something of a batch: the batch before, or the batch's number less one. */
  readonly upTo: "batch before" | "number less one";
}

export const soundProtocol: Protocol = {
  writers: 2,
  source: "logical decoding",
  readsFrom: "primary",
  sees: ({ xmax, xip }, xid) => xid < xmax && !xip.includes(xid),
  processes: 1,
  ownWrites: false,
  marks: 1,
  marksBy: "server",
  mark: "written",
  covers: "when asked",
  ownFill: "by sample",
  rounds: 2,
  position: "before snapshot",
  repeatsNumbers: false,
  upTo: "batch before",
};

/** What stands in the feed: for logical decoding the log itself. */
const batchesOf = (state: State, { source }: Protocol): readonly Batch[] =>
  source === "log table"
    ? state.batches
    : state.log.map((writer, place) => ({ upTo: place + 1, writers: writer < 0 ? 0 : bit(writer) }));

const replayedOn = (state: State, { readsFrom }: Protocol): number | undefined =>
  readsFrom === "primary" ? undefined : state.log.slice(0, state.replayed).reduce((set, w) => (w < 0 ? set : set | bit(w)), 0);

function entryOf(state: State, fill: Fill, protocol: Protocol): Entry {
  let upTo = 0;
  for (const batch of batchesOf(state, protocol).slice(0, state.applied[0])) {
    const misses = state.xids.some((xid, writer) => batch.writers & bit(writer) && !protocol.sees(fill.snapshot, xid));
    if (misses) {
      if (protocol.upTo === "number less one") upTo = batch.upTo - 1;
      break;
    }
    ({ upTo } = batch);
  }
  return { upTo, acknowledged: fill.acknowledged, saw: fill.saw };
}

/** The relay's rounds. */
function* pollSteps(state: State, protocol: Protocol): Generator<readonly [string, State]> {
  const { polling, batches, log } = state;
  const published = batches.reduce((set, batch) => set | batch.writers, 0);
  const last = batches.at(-1)?.upTo ?? 0;
  const publish = (position: number, sees: number): State => {
    const writers = sees & ~published;
    return { ...state, polling: undefined, batches: [...batches, { upTo: position, writers }] };
  };
  const visible = visibleOn(state);
  if (!polling && batches.length >= protocol.rounds) return;
  const isNews = log.length > last || (visible & ~published) !== 0;
  if (protocol.position === "before snapshot") {
    if (!polling && isNews)
      yield ["the relay reads the position", { ...state, polling: { position: log.length, sees: undefined } }];
    if (polling && (polling.position > last || (protocol.repeatsNumbers && (visible & ~published) !== 0))) {
      yield ["the relay takes its snapshot and publishes", publish(polling.position, visible)];
    } else if (polling && log.length > last) yield ["the relay begins again", { ...state, polling: undefined }];
  } else {
    if (!polling && isNews) yield ["the relay takes its snapshot", { ...state, polling: { position: 0, sees: visible } }];
    if (polling && log.length > last) yield ["the relay reads the position and publishes", publish(log.length, polling.sees!)];
  }
}

function* markSteps(state: State, protocol: Protocol): Generator<readonly [string, State]> {
  for (const [i, mark] of state.marks.entries()) {
    if (mark.state === "unsent" && (i === 0 || state.marks[i - 1]!.state === "answered")) {
      const sent: Mark = { state: "sent", covers: those(state, "acknowledged"), at: 0 };
      yield [`mark ${i + 1} is asked for`, { ...state, marks: state.marks.with(i, sent) }];
    }
    if (mark.state === "sent") {
      const log = protocol.mark === "written" ? [...state.log, -1] : state.log;
      yield [
        protocol.mark === "written" ? `mark ${i + 1} is written` : `the position is read as mark ${i + 1}`,
        { ...state, log, marks: state.marks.with(i, { ...mark, state: "placed", at: log.length }) },
      ];
    }
    if (mark.state === "placed") {
      const covers = protocol.covers === "when asked" ? mark.covers : those(state, "acknowledged");
      yield [`mark ${i + 1} is answered`, { ...state, marks: state.marks.with(i, { ...mark, state: "answered", covers }) }];
    }
  }
}

function* fillSteps(state: State, protocol: Protocol): Generator<readonly [string, State]> {
  const { fill } = state;
  if (state.isFilled) return;
  const replayed = replayedOn(state, protocol);
  const acknowledged = those(state, "acknowledged");
  if (!fill) {
    const snapshot = snapshotOf(state, replayed);
    yield ["the fill takes its snapshot", { ...state, fill: { snapshot, acknowledged, saw: 0, hasQueried: false } }];
  } else if (!fill.hasQueried) {
    const saw = visibleOn(state, replayed);
    yield ["the fill queries", { ...state, fill: { ...fill, saw, hasQueried: true } }];
  } else {
    const ended = protocol.ownFill === "by end" ? { ...fill, acknowledged } : fill;
    yield ["the fill stores", { ...state, fill: undefined, isFilled: true, entry: entryOf(state, ended, protocol) }];
  }
}

/** The number of the newest batch with rows that the serving process has applied. */
const versionOf = (batches: readonly Batch[]): number =>
  Math.max(0, ...batches.filter((batch) => batch.writers !== 0).map((batch) => batch.upTo));

function* steps(state: State, protocol: Protocol): Generator<readonly [string, State]> {
  // Versions only grow: what is refused for them stays refused.
  if (state.entry && versionOf(batchesOf(state, protocol).slice(0, state.applied[1])) > state.entry.upTo) return;
  for (const { what, writer, phase, after } of transactionSteps(state, { atOnce: protocol.source === "log table" })) {
    yield [what, { ...state, ...after, log: phase === "logged" ? [...state.log, writer] : state.log }];
  }
  yield* markSteps(state, protocol);
  if (protocol.source === "log table") yield* pollSteps(state, protocol);
  const batches = batchesOf(state, protocol).length;
  const [filler, server] = state.applied;
  if (protocol.processes === 1) {
    if (filler < batches) yield ["the process applies a batch", { ...state, applied: [filler + 1, filler + 1] }];
  } else {
    if (filler < batches) yield ["the filling process applies a batch", { ...state, applied: [filler + 1, server] }];
    if (server < batches) yield ["the serving process applies a batch", { ...state, applied: [filler, server + 1] }];
  }
  if (protocol.readsFrom === "standby" && state.replayed < state.log.length) {
    yield ["the standby replays a record", { ...state, replayed: state.replayed + 1 }];
  }
  yield* fillSteps(state, protocol);
}

/** What each kind of reader may be served, and what it was promised. */
function judge(state: State, protocol: Protocol): { served: number; refused: number; stale: boolean } {
  const { entry } = state;
  if (!entry) return { served: 0, refused: 0, stale: false };
  const batches = batchesOf(state, protocol).slice(0, state.applied[1]);
  const upTo = batches.at(-1)?.upTo ?? 0;
  if (versionOf(batches) > entry.upTo) return { served: 0, refused: 1, stale: false };
  const answered = state.marks.filter((mark) => mark.state === "answered");
  if (protocol.marksBy === "writer") {
    const readers = answered.map((mark) => ({
      isServed: entry.upTo >= mark.at || upTo >= mark.at,
      isStale: !includes(entry.saw, mark.covers),
    }));
    const served = readers.filter((reader) => reader.isServed);
    return { served: served.length, refused: readers.length - served.length, stale: served.some((reader) => reader.isStale) };
  }
  const asOf = answered.filter((mark) => upTo >= mark.at).reduce((set, mark) => set | mark.covers, 0);
  const own = protocol.ownWrites ? those(state, "acknowledged") : 0;
  const pending = own & ~asOf;
  const isFilledAfter = protocol.ownFill !== "refused" && protocol.processes === 1 && includes(entry.acknowledged, pending);
  if (pending !== 0 && !isFilledAfter) return { served: 0, refused: 1, stale: false };
  return { served: 1, refused: 0, stale: !includes(entry.saw, asOf | own) };
}

export function marksSystem(protocol: Protocol): System<State> {
  return {
    initial: {
      ...noTransactions(protocol.writers),
      log: [],
      marks: Array.from({ length: protocol.marks }, (): Mark => ({ state: "unsent", covers: 0, at: 0 })),
      batches: [],
      polling: undefined,
      applied: [0, 0],
      replayed: 0,
      fill: undefined,
      isFilled: false,
      entry: undefined,
    },
    steps: (state) => steps(state, protocol),
    judge: (state) => judge(state, protocol),
  };
}
