// What may happen to the feed itself: the elected process dies and another takes over, a process loses its connection and hears again
// later, the source is lost and numbering goes on in a new generation. Who reads the log, who listens, and what a listener that has
// missed something may still serve.

import type { Judgement, System } from "./explore.ts";
import {
  type Snapshot,
  type Transactions,
  bit,
  byList,
  includes,
  noTransactions,
  snapshotOf,
  transactionSteps,
  visibleOn,
} from "./transactions.ts";

/** A message of the elected process: the commits in (from, upTo], said to continue from `prev`. */
interface Message {
  readonly generation: number;
  readonly prev: number;
  readonly from: number;
  readonly upTo: number;
  /** What the elected process says no older snapshot may be kept below; 0: each listener looks for itself. */
  readonly horizon: number;
}

/** The elected process. */
interface Tailer {
  readonly position: number;
  /** What its next message says that it continues from. */
  readonly prev: number;
  /** Read from the source, not sent yet. */
  readonly hand: Message | undefined;
  /** Up to here it has sent, and up to here it has told the source so. */
  readonly notified: number;
  readonly confirmed: number;
}

interface Listener {
  readonly connected: boolean;
  readonly queue: readonly Message[];
  readonly generation: number;
  readonly applied: number;
  /** Entries that reflect less cannot be judged. */
  readonly floor: number;
  /** Fills whose snapshot has something below this still running are not kept. */
  readonly horizon: number;
  /** Writers whose commits it has been told of. */
  readonly known: number;
}

interface Fill {
  readonly snapshot: Snapshot;
  readonly generation: number;
  readonly saw: number;
  readonly hasQueried: boolean;
}

interface Entry {
  readonly generation: number;
  readonly upTo: number;
  readonly saw: number;
}

/** A listener's versions, left for those who come later. */
interface Dump {
  readonly generation: number;
  readonly applied: number;
  readonly floor: number;
  readonly known: number;
}

export interface State extends Transactions {
  /** Writers in the order of their commits; the place counts from 1. */
  readonly log: readonly number[];
  readonly generation: number;
  readonly tailer: Tailer;
  /** What a former elected process still has in hand. */
  readonly former: Message | undefined;
  /** Where the next elected process will say that it continues, when that was read before it took over. */
  readonly successorPrev: number | undefined;
  /** The horizon of the next generation, when it was read before the new source began. */
  readonly nextHorizon: number | undefined;
  /** The first fills, the last serves. */
  readonly listeners: readonly Listener[];
  readonly left: { readonly takeovers: number; readonly losses: number; readonly cuts: number };
  readonly dump: Dump | undefined;
  readonly fill: Fill | undefined;
  readonly isFilled: boolean;
  readonly entry: Entry | undefined;
}

export interface Protocol {
  readonly writers: number;
  /** The last writer writes something else: the feed brings its commits, and the entry does not depend on them. */
  readonly bystander: boolean;
  /** One process fills and another serves; otherwise they are one. */
  readonly processes: 1 | 2;
  readonly takeovers: number;
  readonly losses: number;
  /** Connections of the serving process that are lost, and made again later. */
  readonly cuts: number;
  /** The source is told after the message was sent, or before. */
  readonly confirms: "after sending" | "before sending";
  /** When the next elected process reads where it continues: once the source is its own, or before. */
  readonly prevRead: "as owner" | "before";
  /** What a listener does with a message that does not continue what it has. */
  readonly gap: "floor and horizon" | "floor" | "ignored";
  /** What is taken as "every xid that was under way". */
  readonly horizon: "next xid" | "xmax of a snapshot";
  readonly horizonRead: "after the source began" | "before";
  /** What is taken of versions that another process has left: only such as reach the first message heard, or any; undefined: none. */
  readonly dump: "reaching" | "any" | undefined;
}

export const soundProtocol: Protocol = {
  writers: 2,
  bystander: false,
  processes: 1,
  takeovers: 0,
  losses: 0,
  cuts: 0,
  confirms: "after sending",
  prevRead: "as owner",
  gap: "floor and horizon",
  horizon: "next xid",
  horizonRead: "after the source began",
  dump: undefined,
};

const horizonNow = (state: State, { horizon }: Protocol): number =>
  horizon === "next xid" ? state.nextXid : snapshotOf(state).xmax;

const writersIn = (log: readonly number[], from: number, upTo: number): number =>
  log.slice(from, upTo).reduce((set, writer) => set | bit(writer), 0);

