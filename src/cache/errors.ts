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
  MILLRACE_CACHE_FILL_TIMEOUT: {
    when: "A fill did not finish within the hard timeout, and there was no answer that could be served stale.",
    next: "Make the fill faster, raise `hardTimeout`, or allow `stale` answers.",
    retryable: true,
    message: (d: { cache: string; key: string; timeout: string }) =>
      `Filling ${JSON.stringify(d.key)} of cache "${d.cache}" took longer than ${d.timeout} and was given up.`,
  },
  MILLRACE_CACHE_FILL_ABANDONED: {
    when: "A fill is aborted because nobody waits for it any more, or because the cache is closed. Only the fill itself sees it.",
    next: "Nothing: whoever wanted the answer has left.",
    retryable: true,
    message: (d: { cache: string; key: string }) =>
      `Nobody waits for ${JSON.stringify(d.key)} of cache "${d.cache}" any more; its fill was aborted.`,
  },
  MILLRACE_CACHE_NAME_INVALID: {
    when: "A key or a name of a dependency is empty, no string, or a prefix that does not end at a colon.",
    next: 'Use a string that is not empty; write prefixes as "user:*" or "user:42:*", and "*" for everything.',
    retryable: false,
    message: (d: { cache: string; name: unknown; problem: string }) =>
      `Cache "${d.cache}": ${typeof d.name === "string" ? JSON.stringify(d.name.slice(0, 200)) : `a ${typeof d.name}`} ${d.problem}.`,
  },
  MILLRACE_CACHE_ARGUMENT_UNKEYABLE: {
    when: "A memoised function is called with something of which no stable key can be made: a function, an instance, a cycle.",
    next: "Pass plain values, or say with `keyOf` what of the arguments decides the answer.",
    retryable: false,
    message: (d: { memo: string; problem: string }) =>
      `No key can be made of the arguments of "${d.memo}": ${d.problem}. Pass plain values, or give memoize() a \`keyOf\`.`,
  },
  MILLRACE_CACHE_LEDGER_MISSING: {
    when: "A cache with a shared store has no ledger: nothing could tell one process what another has invalidated.",
    next: "Pass the ledger that the processes share (`createFreshness` over PostgreSQL, `createRedisLedger`, or `createTimeLedger` for what nobody invalidates), or leave the store out.",
    retryable: false,
    message: (d: { cache: string; store: string }) =>
      `Cache "${d.cache}" has the shared store "${d.store}" but no ledger that processes share. ` +
      "Pass `ledger`: that of createFreshness() (millrace/freshness, over PostgreSQL), createRedisLedger(), or createTimeLedger() " +
      "for what nobody invalidates; or leave `store` out.",
  },
  MILLRACE_CACHE_TIME_ONLY: {
    when: "invalidate() is called on a cache whose ledger is createTimeLedger(): nothing could tell the other processes.",
    next: "Wait for the ttl, change the ledger's namespace, or give the cache a ledger that can be told.",
    retryable: false,
    message: (d: { namespace: string; names: readonly string[] }) =>
      `${d.names.map((name) => JSON.stringify(name)).join(", ")} cannot be invalidated: time alone decides about the answers of "${d.namespace}". ` +
      "Wait for the ttl, change the namespace, or give the cache another ledger.",
  },
  MILLRACE_CACHE_LEDGER_UNAVAILABLE: {
    when: "Redis has not acknowledged an invalidation, or not answered the ledger.",
    next: "Look after Redis. The invalidation is sent again until it is acknowledged; until then this process serves nothing that depends on it.",
    retryable: true,
    message: (d: { server: string; reason: string }) => `The ledger on Redis (${d.server}) is not answered: ${d.reason}`,
  },
});
