// The options of cache, their checks, and every default in one literal with its reason.

import {
  type Clock,
  type Duration,
  type OptionCheck,
  type OptionChecks,
  boolean,
  duration,
  given,
  integer,
  ratio,
  string,
  systemClock,
} from "../core/index.ts";
import type { CachePolicy } from "./cache.ts";
import type { Ledger } from "./ledger.ts";
import type { Store } from "./store.ts";

/** How much a memory tier may hold. See docs/memory-tier.md. */
export interface MemoryTierOptions<Value> {
  /** Names the tier in messages of `millrace:cache:eviction`. Default "memory". */
  readonly name?: string;
  /**
   * Bound of the sum of all entries, each counted with its key, its value and `entryOverheadBytes`. Default 64 MiB, at least 1 KiB.
   */
  readonly maxBytes?: number;
  /** Largest entry that is taken, as a share of `maxBytes`. Default 0.05. 1: anything that fits. */
  readonly maxEntryRatio?: number;
  /** Share of `maxBytes` for entries that nobody has asked for again. Default 0.1. */
  readonly smallRatio?: number;
  /**
   * Bytes that a value takes. Called once per set(), so keep it cheap. A result that is negative or not a number refuses the value.
   * Default: the byte length of a Uint8Array, twice the length of a string.
   */
  readonly sizeOf?: (value: Value) => number;
}

export const memoryTierDefaults = {
  name: "memory",
  maxBytes: 64 * 2 ** 20, // 3,000 answers of 20 KB, and room for it in the smallest containers that people run (256 MB)
  maxEntryRatio: 0.05, // half of the small queue: no single entry can wash out everything that is on probation
  smallRatio: 0.1, // the size that Yang et al. (SOSP 2023) settled on for all of their traces
} as const satisfies MemoryTierOptions<never>;

export const memoryTierChecks = {
  name: string,
  maxBytes: integer(1024),
  maxEntryRatio: ratio,
  smallRatio: ratio,
  sizeOf: given<(value: never) => number>("a function from a value to its bytes"),
} as const satisfies OptionChecks<MemoryTierOptions<never>>;

/** The size of the sketch of versions. Every process may have its own: it only decides how often two dependencies are mistaken. */
export interface VersionsOptions {
  /** Slots per row, a power of two from 2 to 2^26. Default 2^20: 4 MiB per row. */
  readonly slots?: number;
  /** Rows, 1 to 8. Default 2. */
  readonly rows?: number;
}

export const versionsDefaults = {
  slots: 2 ** 20, // with two rows 8 MiB; up to 110,000 other dependencies written in an entry's life invalidate 1 % by mistake
  rows: 2, // the second is read only after a write or a collision; bench/findings.md#eviction has four rows beside it
} as const satisfies VersionsOptions;

export const versionsChecks = {
  slots: {
    expected: "a power of two from 2 to 67,108,864",
    read: (value: number) => (Number.isInteger(Math.log2(value)) && value >= 2 && value <= 2 ** 26 ? value : undefined),
  },
  rows: integer(1, 8),
} as const satisfies OptionChecks<VersionsOptions>;

/** The ledger of one process. */
export interface LocalLedgerOptions {
  /** Part of every key. Default "local". */
  readonly namespace?: string;
  /** As for createVersions(). Default 2^18. */
  readonly slots?: number;
}

export const localLedgerDefaults = {
  namespace: "local",
  slots: 2 ** 18, // 2 MiB: what one process invalidates by hand is far less than what all write to a database
} as const satisfies LocalLedgerOptions;

export const localLedgerChecks = {
  namespace: string,
  slots: versionsChecks.slots,
} as const satisfies OptionChecks<LocalLedgerOptions>;

/** The ledger of what time alone decides. */
export interface TimeLedgerOptions {
  /** Part of every key: whose answers they are, and of which shape. */
  readonly namespace: string;
}

export const timeLedgerChecks = { namespace: string } as const satisfies OptionChecks<TimeLedgerOptions>;