function hear(state: State, listener: Listener, message: Message, protocol: Protocol): Listener {
  const { generation, prev, from, upTo } = message;
  const known = writersIn(state.log, from, upTo);
  if (generation < listener.generation) return listener;
  if (generation > listener.generation) {
    const horizon = message.horizon || horizonNow(state, protocol);
    return { ...listener, generation, applied: upTo, floor: prev, horizon, known };
  }
  const both = { known: listener.known | known, applied: Math.max(listener.applied, upTo) };
  if (prev <= listener.applied || protocol.gap === "ignored") return { ...listener, ...both };
  return { ...listener, ...both, floor: prev, ...(protocol.gap === "floor" ? {} : { horizon: horizonNow(state, protocol) }) };
}

const send = (state: State, message: Message): readonly Listener[] =>
  state.listeners.map((each) => (each.connected ? { ...each, queue: [...each.queue, message] } : each));

function* sourceSteps(state: State, protocol: Protocol): Generator<readonly [string, State]> {
  const { tailer, log, left, generation } = state;
  const { hand } = tailer;
  if (!hand && tailer.position < log.length) {
    const upTo = tailer.position + 1;
    const read: Message = { generation, prev: tailer.prev, from: tailer.position, upTo, horizon: 0 };
    yield ["the elected process reads a commit", { ...state, tailer: { ...tailer, position: upTo, prev: upTo, hand: read } }];
  }
  if (hand) {
    const sent = { ...tailer, hand: undefined, notified: hand.upTo };
    yield ["it sends what it has read", { ...state, tailer: sent, listeners: send(state, hand) }];
  }
  const mayConfirm = protocol.confirms === "after sending" ? tailer.notified : tailer.position;
  if (tailer.confirmed < mayConfirm) yield ["it tells the source", { ...state, tailer: { ...tailer, confirmed: mayConfirm } }];
  if (left.takeovers > 0) {
    if (protocol.prevRead === "before" && state.successorPrev === undefined) {
      yield ["the next elected process reads where it will continue", { ...state, successorPrev: tailer.confirmed }];
    } else {
      const position = tailer.confirmed;
      const next: Tailer = {
        position,
        prev: state.successorPrev ?? position,
        hand: undefined,
        notified: position,
        confirmed: position,
      };
      const after = { tailer: next, former: hand, successorPrev: undefined, left: { ...left, takeovers: left.takeovers - 1 } };
      yield ["another process takes over", { ...state, ...after }];
    }
  }
  if (state.former) {
    yield ["the former elected process wakes and sends", { ...state, former: undefined, listeners: send(state, state.former) }];
  }
  if (left.losses > 0) {
    if (protocol.horizonRead === "before" && state.nextHorizon === undefined) {
      yield ["the horizon is read", { ...state, nextHorizon: horizonNow(state, protocol) }];
    } else {
      // A new source begins at the end of the log: what it has not sent until then is in no message.
      const at = log.length;
      const start = { generation: generation + 1, prev: at, from: at, upTo: at, horizon: state.nextHorizon ?? 0 };
      const next: Tailer = { position: at, prev: at, hand: start, notified: at, confirmed: at };
      const after = { generation: generation + 1, tailer: next, former: hand, nextHorizon: undefined };
      yield ["the source is lost, a new one begins", { ...state, ...after, left: { ...left, losses: left.losses - 1 } }];
    }
  }
}

function* listenerSteps(state: State, protocol: Protocol): Generator<readonly [string, State]> {
  const { listeners, left, dump } = state;
  const last = listeners.length - 1;
  for (const [i, listener] of listeners.entries()) {
    const who = last === 0 ? "the process" : i === last ? "the serving process" : "the filling process";
    const set = (next: Listener): State => ({ ...state, listeners: listeners.with(i, next) });
    const [message, ...queue] = listener.queue;
    if (message) yield [`${who} hears a message`, set({ ...hear(state, listener, message, protocol), queue })];
    if (i === last && listener.connected && left.cuts > 0) {
      const cut = set({ ...listener, connected: false, queue: [] });
      yield [`${who} loses its connection`, { ...cut, left: { ...left, cuts: left.cuts - 1 } }];
    }
    if (!listener.connected) yield [`${who} listens again`, set({ ...listener, connected: true })];
  }
  if (!protocol.dump) return;
  const [first] = listeners;
  if (!dump) {
    const { generation, applied, floor, known } = first!;
    yield ["the filling process leaves its versions", { ...state, dump: { generation, applied, floor, known } }];
  } else {
    const server = listeners[last]!;
    const reaches = protocol.dump === "any" || dump.applied >= server.floor;
    if (dump.generation === server.generation && reaches && server.floor > dump.floor) {
      const next = { ...server, floor: dump.floor, known: server.known | dump.known };
      yield ["the serving process takes them", { ...state, listeners: listeners.with(last, next) }];
    }
  }
}

