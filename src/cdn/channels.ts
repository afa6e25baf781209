// What cdn publishes. Metrics and logs subscribe.

import { defineChannel } from "../core/index.ts";

/** A purge was taken by a CDN, or failed and will be tried again. */
export interface CdnPurgeMessage {
  readonly cdn: string;
  readonly keys: number;
  /** Everything was purged, because it was not known what, or too much. */
  readonly everything: boolean;
  /** The second one, after the bound. */
  readonly again: boolean;
  /** How long the oldest of its keys had waited. */
  readonly waitedMs: number;
  readonly durationMs: number;
  /** Why it failed; undefined when it did not. */
  readonly error: string | undefined;
  /** Attempts that have failed in a row, this one included. */
  readonly failures: number;
}

/** An answer has more keys than a CDN reads; it is not cached there. */
export interface CdnOverflowMessage {
  readonly cdn: string;
  readonly keys: number;
  readonly mostKeys: number;
}

export const cdnPurgeChannel = defineChannel<CdnPurgeMessage>("millrace:cdn:purge");
export const cdnOverflowChannel = defineChannel<CdnOverflowMessage>("millrace:cdn:overflow");
