// The options of cdn, their checks, and every default in one literal with its reason.

import {
  type Clock,
  type Duration,
  type OptionCheck,
  type OptionChecks,
  boolean,
  duration,
  given,
  integer,
  systemClock,
} from "../core/index.ts";
import type { CdnAdapter } from "./adapter.ts";

/** Which CDNs stand in front, and how they are told. See docs/cdn.md. */
export interface CdnOptions {
  readonly adapters: readonly CdnAdapter[];
  /**
   * Whether answers also carry Cache-Groups (RFC 9875), for caches that end groups when a request that changes something passes
   * through them. Default false: such a cache does not hear of other writes.
   */
  readonly groups?: boolean | undefined;
  /** Begins every key, so that several services can share a CDN. One to eight lower-case letters or digits. Default "m". */
  readonly prefix?: string | undefined;
  /**
   * How old an answer of any process may be: the `bound` of createFreshness(). What was purged is purged a second time after it,
   * because the CDN may have fetched it from a process that had not heard of the write yet. Default "1s".
   */
  readonly bound?: Duration | undefined;
  /** How long keys are gathered for one purge. Default "50ms". */
  readonly gather?: Duration | undefined;
  /** The longest pause between attempts at a purge that fails. They grow from 250 ms, and never end. Default "30s". */
  readonly maxRetryDelay?: Duration | undefined;
  /** Keys that may wait per CDN. When there are more, everything is purged instead. Default 10,000. */
  readonly maxWaiting?: number | undefined;
  /** Of one purge. Default "15s". */
  readonly timeout?: Duration | undefined;
  readonly clock?: Clock | undefined;
  /** From 0 to below 1, spreads the pauses. Default Math.random. */
  readonly random?: (() => number) | undefined;
}

export const cdnDefaults = {
  groups: false,
  prefix: "m",
  bound: "1s", // that of createFreshness()
  gather: "50ms", // a purge takes longer than that to reach the edge
  maxRetryDelay: "30s", // an API that is back is used half a minute later
  maxWaiting: 10_000, // a hundred purges; more than that in one go is cheaper as one of everything
  timeout: "15s", // the slowest of the four APIs takes a few seconds
  clock: systemClock,
  random: Math.random,
} as const satisfies Omit<CdnOptions, "adapters">;

const prefix: OptionCheck<string, string> = {
  expected: "one to eight lower-case letters or digits",
  read: (value) => (/^[a-z0-9]{1,8}$/.test(value) ? value : undefined),
};

export const cdnChecks = {
  adapters: given<readonly CdnAdapter[]>("a list of adapters"),
  groups: boolean,
  prefix,
  bound: duration(),
  gather: duration(),
  maxRetryDelay: duration("250ms"),
  maxWaiting: integer(1),
  timeout: duration("1ms"),
  clock: given<Clock>("a clock"),
  random: given<() => number>("a function that returns a number from 0 to 1"),
} as const satisfies OptionChecks<CdnOptions>;