function* fillSteps(state: State): Generator<readonly [string, State]> {
  const { fill, log } = state;
  if (state.isFilled) return;
  const filler = state.listeners[0]!;
  if (!fill) {
    const begun: Fill = { snapshot: snapshotOf(state), generation: filler.generation, saw: 0, hasQueried: false };
    yield ["the fill takes its snapshot", { ...state, fill: begun }];
  } else if (!fill.hasQueried) {
    yield ["the fill queries", { ...state, fill: { ...fill, saw: visibleOn(state), hasQueried: true } }];
  } else {
    let upTo = filler.applied;
    for (const [place, writer] of log.slice(0, filler.applied).entries()) {
      if (!(filler.known & bit(writer)) || byList(fill.snapshot, state.xids[writer]!)) continue;
      upTo = place;
      break;
    }
    const isKept = fill.snapshot.xmin >= filler.horizon;
    const entry = isKept ? { generation: fill.generation, upTo, saw: fill.saw } : undefined;
    yield ["the fill stores", { ...state, fill: undefined, isFilled: true, entry }];
  }
}

/** The writers that write what the entry depends on. */
const touchingOf = ({ writers, bystander }: Protocol): number => bit(bystander ? writers - 1 : writers) - 1;

/** Versions alone decide here; what marks add is in marks.ts. */
function isServed({ log }: State, entry: Entry, server: Listener, touching: number): boolean {
  if (entry.generation !== server.generation || entry.upTo < server.floor) return false;
  return !log.some((writer, place) => server.known & touching & bit(writer) && place + 1 > entry.upTo);
}

function* steps(state: State, protocol: Protocol): Generator<readonly [string, State]> {
  const server = state.listeners.at(-1)!;
  const touching = touchingOf(protocol);
  // Generations and versions only grow: what is refused for them stays refused.
  if (state.isFilled && !state.entry) return;
  if (state.entry && !isServed(state, { ...state.entry, upTo: Math.max(state.entry.upTo, server.floor) }, server, touching)) return;
  for (const { what, writer, phase, after } of transactionSteps(state, { atOnce: true, alike: !protocol.bystander })) {
    yield [what, { ...state, ...after, log: phase === "logged" ? [...state.log, writer] : state.log }];
  }
  yield* sourceSteps(state, protocol);
  yield* listenerSteps(state, protocol);
  yield* fillSteps(state);
}

/** Promised is what the serving process's position says: every commit up to it, whether it has heard of that one or not. */
function judge(state: State, protocol: Protocol): Judgement {
  const { entry, log } = state;
  const touching = touchingOf(protocol);
  const server = state.listeners.at(-1)!;
  if (!entry) return { served: 0, refused: state.isFilled ? 1 : 0, stale: false };
  if (!isServed(state, entry, server, touching)) return { served: 0, refused: 1, stale: false };
  return { served: 1, refused: 0, stale: !includes(entry.saw, writersIn(log, 0, server.applied) & touching) };
}

export function continuitySystem(protocol: Protocol): System<State> {
  const listener: Listener = { connected: true, queue: [], generation: 1, applied: 0, floor: 0, horizon: 0, known: 0 };
  return {
    initial: {
      ...noTransactions(protocol.writers),
      log: [],
      generation: 1,
      tailer: { position: 0, prev: 0, hand: undefined, notified: 0, confirmed: 0 },
      former: undefined,
      successorPrev: undefined,
      nextHorizon: undefined,
      listeners: Array.from({ length: protocol.processes }, () => listener),
      left: { takeovers: protocol.takeovers, losses: protocol.losses, cuts: protocol.cuts },
      dump: undefined,
      fill: undefined,
      isFilled: false,
      entry: undefined,
    },
    steps: (state) => steps(state, protocol),
    judge: (state) => judge(state, protocol),
  };
}
