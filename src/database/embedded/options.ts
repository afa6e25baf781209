// What the embedded server takes and how it is set up, each number with its reason. See docs/embedded-postgresql.md.

import type { Duration } from "../../core/index.ts";
import { duration, given, resolveOptions, string } from "../../core/index.ts";
import type { OptionChecks, ResolvedOptions } from "../../core/index.ts";

export interface EmbeddedPostgresOptions {
  /** Directory for the database's files, made when missing. Everything in it belongs to the embedded server. */
  readonly dataDir: string;
  /** The database that `url` names; made when missing. Default: `millrace`. */
  readonly database?: string;
  /** Told, in one sentence each, what people want to know: a new database, an adopted server, files kept elsewhere. Default: nobody. */
  readonly log?: (message: string) => void;
  /** PostgreSQL settings on top of serverSettings, for the server that this call starts. A running server keeps its own. */
  readonly settings?: Readonly<Record<string, string>>;
  /** How long starting may take, recovery after a crash included. Default: `60s`, as pg_ctl waits. */
  readonly startTimeout?: Duration;
}

/** PostgreSQL settings of the embedded server; what is not here is PostgreSQL's own default. */
export const serverSettings = Object.freeze({
  /** The Unix socket is the only way in. */
  listen_addresses: "",
  unix_socket_permissions: "0700",
  /** Durable like a production server: an acknowledged row survives a crash of the process, the server or the machine. */
  fsync: "on",
  full_page_writes: "on",
  synchronous_commit: "on",
  /** The change feed reads the log by logical decoding; changing the level later would need a restart. */
  wal_level: "logical",
  /** One per process that follows the change feed, and room for a backup. PostgreSQL's default, said because we rely on it. */
  max_wal_senders: "10",
  max_replication_slots: "10",
  /** A slot that nobody reads any more must not fill a developer's disk: it is invalidated after 1 GB of log. */
  max_slot_wal_keep_size: "1GB",
  /** Some ten processes with a pool of eight each. An idle connection costs about 2 MB. */
  max_connections: "100",
  /** Enough for a few hundred thousand rows in memory; only pages in use are ever touched. */
  shared_buffers: "128MB",
  /** Compiling a plan costs more than it saves on the short statements of an API, and shows as latency that nobody can explain. */
  jit: "off",
  /** Which statements take the time: the doctor asks, and loading it later would need a restart. */
  shared_preload_libraries: "pg_stat_statements",
  /** The same instants in every developer's output. */
  timezone: "UTC",
  log_timezone: "UTC",
  /** Messages are read by the kit, and by people who search for them. */
  lc_messages: "C",
  /** Every process that uses the server is present through one idle connection; none may be ended for idling. */
  idle_session_timeout: "0",
  /** One process's crash restarts the server's processes, not the machine's administrator. PostgreSQL's default, relied on. */
  restart_after_crash: "on",
}) satisfies Readonly<Record<string, string>>;

/** Settings for throw-away servers in tests: nothing waits for the disk, and nothing survives a crash of the machine. */
export const throwAwaySettings = Object.freeze({
  fsync: "off",
  full_page_writes: "off",
  synchronous_commit: "off",
}) satisfies Readonly<Record<string, string>>;

/** A longer log file is moved to server.log.1 when a server starts: about 100,000 lines, and two files at most. */
export const maxLogBytes = 8 * 1024 * 1024;

/** The shortest size of the address of a Unix socket among the systems we run on (macOS; Linux has 107). */
export const maxSocketPathBytes = 103;

/** How long a stop may take before it is made harder: a fast shutdown writes out shared buffers, an immediate one writes nothing. */
export const stopTimeouts = Object.freeze({ fastMs: 30_000, immediateMs: 5_000, killedMs: 5_000 });

/** While waiting for another process's progress; looking costs microseconds, and a start takes about 20 ms. */
export const lookEveryMs = 10;

/** A lock file without a number that is older than this is of a server that was killed while it wrote it. */
export const emptyLockFileMs = 2_000;

/** A crashed server is started again at once, then after waits that double up to half a minute (a full disk stays full for a while). */
export const restartWaits = Object.freeze({ firstMs: 500, maxMs: 30_000 });

const defaults = Object.freeze({
  database: "millrace",
  settings: {},
  log: () => {},
  startTimeout: "60s",
}) satisfies Partial<EmbeddedPostgresOptions>;

const checks = {
  dataDir: string,
  database: string,
  log: given<(message: string) => void>("a function"),
  settings: given<Readonly<Record<string, string>>>("an object of PostgreSQL settings"),
  startTimeout: duration("1s"),
} satisfies OptionChecks<EmbeddedPostgresOptions>;

export type ResolvedEmbeddedPostgresOptions = ResolvedOptions<typeof checks>;

export const resolveEmbeddedOptions = (options: EmbeddedPostgresOptions): ResolvedEmbeddedPostgresOptions =>
  resolveOptions<EmbeddedPostgresOptions, typeof checks>("startEmbeddedPostgres", options, defaults, checks);
