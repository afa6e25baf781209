// An endpoint's cache policy with what this process has learned about its answers.

import type { ResolvedCachePolicy } from "./policy.ts";

/** Keys whose answers turned out not to be for sharing, at most: beyond it they are forgotten. */
const maxPassed = 1_024;
/** For so long, requests for such a key do not wait for each other. */
const passMs = 1_000;

export interface CachePlan extends ResolvedCachePolicy {
  /** Its handler has returned a stream: it is not asked through the cache any more. */
  streams: boolean;
  /** Answers may go to requests with Authorization (RFC 9111 § 3.5): as the policy's Cache-Control says, or an answer did. */
  takesAuthorized: boolean;
  /** Whether requests for `key` go to the handler side by side: one that had waited for another got nothing from it. */
  passes(key: string): boolean;
  pass(key: string): void;
}

export function createCachePlan(policy: ResolvedCachePolicy, takesAuthorized: boolean): CachePlan {
  const passed = new Map<string, number>();
  return {
    ...policy,
    streams: false,
    takesAuthorized,
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
