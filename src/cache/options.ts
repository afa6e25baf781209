// The options of cache, their checks, and every default in one literal with its reason.

import { type OptionChecks, given, integer, ratio, string } from "../core/index.ts";

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
