// Migrations: numbered SQL files, each applied once, in order, in a transaction of its own. See docs/migrations.md.
//
// One process at a time migrates a database; the others wait and then find nothing to do. What was applied stands in
// millrace.migrations with its checksum, so that a file that was changed, renamed or lost afterwards is noticed.

import { readFile } from "node:fs/promises";
import type pg from "pg";
import {
  type Clock,
  type Duration,
  type OptionChecks,
  boolean,
  duration,
  formatDuration,
  given,
  resolveOptions,
  string,
  systemClock,
} from "../core/index.ts";
import { migrationChannel } from "./channels.ts";
import { databaseErrors } from "./errors.ts";
import { advisoryLockClass, advisoryLocks } from "./kit-schema.ts";
import { type MigrationFile, lineAtPosition, readMigrations } from "./migration-files.ts";

export interface MigrateOptions {
  /** Where the files are: `0001_create_cities.sql`, `0002_…`, from 1 without gaps. */
  readonly directory: string;
  /** Applies what is pending in one transaction and rolls it back. Default false. */
  readonly dryRun?: boolean;
  /** Hears what happens, line by line. Default: nobody. */
  readonly log?: (message: string) => void;
  /** How long to wait for another process that is migrating the same database. Default "10m". */
  readonly lockTimeout?: Duration;
  /** How long a statement in a transaction may wait for a lock on a table before the migration fails. Default "10s". "0s": for ever. */
  readonly tableLockTimeout?: Duration;
  readonly clock?: Clock;
}

export const migrateDefaults = {
  dryRun: false,
  log: () => {},
  lockTimeout: "10m", // a long migration of the first process that started; orchestrators wait about as long for a start
  tableLockTimeout: "10s", // while ALTER TABLE waits behind a long query, every other query waits behind ALTER TABLE
  clock: systemClock,
} as const satisfies Partial<MigrateOptions>;

const migrateChecks = {
  directory: string,
  dryRun: boolean,
  log: given<(message: string) => void>("a function"),
  lockTimeout: duration(),
  tableLockTimeout: duration(),
  clock: given<Clock>("a clock"),
} satisfies OptionChecks<MigrateOptions>;

/** A migration that was applied. */
export interface AppliedMigration {
  readonly id: number;
  readonly name: string;
  readonly durationMs: number;
}

export interface MigrationReport {
  /** What this call applied, or tried in a dry run, in order. */
  readonly applied: readonly AppliedMigration[];
  /** Names of pending migrations that a dry run could not try, because they cannot run in a transaction. */
  readonly notTried: readonly string[];
  /** How many migrations the database has now. */
  readonly total: number;
}

/** What migrate() needs: anything with a pg pool, such as a Database. */
export interface MigrationTarget {
  readonly pool: { connect(): Promise<pg.PoolClient> };
}

/** How often to ask whether the other process is done. Asking, not waiting inside PostgreSQL: see lock(). */
const lockPollMs = 100;

/**
 * Brings the database up to the directory's last migration.
 * @throws MILLRACE_MIGRATION_* with the next step; the migrations before a failing one stay applied
 */
export async function migrate(target: MigrationTarget, options: MigrateOptions): Promise<MigrationReport> {
  const settings = resolveOptions<MigrateOptions, typeof migrateChecks>("migrate", options, migrateDefaults, migrateChecks);
  const files = await readMigrations(settings.directory);
  const client = await target.pool.connect();
  // A lost connection also rejects the running query; without a listener the event would end the process.
  client.on("error", () => {});
  try {
    await lock(client, settings);
    return await new Run(client, files, settings, await kitVersion()).run();
  } finally {
    // Closing the connection gives the lock back, and with it every setting that a migration may have left.
    client.release(true);
  }
}

type Settings = ReturnType<typeof resolveOptions<MigrateOptions, typeof migrateChecks>>;

/**
 * Takes the session's advisory lock. A session that waited for it inside PostgreSQL would hold a snapshot for as long, and CREATE
 * INDEX CONCURRENTLY in the process that has the lock would wait for that snapshot: a deadlock.
 */
