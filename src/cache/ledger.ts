// The contract behind "may this be served?": a ledger numbers writes, knows which of them a fill has seen, and judges entries.
// In one process a counter is enough (local-ledger.ts); over PostgreSQL it is the change feed (millrace/freshness); over a Redis
// that several processes share, numbers of its own. docs/freshness.md explains the rule.

import type { Judged } from "./versions.ts";

/** What an entry reflects: every write up to number `upTo` of `generation`. Numbers are whole, at least 0, below 2^53. */
export interface Stamp {
  readonly generation: number;
  readonly upTo: number;
}

/** Why an entry is not served, or an answer not kept. Stable words: they appear in Cache-Status, why() and metrics. */
export type Refusal =
  /** A dependency was written after what the entry reflects. */
  | "written"
  /** The numbering began anew since. */
  | "generation"
  /** This process has written to what it depends on, and cannot tell yet whether the entry reflects it. */
  | "own-write"
  /** A write that the request's token names is not known here yet, and the entry does not reflect it. */
  | "token"
  /** The feed of changes is silent for longer than the staleness bound. */
  | "feed-silent"
  /** The feed has not begun. */
  | "feed-starting";

/** What was found out while a fill ran. */
export interface Findings {
  /** Undefined: the answer may not be kept. `reason` says why. */
  readonly stamp: Stamp | undefined;
  /** One sentence for people, when it may not be kept: "calls the volatile function random()". */
  readonly reason: string | undefined;
  /**
   * Names of what it was read from, such as "public.reports:city_id=42", as far as they are known also without a stamp. Empty for fills
   * that read nothing that is followed.
   */
  readonly dependencies: readonly string[];
  /** Hashes of what the answers of the cache were read from that the fill has used: see Ledger.inherit(). Low and high halves. */
  readonly inherited: Uint32Array;
  /** The answer depends on the clock (now() in a predicate): keep it only under a ttl that the caller chose. */
  readonly timeDependent: boolean;
  /**
   * Whether an answer without a stamp may be given to others who asked before the fill began to read. Default false: a fill that
   * cannot be followed may have done something for its caller alone. True when it is the ledger that cannot judge now.
   */
  readonly shareable?: boolean | undefined;
  /** The earliest end of the answers of the cache that the fill has used, as inherit() was told. Absent: it has used none that ends. */
  readonly freshUntilMs?: number | undefined;
}

/** What a fill must know of an answer that it uses, beside what that was read from. */
export interface Inherited {
  /** When its time is over, on the monotonic clock of its cache: what is made of it is no longer fresh then. */
  readonly freshUntilMs: number;
  /** Findings.shareable of an answer without a stamp. */
  readonly shareable?: boolean | undefined;
}

/** One fill as the ledger follows it. */
export interface Reading extends Disposable {
  /**
   * Where the fill stands among this process's writes: a larger number began later. A fill that began before a write of this process
   * was acknowledged must not be joined by a request that comes after it.
   */
  readonly order: number;
  /** Runs the fill; what it reads from a followed source is collected, across awaits. */
  run<Result>(fill: () => Result): Result;
  /** Ends the reading and says what was found. Call it once; disposing without it drops the reading. */
  finish(): Findings;
}

/** What must be reflected for one reader beyond the promise to all: see tokens in docs/freshness.md. */
export interface Demand {
  /** Writes up to this number, to these dependencies (low and high halves; empty: to anything). */
  readonly upTo: number;
  readonly dependencies: Uint32Array;
}

/** What has been written, as a ledger tells it. */
export interface LedgerWrites {
  /** Low and high halves of hashes, as hashDependencies() makes them; one list for each write. */
  readonly dependencies: readonly Uint32Array[];
  /** Anything may have been written. */
  readonly everything: boolean;
}

export interface Ledger {
  /** Part of every key: answers of another schema, role or database are never found. May change while running. */
  readonly namespace: string;
  /** The number of the current generation. */
  readonly generation: number;
  /**
   * Begins a fill: everything that it reads after this resolves is at least as new as what the stamp will say. Synchronous when
   * it can be. Undefined with a reason: the fill may run, but its answer cannot be kept.
   */
  begin(): Reading | Promise<Reading>;
  /**
   * Why an entry may not be served now; undefined: it may. `order` is the reading's for entries that this process has filled, 0 for
   * entries from the shared store. Called at every hit: allocates nothing, well under a microsecond. With `judged`, which belongs to
   * this stamp and these dependencies, the ledger remembers how far it has looked.
   */
  judge(stamp: Stamp, order: number, dependencies: Uint32Array, demand?: Demand, judged?: Judged): Refusal | undefined;
  /**
   * An answer of the cache is handed out. If a fill is running around the call (a memoised function inside a cached endpoint), what the
   * answer was read from is the fill's too, and a fill that uses an answer that may not be kept may not be kept itself. Called for every
   * outcome, hits included; costs a look at the running context. Without a stamp, `reason` says why it is not kept.
   */
  inherit(stamp: Stamp | undefined, dependencies: Uint32Array, reason: string | undefined, answer?: Inherited): void;
  /**
   * Tells of what is written anywhere, after it counts here. A listener must be quick and must not throw. Absent: the ledger does not hear
   * of other processes' writes one by one.
   */
  listen?(listener: (written: LedgerWrites) => void): Disposable;
  /** Resolves when every write that was acknowledged anywhere before the call has been applied here. */
  settled(): Promise<void>;
  /** Whether a request that arrives now may share the answer of a fill that began at `order`. */
  mayJoin(order: number): boolean;
  /**
   * Makes everything that depends on these names stale. Resolves when this process serves none of it any more and the others
   * have been told (they follow within the staleness bound).
   */
  invalidate(names: readonly string[]): Promise<void>;
}
