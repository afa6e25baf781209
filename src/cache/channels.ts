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
