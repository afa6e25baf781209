// Whether a stored answer may be used for a request (RFC 9111 § 4), as a verdict that says what to do.
//
// | verdict    | the stored answer is          | the cache                                                            |
// | ---------- | ----------------------------- | -------------------------------------------------------------------- |
// | fresh      | within its time               | answers with it                                                      |
// | stale      | beyond it, the client agrees  | answers with it (max-stale)                                          |
// | refresh    | beyond it, the origin agrees  | answers with it and makes it anew meanwhile (stale-while-revalidate) |
// | validate   | not to be used as it is       | asks the origin first                                                |

import type { Directives } from "./directives.ts";
import type { Facts } from "./storing.ts";

export type Verdict =
  | { readonly kind: "fresh" }
  | { readonly kind: "stale" }
  | { readonly kind: "refresh" }
  | { readonly kind: "validate"; readonly because: "stale" | "no-cache" | "request" };

const fresh: Verdict = { kind: "fresh" };
const stale: Verdict = { kind: "stale" };
const refresh: Verdict = { kind: "refresh" };
const validateStale: Verdict = { kind: "validate", because: "stale" };
const validateAlways: Verdict = { kind: "validate", because: "no-cache" };
const validateOnRequest: Verdict = { kind: "validate", because: "request" };

/** Its age now (§ 4.2.3: current_age). A clock that was set back does not make it younger than it came. */
export const currentAge = (facts: Facts, nowMs: number): number => facts.initialAgeMs + Math.max(0, nowMs - facts.responseTimeMs);

/** Milliseconds until it is stale; negative: since. */
export const remaining = (facts: Facts, nowMs: number): number => facts.lifetimeMs - currentAge(facts, nowMs);

/** Whether the client wants it younger, or longer fresh, than it is. */
function asksForMore(request: Directives, facts: Facts, ageMs: number): boolean {
  if (request.has("no-cache")) return true;
  const remainingMs = facts.lifetimeMs - ageMs;
  const maxAge = request.seconds("max-age");
  // A browser that reloads says max-age=0 of everything; an answer that does not change need not be asked for (RFC 8246 § 2).
  const isSettled = facts.immutable && remainingMs > 0;
  if (maxAge !== undefined && !isSettled && (maxAge === "invalid" || maxAge === 0 || ageMs > maxAge * 1_000)) return true;
  const minFresh = request.seconds("min-fresh");
  return minFresh !== undefined && (minFresh === "invalid" || remainingMs < minFresh * 1_000);
}

function acceptsStale(request: Directives, staleMs: number): boolean {
  if (!request.has("max-stale")) return false;
  const seconds = request.seconds("max-stale");
  // Without a value: however stale it is (§ 5.2.1.2). A value that is no number is none.
  return seconds === "invalid" ? request.isUnqualified("max-stale") : staleMs <= seconds! * 1_000;
}

/** What to do with a stored answer whose Vary fits the request. `request`: its Cache-Control. */
export function judge(request: Directives, facts: Facts, nowMs: number): Verdict {
  const ageMs = currentAge(facts, nowMs);
  const remainingMs = facts.lifetimeMs - ageMs;
  if (facts.mustValidate) return validateAlways;
  if (asksForMore(request, facts, ageMs)) return validateOnRequest;
  if (remainingMs > 0) return fresh;
  if (!facts.mustNotBeStale && acceptsStale(request, -remainingMs)) return stale;
  if (-remainingMs < facts.staleWhileRevalidateMs) return refresh;
  return validateStale;
}

/**
 * Whether it may stand in for an answer that the origin failed to give (RFC 9111 § 4.2.4, RFC 5861 § 4). `defaultMs`: for how long,
 * when neither answer nor request says.
 */
export function mayServeOnError(request: Directives, facts: Facts, nowMs: number, defaultMs: number): boolean {
  if (facts.mustValidate || request.has("no-cache")) return false;
  const staleMs = -remaining(facts, nowMs);
  if (staleMs < 0) return true;
  const asked = request.seconds("stale-if-error");
  const askedMs = typeof asked === "number" ? asked * 1_000 : undefined;
  if (facts.staleIfErrorMs !== undefined)
    return staleMs <= Math.max(facts.staleIfErrorMs, facts.mustNotBeStale ? 0 : (askedMs ?? 0));
  return !facts.mustNotBeStale && staleMs <= (askedMs ?? defaultMs);
}
