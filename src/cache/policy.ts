// A policy as the cache uses it: resolved once per object, so that those who pass the same one again pay a look-up.

import { resolveOptions } from "../core/index.ts";
import type { CachePolicy } from "./cache.ts";
import { policyChecks, policyDefaults } from "./options.ts";

export interface Policy {
  readonly ttlMs: number;
  /** Whether the user chose the ttl: what depends on the clock is kept only then. */
  readonly choseTtl: boolean;
  readonly staleMs: number;
  readonly choseStale: boolean;
  readonly staleAfterWrite: boolean;
  readonly softTimeoutMs: number;
  readonly hardTimeoutMs: number;
  readonly negativeTtlMs: number;
  /** `depends` and `tags`. */
  readonly names: readonly string[];
}

/** Policies of one cache, over what the cache's own options say. */
export class Policies {
  readonly #base: CachePolicy;
  readonly #resolved = new WeakMap<CachePolicy, Policy>();

  /** @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID, MILLRACE_DURATION_INVALID */
  constructor(base: CachePolicy) {
    this.#base = base;
    this.resolve({});
  }

  /** @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID, MILLRACE_DURATION_INVALID */
  resolve(given: CachePolicy): Policy {
    const known = this.#resolved.get(given);
    if (known !== undefined) return known;
    const merged: Record<string, unknown> = { ...this.#base };
    for (const [option, value] of Object.entries(given)) if (value !== undefined) merged[option] = value; // undefined is "not said"
    const own = resolveOptions<CachePolicy, typeof policyChecks>("a cache policy", merged, policyDefaults, policyChecks);
    const policy: Policy = {
      ttlMs: own.ttl,
      choseTtl: (given.ttl ?? this.#base.ttl) !== undefined,
      staleMs: own.stale,
      choseStale: (given.stale ?? this.#base.stale) !== undefined,
      staleAfterWrite: own.staleAfterWrite,
      softTimeoutMs: own.softTimeout,
      hardTimeoutMs: own.hardTimeout,
      negativeTtlMs: own.negativeTtl,
      names: [...own.depends, ...own.tags],
    };
    this.#resolved.set(given, policy);
    return policy;
  }
}
