// Cache-Status (RFC 9211): what a cache did with a request, for whoever looks at the answer's fields.

import { structuredString, tokenOrString } from "./structured-fields.ts";

export interface CacheStatus {
  /** Answered from what is stored, without asking. */
  readonly hit?: boolean;
  /** Why the request went on. */
  readonly forward?: "bypass" | "method" | "uri-miss" | "vary-miss" | "miss" | "request" | "stale" | "partial";
  /** What the origin answered, when the client gets another status. */
  readonly forwardStatus?: number | undefined;
  /** The answer is stored now. */
  readonly stored?: boolean;
  /** It came of another request's. */
  readonly collapsed?: boolean;
  /** How long it is fresh yet, in milliseconds; negative: since when it is not. */
  readonly ttlMs?: number | undefined;
  readonly detail?: string | undefined;
}

/** Longer explanations are cut: a field is no log. */
const longestDetail = 200;

/** One member of the field, by the name that the cache has. */
export function formatCacheStatus(name: string, status: CacheStatus): string {
  const parts = [tokenOrString(name)];
  if (status.hit) parts.push("hit");
  if (status.forward !== undefined) parts.push(`fwd=${status.forward}`);
  if (status.forwardStatus !== undefined) parts.push(`fwd-status=${status.forwardStatus}`);
  if (status.stored) parts.push("stored");
  if (status.collapsed) parts.push("collapsed");
  if (status.ttlMs !== undefined) parts.push(`ttl=${Math.floor(status.ttlMs / 1_000)}`);
  if (status.detail !== undefined) {
    const detail = status.detail.slice(0, longestDetail);
    parts.push(`detail=${/^[A-Za-z*][\w*.-]*$/.test(detail) ? detail : structuredString(detail)}`);
  }
  return parts.join("; ");
}
