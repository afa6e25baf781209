// The cache as its users see it. docs/cache.md explains it; create-cache.ts has an entry's life.

import type { Deadline, Ending } from "../concurrency/index.ts";
import type { Closeable, Duration } from "../core/index.ts";
import type { Demand, Findings, Ledger, Refusal } from "./ledger.ts";
import type { MemoryTierStats } from "./memory.ts";

/** How long an answer is good for, and what happens around its end. Every field has a default: see options.ts. */
export interface CachePolicy {
  /** How long it is fresh if nothing it depends on is written. Jittered by ±5 %. */
  readonly ttl?: Duration;
  /** How much longer it may be served while a new one is made, or when making one fails. "0s": never. Never after a write. */
  readonly stale?: Duration;
  /** Whether it may be served stale also after a write to what it depends on. Default false. */
  readonly staleAfterWrite?: boolean;
  /** How long a stale answer is held back in the hope of a fresh one. */
  readonly softTimeout?: Duration;
  /** How long a fill may take; then its callers get MILLRACE_CACHE_FILL_TIMEOUT, or the stale answer. */
  readonly hardTimeout?: Duration;
  /** How long "there is none" (undefined or null) is kept. "0s": not at all. */
  readonly negativeTtl?: Duration;
  /** Names that it depends on beside what is found out by itself: invalidate() takes them. */
  readonly depends?: readonly string[];
  /** The same as `depends`, for those who think in tags. */
  readonly tags?: readonly string[];
}

/** How values that are neither bytes, text nor structured-cloneable are kept. */
export interface Codec<Value> {
  /** Identifies the format in stored entries. 16 to 255; a stored entry of another codec is a miss. */
  readonly id: number;
  encode(value: Value): Uint8Array;
  decode(bytes: Uint8Array): Value;
  /** Bytes that the value takes in the memory tier. Default: the length of what encode() gives. */
  sizeOf?(value: Value): number;
}

/** What a fill may do beside returning its value. */
export interface FillTools {
  /** Names that the answer depends on, found out while it is made. */
  depends(...names: readonly string[]): void;
  /** The answer is returned but not kept; `reason` appears in why(). */
  dontKeep(reason: string): void;
  /** Keep it for this long instead of the policy's ttl. */
  keepFor(ttl: Duration): void;
  /** Aborts at the hard timeout, and when nobody waits any more. */
  readonly signal: AbortSignal;
  /** The same for those who only listen: a signal is made when somebody asks for it, and this costs none. */
  readonly deadline: Deadline;
}

export type Fill<Value> = (tools: FillTools) => Value | Promise<Value>;

/** How an answer came about. */
export interface Outcome<Value> {
  readonly value: Value;
  /**
   * hit: fresh, from `tier`. stale: past its ttl, or after a failed fill. miss: filled for this request. joined: filled for another
   * request meanwhile. bypass: the cache is closed, or the ledger cannot judge now.
   */
  readonly state: "hit" | "stale" | "miss" | "joined" | "bypass";
  readonly tier: "memory" | "store" | undefined;
  /** Why what stood there was not served, when something did. */
  readonly refusal: Refusal | "expired" | undefined;
  /** Whether a tier holds the answer: memory has taken it, or else the store has. */
  readonly stored: boolean;
  /** Why it is not kept. */
  readonly reason: string | undefined;
  /**
   * Whether `admit` has nothing against it, kept or not: false for what was not followed, or may not be kept whatever the ledger says. Without
   * `admit`: whether others who waited may have it.
   */
  readonly admitted: boolean;
  /** Since it was made. */
  readonly ageMs: number;
  /** Until it is no longer fresh; negative when stale. */
  readonly remainingMs: number;
  /** Hashes of what the kept answer depends on, as hashDependencies() makes them; empty for one that is not kept. Not to be changed. */
  readonly dependencies: Uint32Array;
}

export interface ReadOptions<Value> {
  readonly codec?: Codec<Value>;
  /** For one reader only: writes that the answer must reflect. */
  readonly demand?: Demand | undefined;
  /** Ends the caller's wait, not the fill that others wait for too. A deadline costs less than a signal. */
  readonly signal?: Ending | undefined;
  /**
   * What is fresh for less than this from now on is made anew, by one process of those that share a store, and waited for without the soft
   * timeout. When that fails it is given all the same, as stale. For whoever warms a cache before others ask. Default: "0s".
   */
  readonly freshFor?: Duration | undefined;
  /**
   * Asked once when this call's fill has ended and its answer could be kept, with what was found out about it: a sentence why it is not
   * kept all the same; undefined: it is. The response cache keeps by default only what was read from something followed.
   */
  readonly admit?: ((findings: Findings) => string | undefined) | undefined;
}

/** What is known of a key. */
export interface Why {
  readonly key: string;
  /** The tiers that hold it. */
  readonly tiers: readonly ("memory" | "store")[];
  readonly dependencies: readonly string[];
  readonly generation: number | undefined;
  readonly upTo: number | undefined;
  readonly bytes: number | undefined;
  readonly ageMs: number | undefined;
  readonly remainingMs: number | undefined;
  /** What a request would get now. */
  readonly verdict: "hit" | "stale" | "miss";
  /** One sentence: why it would not be served, or why the last answer was not kept. */
  readonly reason: string | undefined;
}

export interface CacheStats {
  readonly memory: MemoryTierStats | undefined;
  readonly hits: number;
  readonly storeHits: number;
  readonly staleHits: number;
  readonly misses: number;
  readonly joined: number;
  readonly bypasses: number;
  readonly fills: number;
  readonly fillErrors: number;
  readonly refreshes: number;
  /** Hits that were re-run by the online check, and how many of those were wrong. */
  readonly checked: number;
  readonly mismatches: number;
  /** Why entries were not served. */
  readonly refusals: Readonly<Partial<Record<Refusal | "expired", number>>>;
  readonly store: { readonly name: string; readonly state: "closed" | "open" | "half-open"; readonly errors: number } | undefined;
}

export interface Cache extends Closeable {
  readonly name: string;
  readonly ledger: Ledger;
  /** The value under `key`, made by `fill` when there is none that may be served. */
  get<Value>(key: string, policy: CachePolicy, fill: Fill<Value>): Promise<Value>;
  /** As get(), with how it came about. Synchronous for a hit in memory: no promise is made. */
  read<Value>(
    key: string,
    policy: CachePolicy,
    fill: Fill<Value>,
    options?: ReadOptions<Value>,
  ): Outcome<Value> | Promise<Outcome<Value>>;
  /** What may be served from memory now, or undefined. Counts as a use. Never fills, never waits. */
  peek<Value>(key: string, demand?: Demand): Outcome<Value> | undefined;
  /**
   * What read() would give at once, and would have nothing to do beside it: no early refresh, no online check. Otherwise undefined, and
   * read() is to be asked. For those who know the key before they know how to fill. `codecId`: of the codec, if it is kept by one.
   */
  readNow<Value>(key: string, codecId?: number): Outcome<Value> | undefined;
  /**
   * Makes stale: a name in `depends` or `tags`, a key, or all keys that begin with a text up to a colon ("user:42:*"). One write
   * each, however many entries there are.
   */
  invalidate(...names: readonly string[]): Promise<void>;
  /** What is known of the key. Changes nothing: no use, no hit, no miss. */
  why(key: string): Promise<Why>;
  stats(): CacheStats;
}
