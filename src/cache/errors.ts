// The error codes of cache.

import { defineErrors } from "../core/index.ts";

export const cacheErrors = defineErrors({
  MILLRACE_CACHE_STORE_UNAVAILABLE: {
    when: "The shared store cannot be reached, refuses, or does not answer within its timeout.",
    next: "Look after the store; the cache goes on with the memory of each process and comes back by itself.",
    retryable: true,
    message: (d: { store: string; operation: string; reason: string }) =>
      `The shared store (${d.store}) did not take ${d.operation}: ${d.reason}`,
  },
});
