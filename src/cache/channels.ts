// What cache publishes. Metrics, logs and traces subscribe.

import { defineChannel } from "../core/index.ts";
import type { Refusal } from "./ledger.ts";

/** The memory tier has dropped an entry to make room. Not published for delete() and clear(), which the caller knows of. */
export interface EvictionMessage {
  /** The tier's `name`. */
  readonly tier: string;
  readonly key: string;
  /** What the entry was counted with: key, value and overhead. */
  readonly bytes: number;
  /** Where it stood: `small` holds what is new, `main` what was asked for again. */
  readonly queue: "small" | "main";
}

export const evictionChannel = defineChannel<EvictionMessage>("millrace:cache:eviction");

/** The breaker before a shared store has changed its state. */
export interface StoreBreakerMessage {
  /** The store's `name`. */
  readonly store: string;
  /** closed: the store is used. open: it is left alone. half-open: one probe is on its way, and nobody waits for it. */
  readonly state: "closed" | "open" | "half-open";
  /** What opened it. */
  readonly reason?: string | undefined;
  /** How long it is left alone at the least. */
  readonly openForMs?: number;
}

export const storeBreakerChannel = defineChannel<StoreBreakerMessage>("millrace:cache:store-breaker");

/** A fill has ended. */
export interface CacheFillMessage {
  /** The cache's `name`. */
  readonly cache: string;
  readonly key: string;
  readonly durationMs: number;
  /** "refresh": nobody waited for it when it began. "check": the online check made it. */
  readonly purpose: "miss" | "refresh" | "check";
  readonly kept: boolean;
  /** Why it is not kept. */
  readonly reason: string | undefined;
  /** What the fill failed with. */
  readonly error: unknown;
}

export const cacheFillChannel = defineChannel<CacheFillMessage>("millrace:cache:fill");

/** There was an entry, and it was not served fresh. */
export interface CacheRefusalMessage {
  readonly cache: string;
  readonly key: string;
  readonly tier: "memory" | "store";
  readonly refusal: Refusal | "expired";
}

export const cacheRefusalChannel = defineChannel<CacheRefusalMessage>("millrace:cache:refusal");

/** invalidate() was called and has been told to everybody. */
export interface CacheInvalidationMessage {
  readonly cache: string;
  readonly names: readonly string[];
}

export const cacheInvalidationChannel = defineChannel<CacheInvalidationMessage>("millrace:cache:invalidation");

/** A hit was made again and compared. */
export interface CacheCheckMessage {
  readonly cache: string;
  readonly key: string;
  /** "overtaken": they differ, and a write explains it. "mismatch": they differ, and nothing does: a stale answer was served. */
  readonly result: "same" | "overtaken" | "mismatch" | "failed";
}

export const cacheCheckChannel = defineChannel<CacheCheckMessage>("millrace:cache:check");

/** The ledger that processes share over Redis has changed its state. */
export interface LedgerMessage {
  /** The ledger's `namespace`. */
  readonly namespace: string;
  readonly generation: number;
  /**
   * generation: the numbers begin anew, nothing of before is served. gap: invalidations were missed, everything counts as written.
   * silent: without answers for longer than the staleness bound, nothing is served. live: answers come again.
   */
  readonly event: "generation" | "gap" | "silent" | "live";
  /** How many invalidations were missed. */
  readonly missed?: number;
  readonly reason?: string | undefined;
}

export const ledgerChannel = defineChannel<LedgerMessage>("millrace:cache:ledger");