const names: OptionCheck<readonly string[], readonly string[]> = {
  expected: "a list of names that are not empty",
  read: (value) =>
    Array.isArray(value) && value.every((name) => typeof name === "string" && name !== "") ? [...value] : undefined,
};

export const policyDefaults = {
  ttl: "5m", // what is written makes an answer stale at once; this bounds what nobody told us of
  stale: "1m", // an upstream's restart; what a write has made stale is not served during it
  staleAfterWrite: false, // the promise
  softTimeout: "50ms", // a person does not notice it, and most fills are done by then
  hardTimeout: "10s", // well below the 30 s after which proxies give up
  negativeTtl: "10s", // "there is none" is often asked for just before there is one
  depends: [],
  tags: [],
} as const satisfies CachePolicy;

export const policyChecks = {
  ttl: duration("1ms"),
  stale: duration(),
  staleAfterWrite: boolean,
  softTimeout: duration(),
  hardTimeout: duration("1ms"),
  negativeTtl: duration(),
  depends: names,
  tags: names,
} as const satisfies OptionChecks<CachePolicy>;

/** What a cache is made of. See docs/cache.md. */
export interface CacheOptions {
  /** Names the cache in messages, in metrics, and in the keys of the store. Letters, digits, ".", "_", "-". Default "cache". */
  readonly name?: string;
  /** The memory tier's options; false: none. Default 64 MiB. */
  readonly memory?: Omit<MemoryTierOptions<never>, "name" | "sizeOf"> | false;
  /** What processes share. Default: nothing. Whoever made it closes it. A breaker is put before it, unless it has one: withBreaker(). */
  readonly store?: Store;
  /** Says what may be served. Default: one for this process; with a store it must be given. */
  readonly ledger?: Ledger;
  /** What holds where a read's own policy says nothing. */
  readonly policy?: CachePolicy;
  /** The largest value that is kept. Larger ones are returned, and made anew each time. Default 8 MiB. */
  readonly maxValueBytes?: number;
  /**
   * How eagerly an answer is made anew before its time is over (beta of XFetch). Default 1; larger is earlier; 0: not at all.
   */
  readonly earlyRefresh?: number;
  /** How long one process may fill a key while the others wait: two fills run when it dies. Default "5s". */
  readonly lease?: Duration;
  /** A share of hits, 0 to 1, is made again behind the scenes and compared. Default: none. */
  readonly check?: { readonly ratio: number };
  readonly clock?: Clock;
  /** From 0 to below 1: spreads ttls, decides early refreshes and what is checked. Default Math.random. */
  readonly random?: () => number;
}

export const cacheDefaults = {
  name: "cache",
  memory: {},
  policy: {},
  maxValueBytes: 8 * 2 ** 20, // an eighth of the memory tier; encoding more would hold up the process for a noticeable time
  earlyRefresh: 1, // the optimum in Vattani, Chierichetti and Lowenstein (VLDB 2015)
  lease: "5s", // longer than nearly every fill, short enough to wait for when a process dies
  check: { ratio: 0 },
  clock: systemClock,
  random: Math.random,
} satisfies CacheOptions;

export const cacheChecks = {
  name: {
    expected: 'letters, digits, ".", "_" and "-"',
    read: (value: string) => (/^[\w.-]{1,100}$/.test(value) ? value : undefined),
  },
  memory: given<NonNullable<CacheOptions["memory"]>>("options of the memory tier, or false"),
  store: given<Store>("a store"),
  ledger: given<Ledger>("a ledger"),
  policy: given<CachePolicy>("a policy"),
  maxValueBytes: integer(1),
  earlyRefresh: {
    expected: "a number of at least 0",
    read: (value: number) => (Number.isFinite(value) && value >= 0 ? value : undefined),
  },
  lease: duration("1ms"),
  check: {
    expected: "{ ratio } with a number from 0 to 1",
    read: (value: { readonly ratio: number }) =>
      typeof value === "object" && ratio.read(value.ratio) !== undefined && Object.keys(value).length === 1 ? value : undefined,
  },
  clock: given<Clock>("a clock"),
  random: given<() => number>("a function that returns a number from 0 to 1"),
} as const satisfies OptionChecks<CacheOptions>;
