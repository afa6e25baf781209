// The options of freshness, their checks, and every default in one literal with its reason.

import type { VersionsOptions } from "../cache/index.ts";
import { type Clock, type Duration, type OptionChecks, given, integer, string, systemClock } from "../core/index.ts";
import type { Database } from "../database/index.ts";
import { type FeedOptions, feedChecks, feedDefaults } from "./feed/options.ts";

export interface FreshnessOptions extends Pick<FeedOptions, "source" | "setup" | "history" | "allowUnboundedSlot"> {
  /** What is read, and whose writes are noted. */
  readonly database: Database;
  /**
   * The primary, directly: for the change feed, which needs sessions of its own. Default: the database's own address. Name it when the
   * database's address leads to a standby, or through a pooler in transaction mode.
   */
  readonly url?: string | undefined;
  /** Further databases whose writes are this process's own: the primary, when `database` is a standby. Default: none. */
  readonly writers?: readonly Database[];
  /** How old an answer may be in a process that has not written itself. Default "1s". At least "100ms". */
  readonly bound?: Duration;
  /** What this process calls itself to `millrace cache`. Default "app". */
  readonly name?: string;
  /** The size of the sketch of versions. */
  readonly versions?: VersionsOptions;
  /** Fills that begin so many milliseconds after a snapshot was asked for may share it. Default 5. 0: never. */
  readonly sampleShareMs?: number;
  readonly clock?: Clock;
}

export const freshnessDefaults = {
  writers: [],
  source: feedDefaults.source,
  bound: "1s", // what a person takes for "at once" after somebody else's change; four marks a second cost next to nothing
  setup: feedDefaults.setup,
  history: feedDefaults.history,
  allowUnboundedSlot: feedDefaults.allowUnboundedSlot,
  name: "app",
  versions: {},
  sampleShareMs: 5, // a snapshot takes about as long as a read; an older one only means that writes of these milliseconds invalidate
  clock: systemClock,
} as const satisfies Partial<FreshnessOptions>;

export const freshnessChecks = {
  database: given<Database>("a Database"),
  url: {
    expected: "a URL that begins with postgresql:// or postgres://",
    secret: true,
    read: (value: string) => (/^postgres(?:ql)?:\/\//i.test(value) && URL.canParse(value) ? value : undefined),
  },
  writers: given<readonly Database[]>("databases"),
  source: feedChecks.source,
  bound: feedChecks.bound,
  setup: feedChecks.setup,
  history: feedChecks.history,
  allowUnboundedSlot: feedChecks.allowUnboundedSlot,
  name: string,
  versions: given<VersionsOptions>("an object"),
  sampleShareMs: integer(0, 1_000),
  clock: given<Clock>("a clock"),
} satisfies OptionChecks<FreshnessOptions>;
