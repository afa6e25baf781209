// The engine: RFC 9111's rules with one cache's choices, for whoever stores answers. See docs/http-caching.md.

import { resolveOptions } from "../core/index.ts";
import type { Directives } from "./directives.ts";
import type { Fields } from "./fields.ts";
import type { RequestHead, ResponseHead } from "./messages.ts";
import { type CachingRulesOptions, cachingRulesChecks, cachingRulesDefaults } from "./options.ts";
import { type Verdict, judge, mayServeOnError } from "./reuse.ts";
import { type Facts, type StoringRules, type Unstorable, factsOf, storedFields, whyUnstorable } from "./storing.ts";

/** The rules as one cache follows them. Pure: nothing is kept here, no time is read. */
export interface CachingRules {
  readonly shared: boolean;
  /** Why an answer may not be stored; undefined: it may. */
  whyUnstorable(request: RequestHead, response: ResponseHead): Unstorable | undefined;
  /** The fields of an answer that are kept with it. */
  storedFields(response: ResponseHead): Fields;
  /** What the use of a stored answer depends on; of its fields as they came. */
  factsOf(response: ResponseHead): Facts;
  /** What to do with a stored answer for a request with these directives, now. */
  judge(request: Directives, facts: Facts, nowMs: number): Verdict;
  /** Whether a stored answer may stand in when the origin fails. */
  mayServeOnError(request: Directives, facts: Facts, nowMs: number): boolean;
}

/**
 * The rules of a cache.
 * @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID
 */
export function createCachingRules(given: CachingRulesOptions = {}): CachingRules {
  const options = resolveOptions<CachingRulesOptions, typeof cachingRulesChecks>(
    "createCachingRules",
    given,
    cachingRulesDefaults,
    cachingRulesChecks,
  );
  const rules: StoringRules = {
    shared: options.shared,
    heuristic: options.heuristic,
    maxHeuristicMs: options.maxHeuristic,
    targets: options.targets ?? (options.shared ? ["cdn-cache-control"] : []),
    surrogate: options.surrogate,
    setCookie: options.setCookie,
  };
  return {
    shared: rules.shared,
    whyUnstorable: (request, response) => whyUnstorable(request, response, rules),
    storedFields: (response) => storedFields(response, rules),
    factsOf: (response) => factsOf(response, rules),
    judge,
    mayServeOnError: (request, facts, nowMs) => mayServeOnError(request, facts, nowMs, options.staleIfError),
  };
}
