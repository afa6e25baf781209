// The options of database, their checks, and every default in one literal with its reason.

import { type Duration, type OptionChecks, boolean, duration, given, integer, string } from "../core/index.ts";

/** How many connections there are, how long anything may wait for one, and when one is checked or replaced. */
export interface PoolOptions {
  /** Connections opened at creation and kept even when idle. Default 1. */
  readonly min?: number;
  /** Connections kept for reuse. Default 10. */
  readonly size?: number;
  /** Connections opened beyond `size` under pressure and closed when they are released. Default 5. 0: none. */
  readonly overflow?: number;
  /** Connections for pipelined short reads outside transactions, in addition to the others. Default 2. 0: no pipelining. */
  readonly pipelined?: number;
  /** How long a request waits for a connection before MILLRACE_DATABASE_POOL_EXHAUSTED. Default "2s". */
  readonly acquireTimeout?: Duration;
  /** How many requests may wait at once; the next is refused at once. Default 1,000. */
  readonly maxWaiting?: number;
  /** How long opening one connection may take. Default "5s". */
  readonly connectTimeout?: Duration;
  /** A connection that was idle this long is pinged before it is handed out. Default "1s". "0s": always. */
  readonly pingAfter?: Duration;
  /** A connection idle this long is closed, down to `min`. Default "1m". "0s": never. */
  readonly idleTimeout?: Duration;
  /** A connection this old is replaced when it is next released or idle, jittered by ±10 %. Default "30m". "0s": never. */
  readonly recycleAfter?: Duration;
  /** A pipelined statement at the head for longer than this no longer holds up those behind it: they run elsewhere. Default "50ms". */
  readonly stallAfter?: Duration;
  /** Prepared statements kept per connection; texts beyond it run unprepared. Default 500. */
  readonly maxPreparedStatements?: number;
}

export const poolDefaults = {
  min: 1, // one warm connection: the first request after a start does not pay for TLS and authentication
  size: 10, // node-postgres' own default, and about what four PostgreSQL cores keep busy
  overflow: 5, // half again for a burst; the reconnects that it costs are paid only while the burst lasts
  pipelined: 2, // measured: one is fastest (40k/s), 2–4 give 34k/s; two, so that a slow statement never holds up everything
  acquireTimeout: "2s", // longer than any healthy queue, shorter than a client's patience
  maxWaiting: 1_000, // at 1 ms a statement on 15 connections this drains in 70 ms; a longer queue would only wait to fail
  connectTimeout: "5s", // a TLS handshake across regions takes under one
  pingAfter: "1s", // a ping costs 30–50 µs; connections busier than one statement a second never pay it
  idleTimeout: "1m", // past the gaps of steady traffic; an idle backend holds 5–10 MB on the server
  recycleAfter: "30m", // spreads connections over replicas and pods that came later, and bounds a backend's memory growth
  stallAfter: "50ms", // hundreds of by-id reads; below it, waiting for a busy CPU looks like a slow statement (bench/findings.md)
  maxPreparedStatements: 500, // a plan takes 10–50 KB in the backend: 5–25 MB per connection at the most
} as const satisfies PoolOptions;

export const poolChecks = {
  min: integer(0, 1_000),
  size: integer(1, 10_000),
  overflow: integer(0, 10_000),
  pipelined: integer(0, 64),
  acquireTimeout: duration("1ms"),
  maxWaiting: integer(0),
  connectTimeout: duration("1ms"),
  pingAfter: duration(),
  idleTimeout: duration(),
  recycleAfter: duration(),
  stallAfter: duration("1ms"),
  maxPreparedStatements: integer(0),
} satisfies OptionChecks<PoolOptions>;

/** Where the embedded server keeps its data. */
export interface EmbeddedOptions {
  /** A directory of its own; created when missing. Default ".millrace/postgres" under the working directory. */
  readonly dataDir?: string;
  /** The database on the server; created when missing. Default "millrace". */
  readonly database?: string;
}

export interface DatabaseOptions {
  /** `postgresql://user:password@host:port/database`, as libpq and pg read it. Absent or empty: the embedded server. */
  readonly url?: string | undefined;
  /** The embedded server's settings; only used without `url`. */
  readonly embedded?: EmbeddedOptions;
  readonly pool?: PoolOptions;
  /** Shown in pg_stat_activity. Default "millrace". */
  readonly applicationName?: string;
  /** Signs keyset cursors; the same in every process, 32 bytes or more of text. Default: a random one kept in the database. */
  readonly cursorSecret?: string | undefined;
  /** Whether `date` columns come as Date at local midnight, as plain pg gives them. Default false: "YYYY-MM-DD". */
  readonly datesAsDate?: boolean;
  /** Hears what the embedded server has to say while it starts. */
  readonly log?: (message: string) => void;
}

export const databaseDefaults = {
  embedded: { dataDir: ".millrace/postgres" },
  pool: {},
  applicationName: "millrace",
  datesAsDate: false, // a Date at local midnight becomes the day before in JSON east of Greenwich
} as const satisfies DatabaseOptions;

export const databaseChecks = {
  url: {
    expected: "a URL that begins with postgresql:// or postgres://",
    secret: true,
    read: (value: string) => (value === "" || (/^postgres(?:ql)?:\/\//i.test(value) && URL.canParse(value)) ? value : undefined),
  },
  embedded: given<EmbeddedOptions>("an object"),
  pool: given<PoolOptions>("an object"),
  applicationName: string,
  cursorSecret: {
    expected: "at least 32 characters",
    secret: true,
    read: (value: string) => (typeof value === "string" && value.length >= 32 ? value : undefined),
  },
  datesAsDate: boolean,
  log: given<(message: string) => void>("a function"),
} satisfies OptionChecks<DatabaseOptions>;
