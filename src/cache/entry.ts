// An entry as the memory tier holds it, and the answers that are made of it.

import type { Outcome } from "./cache.ts";
import type { Refusal, Stamp } from "./ledger.ts";
import { Judged } from "./versions.ts";

/** What an entry is made of. Times are of the clock's monotonic time, so that a wall clock that jumps changes nothing. */
export interface EntryParts {
  readonly value: unknown;
  /** The codec's id; 0: what values of the usual kinds are kept with. */
  readonly codecId: number;
  readonly namespace: string;
  readonly stamp: Stamp;
  /** The reading's, for what was filled here; 0 for what came from the store. */
  readonly order: number;
  /** Hashes of `names`, and of what the cached answers that the fill has used depend on. */
  readonly dependencies: Uint32Array;
  readonly names: readonly string[];
  readonly madeAtMs: number;
  readonly freshUntilMs: number;
  /** Not before `freshUntilMs`. */
  readonly staleUntilMs: number;
  /** From here on a hit may refresh early; infinite: never. */
  readonly refreshFromMs: number;
  /** How long the fill took. */
  readonly computeMs: number;
  /** Of the value. */
  readonly valueBytes: number;
  /** It holds until its time is over, not until something is written: the online check cannot judge it. */
  readonly timeDependent: boolean;
}

const nameBytes = 40; // a string's header and its place in the list

/** A class, so that every entry has one shape and a hit reads it without looking anything up. */
export class Entry extends Judged implements EntryParts {
  // What a hit reads comes first, so that it stands together in memory.
  readonly value: unknown;
  readonly codecId: number;
  readonly namespace: string;
  /** Until then a hit has nothing to do about its time: the earlier of `refreshFromMs` and `freshUntilMs`. */
  readonly quietUntilMs: number;
  readonly freshUntilMs: number;
  readonly refreshFromMs: number;
  readonly madeAtMs: number;
  readonly stamp: Stamp;
  readonly order: number;
  readonly dependencies: Uint32Array;
  readonly names: readonly string[];
  readonly staleUntilMs: number;
  readonly computeMs: number;
  readonly valueBytes: number;
  readonly timeDependent: boolean;

  constructor(parts: EntryParts) {
    super(parts.dependencies);
    this.value = parts.value;
    this.codecId = parts.codecId;
    this.namespace = parts.namespace;
    this.stamp = parts.stamp;
    this.order = parts.order;
    this.dependencies = parts.dependencies;
    this.names = parts.names;
    this.madeAtMs = parts.madeAtMs;
    this.quietUntilMs = Math.min(parts.freshUntilMs, parts.refreshFromMs);
    this.freshUntilMs = parts.freshUntilMs;
    this.staleUntilMs = parts.staleUntilMs;
    this.refreshFromMs = parts.refreshFromMs;
    this.computeMs = parts.computeMs;
    this.valueBytes = parts.valueBytes;
    this.timeDependent = parts.timeDependent;
  }
}

/** What an entry counts in the memory tier beside its key and the tier's own overhead. */
export function bytesOfEntry(entry: Entry): number {
  let bytes = 304 + entry.valueBytes + entry.dependencies.byteLength; // 304: the object, its numbers, its stamp and its array
  for (const name of entry.names) bytes += nameBytes + name.length * 2;
  return bytes;
}

/** A class for the same reason: the outcome of a hit is the only thing that a hit allocates. */
class Answer<Value> implements Outcome<Value> {
  readonly value: Value;
  readonly state: Outcome<Value>["state"];
  readonly tier: Outcome<Value>["tier"];
  readonly refusal: Refusal | "expired" | undefined;
  readonly stored: boolean;
  readonly reason: string | undefined;
  readonly admitted: boolean;
  readonly ageMs: number;
  readonly remainingMs: number;
  readonly dependencies: Uint32Array;

  constructor(
    value: Value,
    state: Outcome<Value>["state"],
    tier: Outcome<Value>["tier"],
    refusal: Refusal | "expired" | undefined,
    stored: boolean,
    reason: string | undefined,
    admitted: boolean,
    ageMs: number,
    remainingMs: number,
    dependencies: Uint32Array,
  ) {
    this.value = value;
    this.state = state;
    this.tier = tier;
    this.refusal = refusal;
    this.stored = stored;
    this.reason = reason;
    this.admitted = admitted;
    this.ageMs = ageMs;
    this.remainingMs = remainingMs;
    this.dependencies = dependencies;
  }
}

/** The answer of an entry in memory that is fresh. Its times are worked out when somebody asks: most do not. */
class Hit<Value> implements Outcome<Value> {
  readonly value: Value;
  readonly #entry: Entry;
  readonly #nowMs: number;

  constructor(entry: Entry, nowMs: number) {
    this.value = entry.value as Value;
    this.#entry = entry;
    this.#nowMs = nowMs;
  }

  get state() {
    return "hit" as const;
  }

  get tier() {
    return "memory" as const;
  }

  get refusal() {
    return undefined;
  }

  get stored() {
    return true;
  }

  get reason() {
    return undefined;
  }

  get admitted() {
    return true;
  }

  get ageMs(): number {
    return this.#nowMs - this.#entry.madeAtMs;
  }

  get remainingMs(): number {
    return this.#entry.freshUntilMs - this.#nowMs;
  }

  get dependencies(): Uint32Array {
    return this.#entry.dependencies;
  }
}

export const memoryHitOf = <Value>(entry: Entry, nowMs: number): Outcome<Value> => new Hit<Value>(entry, nowMs);

/** The answer of an entry that is fresh. */
export const hitOf = <Value>(
  entry: Entry,
  nowMs: number,
  tier: "memory" | "store",
  refusal?: Refusal | "expired",
): Outcome<Value> =>
  new Answer(
    entry.value as Value,
    "hit",
    tier,
    refusal,
    true,
    undefined,
    true,
    nowMs - entry.madeAtMs,
    entry.freshUntilMs - nowMs,
    entry.dependencies,
  );

/** The answer of an entry that is not, but may be served. `reason`: why no better one could be had. */
export const staleOf = <Value>(
  entry: Entry,
  nowMs: number,
  refusal: Refusal | "expired",
  reason: string | undefined,
): Outcome<Value> =>
  new Answer(
    entry.value as Value,
    "stale",
    "memory",
    refusal,
    true,
    reason,
    true,
    nowMs - entry.madeAtMs,
    Math.min(0, entry.freshUntilMs - nowMs),
    entry.dependencies,
  );

/** The answer of a fill. */
export const filledOf = <Value>(
  value: Value,
  state: "miss" | "joined" | "bypass",
  refusal: Refusal | "expired" | undefined,
  reason: string | undefined,
  admitted: boolean,
  ageMs: number,
  remainingMs: number,
  dependencies: Uint32Array,
): Outcome<Value> =>
  new Answer(value, state, undefined, refusal, reason === undefined, reason, admitted, ageMs, remainingMs, dependencies);
