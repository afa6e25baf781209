// A function that remembers its answers in a cache, by its arguments. docs/memoize.md explains it.

import { type OptionCheck, resolveOptions, string } from "../core/index.ts";
import type { Cache, CachePolicy } from "./cache.ts";
import { canonicalArguments } from "./canonical-arguments.ts";
import { policyChecks } from "./options.ts";

export interface MemoizeOptions<Args extends readonly unknown[]> extends Omit<CachePolicy, "depends" | "tags"> {
  readonly cache: Cache;
  /** Begins every key: the same in all processes, different for different functions. Change it when the answers change their shape. */
  readonly name: string;
  /** What the answer depends on beside what is found out by itself. */
  readonly depends?: (...args: Args) => readonly string[];
  /** What of the arguments decides the answer, as something that canonical arguments can be made of. Default: all of them. */
  readonly keyOf?: (...args: Args) => unknown;
}

/** As the function itself, and two things to do with what it remembers. */
export interface Memoized<Args extends readonly unknown[], Value> {
  (...args: Args): Promise<Value>;
  /** The key under which the cache has the answer to these arguments. */
  key(...args: Args): string;
  /** Makes the answer to these arguments stale. */
  invalidate(...args: Args): Promise<void>;
  /** Makes all answers of the function stale, with one write. */
  invalidateAll(): Promise<void>;
}

const ownChecks = {
  cache: { expected: "a cache", read: (value: Cache) => value } satisfies OptionCheck<Cache>,
  name: {
    expected: "a name that is not empty and has no asterisk",
    read: (value: string) => (string.read(value) !== undefined && !value.includes("*") ? value : undefined),
  } satisfies OptionCheck<string>,
  depends: {
    expected: "a function that returns names",
    read: (value: unknown) => (typeof value === "function" ? value : undefined),
  },
  keyOf: { expected: "a function", read: (value: unknown) => (typeof value === "function" ? value : undefined) },
};

/**
 * Remembers the answers of `compute` in `cache`. Keys are `name` and the arguments: two processes, today and tomorrow, find the
 * same.
 * @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID; when called, MILLRACE_CACHE_ARGUMENT_UNKEYABLE
 */
export function memoize<Args extends readonly unknown[], Value>(
  compute: (...args: Args) => Value | Promise<Value>,
  options: MemoizeOptions<Args>,
): Memoized<Args, Value> {
  const { depends: _depends, tags: _tags, ...policyOnly } = policyChecks;
  resolveOptions<MemoizeOptions<never>, typeof ownChecks & typeof policyOnly>(
    "memoize",
    options,
    {},
    { ...policyOnly, ...ownChecks },
  );
  const { cache, name, depends, keyOf, ...policy } = options;
  const key = (...args: Args): string => `${name}:${canonicalArguments(name, keyOf ? [keyOf(...args)] : args)}`;
  const call = async (...args: Args): Promise<Value> =>
    cache.get<Value>(key(...args), policy, (tools) => {
      if (depends) tools.depends(...depends(...args));
      return compute(...args);
    });
  return Object.assign(call, {
    key,
    invalidate: (...args: Args) => cache.invalidate(key(...args)),
    invalidateAll: () => cache.invalidate(`${name}:*`),
  });
}
