// How long an answer is fresh and how old it is (RFC 9111 § 4.2). All in milliseconds, so that an age is not off by a second.

import { type Directives, mostSeconds } from "./directives.ts";
import type { Fields } from "./fields.ts";
import { parseHttpDate } from "./http-date.ts";
import type { ResponseHead } from "./messages.ts";
import type { ResponsePolicy } from "./policy.ts";
import { isHeuristicallyCacheable } from "./status-codes.ts";

export interface Lifetime {
  readonly ms: number;
  /** Where it comes from; "none": nothing says, so it is 0. */
  readonly from: "s-maxage" | "max-age" | "expires" | "heuristic" | "none";
}

export interface LifetimeRules {
  readonly shared: boolean;
  readonly heuristic: boolean;
  readonly maxHeuristicMs: number;
}

const inMs = (seconds: number | "invalid"): number => (seconds === "invalid" ? 0 : seconds * 1_000);

/** The Date of an answer; without one that can be read, when it came (RFC 9110 § 6.6.1). */
export function dateOf(fields: Fields, responseTimeMs: number): number {
  const lines = fields.lines("date");
  return (lines.length === 1 ? parseHttpDate(lines[0]!, responseTimeMs) : undefined) ?? responseTimeMs;
}

/** The earliest of several; one that is no date is in the past (§ 5.3). */
function expiresOf(fields: Fields, nowMs: number): number {
  return Math.min(...fields.lines("expires").map((line) => parseHttpDate(line, nowMs) ?? 0));
}

/** A tenth of the time since it was last changed (§ 4.2.2). */
function heuristicOf({ fields, responseTimeMs }: ResponseHead, maxMs: number): number {
  const lastModified = fields.get("last-modified");
  const changedMs = lastModified === undefined ? undefined : parseHttpDate(lastModified, responseTimeMs);
  if (changedMs === undefined) return 0;
  return Math.min(maxMs, Math.max(0, (dateOf(fields, responseTimeMs) - changedMs) / 10));
}

/** § 4.2.1: the first that is there of s-maxage (in a shared cache), max-age, and Expires less Date. */
export function lifetimeOf(response: ResponseHead, { directives, target }: ResponsePolicy, rules: LifetimeRules): Lifetime {
  const sharedAge = rules.shared ? directives.seconds("s-maxage") : undefined;
  if (sharedAge !== undefined) return { ms: inMs(sharedAge), from: "s-maxage" };
  const maxAge = directives.seconds("max-age");
  if (maxAge !== undefined) return { ms: inMs(maxAge), from: "max-age" };
  const { fields, responseTimeMs } = response;
  if (target === undefined && fields.has("expires")) {
    const ms = expiresOf(fields, responseTimeMs) - dateOf(fields, responseTimeMs);
    return { ms: Math.min(mostSeconds * 1_000, Math.max(0, ms)), from: "expires" };
  }
  if (rules.heuristic && (isHeuristicallyCacheable(response.status) || directives.has("public"))) {
    return { ms: heuristicOf(response, rules.maxHeuristicMs), from: "heuristic" };
  }
  return { ms: 0, from: "none" };
}

/** Age in milliseconds: of a list the first member, and nothing when that is no whole number (§ 5.1). */
export function ageOf(fields: Fields): number {
  const first = fields.lines("age")[0]?.split(",", 1)[0]!.trim();
  return first !== undefined && /^\d+$/.test(first) ? Math.min(mostSeconds, Number(first)) * 1_000 : 0;
}

/** How old an answer was when it came (§ 4.2.3: corrected_initial_age). */
export function initialAgeOf({ fields, requestTimeMs, responseTimeMs }: ResponseHead): number {
  // A date has whole seconds, so it is compared with one: an answer of this very second is not up to one old.
  const apparentMs = Math.floor(responseTimeMs / 1_000) * 1_000 - dateOf(fields, responseTimeMs);
  const delayMs = Math.max(0, responseTimeMs - requestTimeMs);
  return Math.max(0, apparentMs, ageOf(fields) + delayMs);
}

/** Milliseconds of a directive in seconds; undefined: not there; 0: not readable. */
export function durationOf(directives: Directives, name: string): number | undefined {
  const seconds = directives.seconds(name);
  return seconds === undefined ? undefined : inMs(seconds);
}
