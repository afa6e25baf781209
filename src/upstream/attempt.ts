// What becomes of one attempt.

import type { WireResponse } from "./transport.ts";

/** What an attempt that brought no answer did. */
export interface AttemptReport {
  /** Host and port. */
  readonly replica: string;
  readonly kind: AttemptKind;
  /** "status 503", "connection refused", "no answer in time", … */
  readonly failure: string;
  /** Since the call began. */
  readonly startedMs: number;
  readonly ms: number;
}

export type AttemptKind = "first" | "retry" | "hedge";

export type Outcome =
  | { readonly ok: true; readonly response: WireResponse; readonly replica: string; readonly kind: AttemptKind }
  | {
      readonly ok: false;
      /** Whether another attempt could succeed where this one did not. */
      readonly again: boolean;
      /** Whether the upstream may have acted on the request. */
      readonly sent: boolean;
      readonly retryAfterMs: number | undefined;
      readonly cause: unknown;
      /** The breaker let nothing through: there was no attempt. */
      readonly refused: boolean;
    };

/** Statuses that say "not now" rather than "not so". */
const againStatuses = new Set([408, 425, 429, 500, 502, 503, 504]);

export const isWorthRepeating = (status: number): boolean => againStatuses.has(status);

/** What a status says of the upstream's health; undefined: nothing (it asks for patience). */
export const isHealthy = (status: number): boolean | undefined => (status === 429 ? undefined : status < 500 || status === 501);

/**
 * Milliseconds that an answer asks to wait: `Retry-After` as seconds or as a date (RFC 9110 §10.2.3), undefined without one that can
 * be read.
 */
export function retryAfterMs(header: string | readonly string[] | undefined, nowMs: number): number | undefined {
  const text = typeof header === "string" ? header.trim() : undefined;
  if (!text) return undefined;
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1_000;
  const moment = /^[A-Z][a-z]{2}/.test(text) ? Date.parse(text) : NaN;
  return Number.isNaN(moment) ? undefined : Math.max(0, moment - nowMs);
}

/** Full jitter (Brooker, "Exponential Backoff and Jitter"): anything from nothing to a ceiling that doubles. */
export function backoffMs(retry: number, baseMs: number, maxMs: number, random: () => number): number {
  return random() * Math.min(maxMs, baseMs * 2 ** (retry - 1));
}
