// What an endpoint says about the cache, and what holds when it says nothing. See docs/response-cache.md.

import type { CachePolicy } from "../../cache/index.ts";
import { type Duration, type OptionChecks, boolean, duration, given, maxTimerMs, oneOf, resolveOptions } from "../../core/index.ts";
import { httpErrors } from "../errors.ts";

/** What the path parameters and the query came to, validated. */
export interface CacheQuestion<Params, Query> {
  readonly params: Params;
  readonly query: Query;
}

/** How answers of a GET endpoint are kept. */
export interface EndpointCachePolicy<Params = Readonly<Record<string, unknown>>, Query = Readonly<Record<string, unknown>>> {
  /**
   * How long an answer is good for if nothing that it was read from is written. Default "60s". Naming one also keeps answers that were
   * read from nothing that is followed, or that depend on the clock.
   */
  readonly ttl?: Duration;
  /** How much longer it may be served while a new one is made, or when making one fails. Default "60s". Never after a write. */
  readonly stale?: Duration;
  /** Whether it may be served stale also after a write to what it was read from. Default false. */
  readonly staleAfterWrite?: boolean;
  /** How long a stale answer is held back in the hope of a fresh one. Default: the cache's. */
  readonly softTimeout?: Duration;
  /** How long a 404 that the handler threw is kept. Default "10s". "0s": not at all. */
  readonly negativeTtl?: Duration;
  /**
   * Names that the answer depends on beside what is found out by itself: cache.invalidate() takes them. A list, or a function of
   * the request. As with `ttl`, answers are then kept also when they were read from nothing that is followed.
   */
  readonly depends?: readonly string[] | ((question: CacheQuestion<Params, Query>) => readonly string[]);
  /** Request headers that the answer may differ by, in lower case; those declared in `headers` are among them anyway. */
  readonly vary?: readonly string[];
  /** Cache-Control for clients. Default "no-cache": they keep the answer and ask whether it still holds. With a scope "private, no-cache". */
  readonly cacheControl?: string;
}

/** With `auth` the policy says to whom one answer may go. */
export interface ScopedCachePolicy<Params, Query> extends EndpointCachePolicy<Params, Query> {
  /** user: to the same principal only. tenant: to all of one tenant, as the authenticator's tenantId() tells; `principal` is then not to be read. */
  readonly scope: "user" | "tenant";
}

/** Without `auth` everybody gets the same. */
export interface PublicCachePolicy<Params, Query> extends EndpointCachePolicy<Params, Query> {
  readonly scope?: "public";
}

/** `cache` of an endpoint's policy: only a GET has one, and with `auth` it must name a scope. */
export type CachePolicyOf<R extends string, Params, Query, Principal> = R extends `GET ${string}`
  ? { readonly cache?: false | ([Principal] extends [never] ? PublicCachePolicy<Params, Query> : ScopedCachePolicy<Params, Query>) }
  : { readonly cache?: undefined };

/** Why an endpoint is not cached. */
export type CacheOff = "off" | "auth" | "method" | "stream";

/** The policy, resolved. */
export interface ResolvedCachePolicy {
  /** For the cache's read(). */
  readonly policy: CachePolicy;
  readonly scope: "public" | "user" | "tenant";
  /** Sorted, each once. */
  readonly vary: readonly string[];
  readonly depends: ((question: CacheQuestion<unknown, unknown>) => readonly string[]) | undefined;
  readonly negativeTtl: Duration;
  readonly negativeTtlMs: number;
  readonly cacheControl: string;
  /** Whether answers are kept that were read from nothing that is followed: somebody has said how long, or by what name they go. */
  readonly keepsUnfollowed: boolean;
}

/** What holds for GET endpoints without `auth` that say nothing. */
export const endpointCacheDefaults = {
  ttl: "60s", // a write ends it sooner; this bounds what nobody can follow (a file, a service, a flag) that the handler may use too
  stale: "60s", // nothing was written, so it is as right as before: nobody has to wait for the next one
  staleAfterWrite: false,
  negativeTtl: "10s", // long enough for a crawler on a dead link; a row that appears ends it at once
} as const;

type AnyPolicy = EndpointCachePolicy & { readonly scope?: "public" | "user" | "tenant" };

const milliseconds = (ms: number): Duration => `${ms}ms`;

