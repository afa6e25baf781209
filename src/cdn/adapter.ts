// The contract with a CDN: how its answers are tagged, and how tags are purged. Four are here; one of your own is an object like these.

import type { Closeable } from "../core/index.ts";

/** How a CDN wants an answer's keys. */
export interface CdnDialect {
  /** The field that holds the keys, in lower case. */
  readonly field: string;
  readonly separator: " " | ", " | ",";
  /** Whether each key stands in quotes, as a structured field has strings. */
  readonly quoted?: boolean;
  /** What the CDN reads of it; what is beyond is lost, so an answer with more is not cached there. */
  readonly mostKeys: number;
  readonly mostBytes: number;
  /**
   * How the CDN, and nobody behind it, is told how long an answer is fresh: by a field of its own, or, where it reads none, by s-maxage
   * in Cache-Control.
   */
  readonly control: "cdn-cache-control" | "surrogate-control" | "s-maxage";
}

export interface CdnAdapter extends Closeable {
  /** "fastly", "cloudflare": for messages and metrics. */
  readonly name: string;
  readonly dialect: CdnDialect;
  /** Keys of one purge at the most. */
  readonly mostKeys: number;
  /**
   * Purges every answer that has one of these keys, and resolves when the CDN has taken the order. Rejects when it has not; it is
   * then called again.
   */
  purge(keys: readonly string[], signal: AbortSignal): Promise<void>;
}
