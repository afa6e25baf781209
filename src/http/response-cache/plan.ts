// An endpoint's cache policy with what this process has learned about its answers.

import type { ResolvedCachePolicy } from "./policy.ts";

/** Keys whose answers turned out not to be for sharing, at most: beyond it they are forgotten. */
const maxPassed = 1_024;
/** For so long, requests for such a key do not wait for each other. */
const passMs = 1_000;

/** What a Cache-Control header says that matters to whoever keeps the answer. */
interface Said {
  /** RFC 9111 § 3.5: such an answer may be stored for, and go to, requests with Authorization. */
  readonly forAuthorized: boolean;
  /** It may not be encoded. */
  readonly noTransform: boolean;
}

/** Whether a Cache-Control header has one of these directives, with or without a value. */
export const says = (header: string, pattern: RegExp): boolean =>
  header.split(",").some((directive) => pattern.test(directive.trim()));

export const saidBy = (cacheControl: string): Said => ({
  forAuthorized: says(cacheControl, /^(?:public|must-revalidate|s-maxage)(?:$|[\s=])/i),
  noTransform: says(cacheControl, /^no-transform$/i),
});

/** Names in `given`, a Vary header or empty, and `vary`, in lower case and each once. */
export function variesBy(given: string, vary: readonly string[], compressible: boolean): string {
  const names = [...given.split(","), ...vary, ...(compressible ? ["accept-encoding"] : [])];
  return [...new Set(names.map((name) => name.trim().toLowerCase()).filter((name) => name !== ""))].join(", ");
}

export interface CachePlan extends ResolvedCachePolicy {
  /** Its handler has returned a stream: it is not asked through the cache any more. */
  streams: boolean;
  /** Answers may go to requests with Authorization (RFC 9111 § 3.5): as the policy's Cache-Control says, or an answer did. */
  takesAuthorized: boolean;
  /** What the policy's Cache-Control says. */
  readonly said: Said;
  /** Vary of an answer that names nothing more: when it may be encoded, and when not. */
  readonly varies: { readonly encoded: string; readonly plain: string };
  /** Whether requests for `key` go to the handler side by side: one that had waited for another got nothing from it. */
  passes(key: string): boolean;
  pass(key: string): void;
}

export function createCachePlan(policy: ResolvedCachePolicy): CachePlan {
  const passed = new Map<string, number>();
  const said = saidBy(policy.cacheControl);
  return {
    ...policy,
    streams: false,
    takesAuthorized: said.forAuthorized,
    said,
    varies: { encoded: variesBy("", policy.vary, true), plain: variesBy("", policy.vary, false) },
    passes(key) {
      if (passed.size === 0) return false;
      const untilMs = passed.get(key);
      if (untilMs === undefined) return false;
      if (untilMs > performance.now()) return true;
      passed.delete(key);
      return false;
    },
    pass(key) {
      if (passed.size >= maxPassed) passed.clear();
      passed.set(key, performance.now() + passMs);
    },
  };
}
