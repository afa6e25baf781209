// Cache-Status (RFC 9211): what the cache did with a request, for whoever looks at the answer's headers.

import type { Outcome } from "../../cache/index.ts";

/** Longer explanations are cut: a header is no log. */
const maxDetailLength = 200;

/** A structured field's string (RFC 8941 § 3.3.3): printable ASCII only. */
function quoted(text: string): string {
  const cut = text.length > maxDetailLength ? `${text.slice(0, maxDetailLength - 3)}...` : text;
  return `"${cut.replaceAll(/[^\x20-\x7e]/g, "?").replaceAll(/["\\]/g, "\\$&")}"`;
}

const token = /^[A-Za-z*][A-Za-z0-9:/!#$%&'*+.^_`|~-]{0,63}$/;

/** ; detail=…, a token when it is a word. */
const detailed = (detail: string): string => `; detail=${token.test(detail) ? detail : quoted(detail)}`;

const seconds = (ms: number): number => Math.floor(ms / 1_000);

/** The request did not ask the cache, and why. */
export const bypassed = (name: string, detail: string): string => `${name}; fwd=bypass${detailed(detail)}`;

/** The request has a method that the cache is not asked for. */
export const notAsked = (name: string): string => `${name}; fwd=method`;

/** The cache was asked, but the request failed before it was known what stood there. */
export const failed = (name: string): string => `${name}; fwd=miss`;

/** Why the request went to the handler, in RFC 9211's words. */
function forwardOf({ state, refusal }: Outcome<unknown>): string {
  if (state === "bypass") return "bypass";
  if (refusal === undefined) return "uri-miss";
  // What stands there is good for others: it is this request that wants more.
  return refusal === "token" ? "request" : "stale";
}

/** How `outcome` came about. */
export function cacheStatusOf(name: string, outcome: Outcome<unknown>): string {
  const { state, tier, refusal, stored, reason, remainingMs } = outcome;
  if (state === "hit" || state === "stale") {
    // A hit that is stale has a negative ttl, as RFC 9211 § 2.4 says.
    const why = state === "stale" ? refusal : tier === "store" ? "store" : undefined;
    return `${name}; hit; ttl=${seconds(remainingMs)}${why === undefined ? "" : detailed(why)}`;
  }
  const detail = reason ?? refusal;
  return `${name}; fwd=${forwardOf(outcome)}${state === "joined" ? "; collapsed" : ""}${
    stored ? `; stored; ttl=${seconds(remainingMs)}` : ""
  }${detail === undefined ? "" : detailed(detail)}`;
}

/**
 * Headers that tell a client of an answer that the handler itself took from a cache: `reply.headers(cacheHeaders("forecasts", outcome))`.
 * `name` says whose Cache-Status it is; Age is there when the answer was not made for this request. On an endpoint with `cache: false`
 * they are the answer's; kept by the response cache, an answer goes on aging from there.
 */
export function cacheHeaders(name: string, outcome: Outcome<unknown>): Readonly<Record<string, string>> {
  const { state, ageMs } = outcome;
  const age = state === "hit" || state === "stale" ? { age: String(seconds(ageMs)) } : undefined;
  return { "cache-status": cacheStatusOf(name, outcome), ...age };
}