async function lock(client: pg.PoolClient, { lockTimeout, clock, log }: Settings): Promise<void> {
  const startedMs = clock.monotonic();
  for (let told = false; ; told = true) {
    const { rows } = await client.query<{ locked: boolean }>({
      text: "select pg_try_advisory_lock($1::int, $2::int) as locked",
      values: [advisoryLockClass, advisoryLocks.migrations],
    });
    if (rows[0]!.locked) return;
    if (clock.monotonic() - startedMs >= lockTimeout)
      throw databaseErrors.create("MILLRACE_MIGRATION_BUSY", { waited: formatDuration(lockTimeout) });
    if (!told) log("Another process is migrating this database; waiting for it.");
    await new Promise<void>((resolve) => clock.timer(lockPollMs, resolve, true));
  }
}

async function kitVersion(): Promise<string> {
  const text = await readFile(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

/** A row of millrace.migrations. */
interface MigrationRow {
  readonly id: number;
  readonly name: string;
  readonly checksum: string;
}

/** Several commands in one text are one transaction. */
const createTable = `
  select pg_advisory_xact_lock(${advisoryLockClass}, ${advisoryLocks.schema});
  create schema if not exists millrace;
  create table if not exists millrace.migrations (
    id integer primary key,
    name text not null,
    checksum text not null,
    applied_at timestamptz not null default now(),
    duration_ms integer not null,
    version text not null
  )`;

/** Back to what the role and the connection say; DISCARD ALL would also give the lock back. */
const resetSession = "reset session authorization; reset all";

/** Deferred constraints are checked before COMMIT, so that a violation is reported as the file's. */
const checkConstraints = "set constraints all immediate";

/** One run of migrate() that holds the lock. */
class Run {
  readonly #client: pg.PoolClient;
  readonly #files: readonly MigrationFile[];
  readonly #settings: Settings;
  readonly #version: string;

  constructor(client: pg.PoolClient, files: readonly MigrationFile[], settings: Settings, version: string) {
    this.#client = client;
    this.#files = files;
    this.#settings = settings;
    this.#version = version;
  }

  async run(): Promise<MigrationReport> {
    const done = await this.#applied();
    const pending = this.#pending(done);
    const { log, dryRun } = this.#settings;
    if (pending.length === 0) log(`The database is up to date: ${done.length} ${plural(done.length)}.`);
    const report = dryRun ? await this.#tryAll(pending) : await this.#applyAll(pending);
    return { ...report, total: done.length + (dryRun ? 0 : report.applied.length) };
  }

  /** What the database says it has. */
  async #applied(): Promise<MigrationRow[]> {
    const { rows } = await this.#client.query<{ exists: boolean }>(
      "select to_regclass('millrace.migrations') is not null as exists",
    );
    if (!rows[0]!.exists) return [];
    return (await this.#client.query<MigrationRow>("select id, name, checksum from millrace.migrations order by id")).rows;
  }

  /** The files that are not applied yet, once everything that is applied has been found unchanged. */
  #pending(done: readonly MigrationRow[]): MigrationFile[] {
    const files = new Map(this.#files.map((file) => [file.id, file]));
    for (const row of done) {
      const file = files.get(row.id);
      if (!file) throw databaseErrors.create("MILLRACE_MIGRATION_MISSING", { name: row.name, directory: this.#settings.directory });
      if (file.name !== row.name && file.checksum === row.checksum) {
        throw databaseErrors.create("MILLRACE_MIGRATION_RENAMED", { was: row.name, now: file.name });
      }
      if (file.name !== row.name || file.checksum !== row.checksum) {
        throw databaseErrors.create("MILLRACE_MIGRATION_CHANGED", { was: row.name, now: file.name });
      }
    }
    const applied = new Set(done.map((row) => row.id));
    const pending = this.#files.filter((file) => !applied.has(file.id));
    const last = done.at(-1);
    const early = last && pending.find((file) => file.id < last.id);
    if (early) throw databaseErrors.create("MILLRACE_MIGRATION_OUT_OF_ORDER", { name: early.name, applied: last.name });
    return pending;
  }

  async #applyAll(pending: readonly MigrationFile[]): Promise<Omit<MigrationReport, "total">> {
    const applied: AppliedMigration[] = [];
    if (pending.length > 0) await this.#client.query(createTable);
    for (const file of pending) applied.push(await this.#apply(file));
    return { applied, notTried: [] };
  }

  async #tryAll(pending: readonly MigrationFile[]): Promise<Omit<MigrationReport, "total">> {
    const { log } = this.#settings;
    const applied: AppliedMigration[] = [];
    const notTried: string[] = [];
    await this.#client.query("begin");
    try {
      for (const file of pending) {
        await this.#reset(true);
        if (file.transaction) {
          applied.push(await this.#execute(file));
          log(`${file.name} would be applied (${formatDuration(applied.at(-1)!.durationMs)}).`);
        } else {
          notTried.push(file.name);
          log(`${file.name} would be applied, but cannot be tried: it runs without a transaction.`);
        }
      }
      const last = pending.at(-1);
      if (last) await this.#query(last, checkConstraints);
    } finally {
      await this.#client.query("rollback").catch(() => {}); // a lost connection has rolled back
    }
    if (pending.length > 0) log("Dry run: everything was rolled back.");
    return { applied, notTried };
  }

  async #apply(file: MigrationFile): Promise<AppliedMigration> {
    await this.#reset(file.transaction);
    if (file.transaction) await this.#client.query("begin");
    let applied: AppliedMigration;
    try {
      applied = await this.#execute(file);
      if (file.transaction) await this.#query(file, checkConstraints);
    } catch (error) {
      if (file.transaction) await this.#client.query("rollback").catch(() => {}); // a lost connection has rolled back
      throw error;
    }
    await this.#client.query(resetSession); // the file may have given up the role that may write this
    await this.#client.query({
      text: "insert into millrace.migrations (id, name, checksum, duration_ms, version) values ($1, $2, $3, $4, $5)",
      values: [file.id, file.name, file.checksum, Math.round(applied.durationMs), this.#version],
    });
    if (file.transaction) await this.#client.query("commit");
    this.#settings.log(`${file.name} applied in ${formatDuration(applied.durationMs)}.`);
    if (migrationChannel.hasSubscribers) migrationChannel.publish(applied);
    return applied;
  }

  /** Runs the file's text. Without a transaction it must be one statement, which the extended protocol insists on. */
  async #execute(file: MigrationFile): Promise<AppliedMigration> {
    const { clock } = this.#settings;
    const startedMs = clock.monotonic();
    await this.#query(file, file.transaction ? file.text : ({ text: file.text, queryMode: "extended" } as pg.QueryConfig));
    // A last defence: END alone is not told apart from the end of a function's body before it runs.
    if (file.transaction && this.#client.getTransactionStatus() !== "T") {
      throw databaseErrors.create("MILLRACE_MIGRATION_TRANSACTION_CONTROL", { name: file.name, line: undefined, command: "end" });
    }
    return { id: file.id, name: file.name, durationMs: clock.monotonic() - startedMs };
  }

  /** Runs a query on behalf of a file. */
  async #query(file: MigrationFile, query: string | pg.QueryConfig): Promise<void> {
    try {
      await this.#client.query(query as string); // pg's types want to know which of the two it is; query() does not
    } catch (error) {
      throw failure(file, error);
    }
  }

  /** No file inherits settings from the role or from the file before it. */
  async #reset(inTransaction: boolean): Promise<void> {
    await this.#client.query(`${resetSession}; set statement_timeout = 0; set idle_in_transaction_session_timeout = 0`);
    // CREATE INDEX CONCURRENTLY waits for old transactions as for a lock, blocks nobody meanwhile, and leaves a broken index when it fails.
    const timeoutMs = inTransaction ? this.#settings.tableLockTimeout : 0;
    await this.#client.query({ text: "select set_config('lock_timeout', $1, false)", values: [String(timeoutMs)] });
  }
}

const plural = (count: number): string => (count === 1 ? "migration" : "migrations");

/** What PostgreSQL says about a failing file, with the line when it says where. */
function failure(file: MigrationFile, error: unknown): Error {
  const { position, detail, hint, where, message } = error as Partial<pg.DatabaseError> & { readonly message: string };
  const line = position === undefined ? undefined : lineAtPosition(file.text, Number(position));
  const reason = [message, detail, hint, where].filter((part) => part !== undefined && part !== "").join(" · ");
  return databaseErrors.create(
    "MILLRACE_MIGRATION_FAILED",
    { name: file.name, line, reason, transaction: file.transaction },
    error,
  );
}
