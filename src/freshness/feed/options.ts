// The options of createFeed, their checks, and every default in one literal with its reason.

import {
  type Clock,
  type Duration,
  type OptionChecks,
  boolean,
  duration,
  given,
  integer,
  oneOf,
  string,
  systemClock,
} from "../../core/index.ts";
import type { Session } from "./session.ts";
import type { CanonicalValue } from "./source.ts";

export interface FeedOptions {
  /** Names the primary directly: not a pooler in transaction mode, not a standby. */
  readonly url: string;
  /** "logical": decoding of the log. "triggers": a log table. Default "auto": logical where the server and the role allow it. */
  readonly source?: "auto" | "logical" | "triggers";
  /** Makes on the server what is missing: slot, publication, triggers. Default true; false: `millrace freshness setup` does it. */
  readonly setup?: boolean;
  /** How stale an answer may be: sources poll, and the elected process looks, several times as often. Default "1s". */
  readonly bound?: Duration;
  /** How long a connection, and a statement of the feed's own, may take. Default "5s". */
  readonly timeout?: Duration;
  /** Replication slot of the logical source; per server. Default: millrace_ and the database's number. */
  readonly slot?: string;
  /** Publication of the logical source; per database. Default "millrace". */
  readonly publication?: string;
  /** Makes the persistent slot although the server bounds what it may keep of the log by nothing (max_slot_wal_keep_size). Default false. */
  readonly allowUnboundedSlot?: boolean;
  /** Whether tables may be given REPLICA IDENTITY FULL. Default true. */
  readonly replicaIdentity?: boolean;
  /**
   * Learns from the other processes what was written before this one began, so that a shared store is of use at once, and leaves it behind
   * when it ends in order. Default false.
   */
  readonly history?: boolean;
  /** Dependencies of one commit beyond which only its tables are named. Default 2,000. */
  readonly maxDependenciesPerCommit?: number;
  /** How values are written in dependencies: the same function on both sides. */
  readonly canonicalValue: CanonicalValue;
  /** Hears of each session on which this process listens, before it is used: another one after every loss of the connection. */
  readonly onSession?: (session: Session) => Promise<void>;
  /** Named in channel messages. Default "feed". */
  readonly name?: string;
  readonly clock?: Clock;
}

export const feedDefaults = {
  source: "auto",
  setup: true,
  bound: "1s",
  timeout: "5s", // a mark or a look-up takes milliseconds; a server that is silent for longer is treated as gone
  publication: "millrace",
  allowUnboundedSlot: false, // a forgotten slot fills the disk of a server without that bound
  replicaIdentity: true, // without old values every UPDATE would count for the whole table
  history: false, // costs 8 MB to carry over, and is of use only with a shared store
  maxDependenciesPerCommit: 2_000, // 16 kB, three notifications; a larger commit has touched most answers of its tables anyhow
  onSession: async () => {},
  name: "feed",
  clock: systemClock,
} as const satisfies Partial<FeedOptions>;

const identifier = {
  expected: "a name of lower-case letters, digits and underscores, at most 63",
  read: (value: string) => (typeof value === "string" && /^[a-z_][a-z0-9_]{0,62}$/.test(value) ? value : undefined),
};

export const feedChecks = {
  url: {
    expected: "a URL that begins with postgresql:// or postgres://",
    secret: true,
    read: (value: string) => (typeof value === "string" && /^postgres(?:ql)?:\/\//i.test(value) ? value : undefined),
  },
  source: oneOf("auto", "logical", "triggers"),
  setup: boolean,
  bound: duration("100ms"),
  timeout: duration("100ms"),
  slot: identifier,
  publication: identifier,
  allowUnboundedSlot: boolean,
  replicaIdentity: boolean,
  history: boolean,
  maxDependenciesPerCommit: integer(1, 100_000),
  canonicalValue: given<CanonicalValue>("a function"),
  onSession: given<(session: Session) => Promise<void>>("a function"),
  name: string,
  clock: given<Clock>("a clock"),
} satisfies OptionChecks<FeedOptions>;