const headerName = /^[a-z0-9!#$%&'*+.^_`|~-]+$/;

const checks = {
  ttl: duration("1ms"),
  stale: duration(),
  staleAfterWrite: boolean,
  softTimeout: duration(),
  negativeTtl: duration(),
  depends: {
    expected: "a list of names, or a function that returns one",
    read: (value: AnyPolicy["depends"]) => (Array.isArray(value) || typeof value === "function" ? value : undefined),
  },
  vary: given<readonly string[]>("names of headers"),
  cacheControl: {
    expected: "a Cache-Control header of visible ASCII characters",
    read: (value: string) => (/^[\x20-\x7e]+$/.test(value) ? value : undefined),
  },
  scope: oneOf("public", "user", "tenant"),
} satisfies OptionChecks<AnyPolicy>;

/** What resolveEndpointCache() must know of the endpoint. */
export interface CachedEndpointFacts {
  readonly route: string;
  readonly isGet: boolean;
  readonly auth: { readonly tenantId?: unknown } | undefined;
  /** Whether the answer is declared as bytes, or may take as long as it likes: probably a stream. */
  readonly mayStream: boolean;
  readonly headers: readonly string[];
  /** Infinity: none. */
  readonly deadlineMs: number;
}

const fail = (route: string, reason: string): never => {
  throw httpErrors.create("MILLRACE_HTTP_ENDPOINT_INVALID", { route, reason });
};

/**
 * @throws MILLRACE_HTTP_ENDPOINT_INVALID, MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID
 */
export function resolveEndpointCache(declared: unknown, facts: CachedEndpointFacts): ResolvedCachePolicy | CacheOff {
  const { route, isGet, auth, mayStream, headers, deadlineMs } = facts;
  if (declared === false) return "off";
  if (!isGet) return declared === undefined ? "method" : fail(route, "cache is for GET endpoints.");
  if (declared === undefined) {
    if (auth) return "auth";
    if (mayStream) return "stream";
  } else if (typeof declared !== "object" || declared === null) {
    return fail(route, 'cache takes a policy such as { ttl: "5m" }, or false.');
  }
  const policy = (declared ?? {}) as AnyPolicy;
  const resolved = resolveOptions<AnyPolicy, typeof checks>(`endpoint("${route}").cache`, policy, endpointCacheDefaults, checks);
  const scope = resolved.scope ?? "public";
  if (auth && scope === "public")
    fail(route, 'it has auth, so its cache must say for whom an answer is: scope: "user" or "tenant".');
  if (!auth && scope !== "public") fail(route, `the scope "${scope}" needs auth: nobody is identified here.`);
  if (scope === "tenant" && typeof auth!.tenantId !== "function")
    fail(
      route,
      'the scope "tenant" needs an authenticator with tenantId(), such as bearer({ …, tenantId: (user) => user.tenant }).',
    );
  for (const name of resolved.vary ?? []) {
    if (!headerName.test(name)) fail(route, `write the header ${JSON.stringify(name)} of cache.vary in lower case.`);
    if (name === "cookie" || name === "authorization")
      fail(route, `an answer that differs by ${name} is somebody's own: declare auth, and a cache with a scope.`);
    if (name === "accept-encoding") fail(route, "accept-encoding needs no mention in cache.vary: every coding is kept anyway.");
  }
  const { depends } = resolved;
  const negativeTtlMs = resolved.negativeTtl;
  const fillTimeoutMs = deadlineMs === Infinity ? Infinity : Math.min(2 * deadlineMs, maxTimerMs);
  return Object.freeze({
    scope,
    policy: Object.freeze({
      ttl: milliseconds(resolved.ttl),
      stale: milliseconds(resolved.stale),
      staleAfterWrite: resolved.staleAfterWrite,
      ...(resolved.softTimeout !== undefined && { softTimeout: milliseconds(resolved.softTimeout) }),
      // Twice the deadline: one for the client that it began with, one for another that joined at its end.
      ...(fillTimeoutMs !== Infinity && { hardTimeout: milliseconds(fillTimeoutMs) }),
      ...(Array.isArray(depends) && { depends: Object.freeze([...(depends as readonly string[])]) }),
    }),
    vary: Object.freeze([...new Set([...headers, ...(resolved.vary ?? [])])].toSorted()),
    depends: typeof depends === "function" ? (depends as ResolvedCachePolicy["depends"]) : undefined,
    negativeTtl: milliseconds(negativeTtlMs),
    negativeTtlMs,
    cacheControl: resolved.cacheControl ?? (scope === "public" ? "no-cache" : "private, no-cache"),
    keepsUnfollowed: policy.ttl !== undefined || policy.depends !== undefined,
  });
}
