// What cache publishes. Metrics, logs and traces subscribe.

import { defineChannel } from "../core/index.ts";

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
