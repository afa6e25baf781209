// Whether an answer may be stored (RFC 9111 § 3), and what is known of it from then on.

import type { Fields } from "./fields.ts";
import { type Lifetime, type LifetimeRules, durationOf, initialAgeOf, lifetimeOf } from "./freshness.ts";
import { type RequestHead, type ResponseHead, requestDirectives } from "./messages.ts";
import { type ResponsePolicy, policyOf } from "./policy.ts";
import { isHeuristicallyCacheable, isUnderstood } from "./status-codes.ts";
import { varyOf } from "./vary.ts";

export interface StoringRules extends LifetimeRules {
  readonly targets: readonly string[];
  readonly surrogate: string | undefined;
  readonly setCookie: "explicit" | "store" | "refuse";
}

/** Why an answer is not stored; a word for Cache-Status. */
export type Unstorable =
  | "method"
  | "request-no-store"
  | "authorization"
  | "status"
  | "partial"
  | "no-store"
  | "private"
  | "vary"
  | "set-cookie"
  | "no-freshness";

/** What a stored answer's use depends on, worked out once. Times in milliseconds. */
export interface Facts {
  readonly lifetimeMs: number;
  readonly lifetimeFrom: Lifetime["from"];
  readonly initialAgeMs: number;
  readonly responseTimeMs: number;
  /** no-cache: used only after the origin has confirmed it. */
  readonly mustValidate: boolean;
  /** Not used beyond its time, whatever the client says (must-revalidate, proxy-revalidate, s-maxage, no-cache). */
  readonly mustNotBeStale: boolean;
  /** How long beyond its time it may be used while it is made anew (RFC 5861 § 3). */
  readonly staleWhileRevalidateMs: number;
  /** How long beyond its time it may stand in for a failure (RFC 5861 § 4); undefined: it does not say. */
  readonly staleIfErrorMs: number | undefined;
  /** It does not change while it is fresh (RFC 8246). */
  readonly immutable: boolean;
}

const isExplicit = ({ from }: Lifetime): boolean => from === "s-maxage" || from === "max-age" || from === "expires";

function isForShared({ directives, target }: ResponsePolicy): boolean {
  return target !== undefined || directives.has("public") || directives.has("s-maxage");
}

/** § 3.5: an answer to one who has identified himself is for others only if it says so. */
function isForOthers({ directives }: ResponsePolicy): boolean {
  return directives.has("public") || directives.has("must-revalidate") || directives.has("s-maxage");
}

const isSame = (a: string, b: string, base: string): boolean => {
  const url = URL.parse(a, base);
  return url !== null && url.href === URL.parse(b)?.href;
};

/** What a GET may be answered with: answers to GET, and those to POST that are the resource itself (RFC 9110 § 9.3.3). */
function isUsableMethod(request: RequestHead, response: ResponseHead, lifetime: Lifetime): boolean {
  if (request.method === "GET") return true;
  if (request.method !== "POST" || !isExplicit(lifetime) || response.status !== 200) return false;
  const location = response.fields.get("content-location");
  return location !== undefined && isSame(location, request.url, request.url);
}

/** Undefined: it may be stored. Otherwise the first reason that forbids it. */
export function whyUnstorable(request: RequestHead, response: ResponseHead, rules: StoringRules): Unstorable | undefined {
  const policy = policyOf(response.fields, rules.targets, rules.surrogate);
  const { directives } = policy;
  const lifetime = lifetimeOf(response, policy, rules);
  const { status, fields } = response;
  if (!isUsableMethod(request, response, lifetime)) return "method";
  if (requestDirectives(request).has("no-store")) return "request-no-store";
  if (status === 206) return "partial";
  if (status < 200 || status === 304) return "status";
  const understands = isUnderstood(status);
  if (directives.has("must-understand")) {
    if (!understands) return "status";
    // no-store beside it is for caches that do not know the directive (§ 5.2.2.3).
  } else if (directives.has("no-store")) return "no-store";
  if (rules.shared) {
    if (directives.isUnqualified("private")) return "private";
    if (request.fields.has("authorization") && !isForOthers(policy)) return "authorization";
    if (fields.has("set-cookie") && !maySetCookie(policy, rules)) return "set-cookie";
  }
  if (varyOf(fields) === "any") return "vary";
  if (isExplicit(lifetime)) return isOfUse(response, directives.isUnqualified("no-cache"), lifetime) ? undefined : "no-freshness";
  const mayWithout = isHeuristicallyCacheable(status) || directives.has("public");
  return mayWithout && isOfUse(response, directives.isUnqualified("no-cache"), lifetime) ? undefined : "no-freshness";
}

function maySetCookie(policy: ResponsePolicy, { setCookie }: StoringRules): boolean {
  return setCookie === "store" || (setCookie === "explicit" && isForShared(policy));
}

const hasValidator = (fields: Fields): boolean => fields.has("etag") || fields.has("last-modified");

/** Either it will be fresh for a while, or it can be confirmed: everything else would only take space. */
function isOfUse(response: ResponseHead, mustValidate: boolean, lifetime: Lifetime): boolean {
  return hasValidator(response.fields) || (lifetime.ms > 0 && !mustValidate);
}

/** What is known of an answer from its head. */
export function factsOf(response: ResponseHead, rules: StoringRules): Facts {
  const policy = policyOf(response.fields, rules.targets, rules.surrogate);
  const { directives } = policy;
  const lifetime = lifetimeOf(response, policy, rules);
  const mustValidate = directives.isUnqualified("no-cache");
  const isForbidden = mustValidate || directives.has("must-revalidate") || (rules.shared && directives.has("proxy-revalidate"));
  return {
    lifetimeMs: lifetime.ms,
    lifetimeFrom: lifetime.from,
    initialAgeMs: initialAgeOf(response),
    responseTimeMs: response.responseTimeMs,
    mustValidate,
    mustNotBeStale: isForbidden || (rules.shared && directives.has("s-maxage")),
    // s-maxage implies proxy-revalidate, but who writes stale-while-revalidate or stale-if-error beside it means it.
    staleWhileRevalidateMs: isForbidden ? 0 : (durationOf(directives, "stale-while-revalidate") ?? 0),
    staleIfErrorMs: isForbidden ? 0 : durationOf(directives, "stale-if-error"),
    immutable: directives.has("immutable"),
  };
}

/** What of an answer is kept: not the fields that `no-cache` and, in a shared cache, `private` name (§ 5.2.2.4, 5.2.2.7), nor Age. */
export function storedFields(response: ResponseHead, rules: StoringRules): Fields {
  const { directives } = policyOf(response.fields, rules.targets, rules.surrogate);
  const dropped = new Set(["age", ...directives.fieldNames("no-cache")]);
  if (rules.shared) for (const name of directives.fieldNames("private")) dropped.add(name);
  return response.fields.without((name) => dropped.has(name));
}
