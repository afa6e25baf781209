// The database handle: a pool, the ways to run statements on it, and the embedded server when there is no other.
// See docs/database.md.

import { AsyncLocalStorage } from "node:async_hooks";
import pg from "pg";
import type { Deadline } from "../concurrency/index.ts";
import { type Closeable, createLifecycle, resolveOptions } from "../core/index.ts";
import { startEmbeddedPostgres } from "./embedded/index.ts";
import { databaseErrors } from "./errors.ts";
import { type ExportOptions, type ExportStream, exportFrom } from "./export/index.ts";
import { ensureCursorSecret } from "./keyset/index.ts";
import { unobserved } from "./observer.ts";
import { type DatabaseOptions, databaseChecks, databaseDefaults } from "./options.ts";
import { type Pool, createPool, resolvePoolOptions } from "./pool/pool.ts";
import type { QueryOptions, Queryable, Transaction, TransactionOptions } from "./queryable.ts";
import { Runner } from "./runner.ts";
import type { Sql } from "./sql.ts";
import { type StreamOptions, streamRows } from "./stream.ts";
import { type TransactionHandle, runTransaction } from "./transaction.ts";

/** A database: run statements on it, hand its `pool` to an ORM, close it at the end. */
export interface Database extends Queryable, Closeable {
  /** pg's shape: for Kysely, Drizzle or whatever takes a pg Pool. */
  readonly pool: Pool;
  /** Where it is, without user and password. */
  readonly url: string;
  /** Whether the server is the embedded one. */
  readonly embedded: boolean;
  /** Rows one by one through a server-side cursor; leaving the loop early ends the statement. */
  stream<Row>(statement: Sql<Row>, options?: StreamOptions): AsyncIterable<Row>;
  /** Rows as bytes in NDJSON, JSON or CSV. See docs/streaming-export.md. */
  export(statement: Sql, options: ExportOptions): ExportStream;
  /** Whether this code runs inside of a transaction of this database: then only its `tx` is of use, or outsideTransaction(). */
  readonly insideTransaction: boolean;
  /** Runs `work` as if it were outside of the transaction around it, on other connections. */
  outsideTransaction<Result>(work: () => Promise<Result>): Promise<Result>;
  /** The key that signs keyset cursors: the option, or one kept in the database. */
  cursorSecret(): Promise<Buffer> | Buffer;
}

/** OID of `date`. */
const dateOid = 1082;

class PostgresDatabase extends Runner implements Database {
  readonly pool: Pool;
  readonly url: string;
  readonly embedded: boolean;
  readonly #transactions = new AsyncLocalStorage<TransactionHandle | undefined>();
  readonly #close: () => Promise<void>;
  #secret: Promise<Buffer> | Buffer | undefined;

  constructor(pool: Pool, url: string, embedded: boolean, secret: Buffer | undefined, close: () => Promise<void>) {
    super();
    this.pool = pool;
    this.url = url;
    this.embedded = embedded;
    this.#secret = secret;
    this.#close = close;
  }

  override transaction<Result>(work: (tx: Transaction) => Promise<Result>, options?: TransactionOptions): Promise<Result> {
    return this.#refusedInside() ?? runTransaction(this, work, options);
  }

  stream<Row>(statement: Sql<Row>, options?: StreamOptions): AsyncIterable<Row> {
    return streamRows<Row>(() => this.pool.lease(), statement, options);
  }

  export(statement: Sql, options: ExportOptions): ExportStream {
    return exportFrom(() => this.pool.lease(), statement, options);
  }

  get insideTransaction(): boolean {
    const tx = this.#transactions.getStore();
    return tx !== undefined && !tx.ended;
  }

  outsideTransaction<Result>(work: () => Promise<Result>): Promise<Result> {
    return this.#transactions.run(undefined, work);
  }

  override cursorSecret(): Promise<Buffer> | Buffer {
    return (this.#secret ??= this.#loadSecret());
  }

  /** For transactions: what runs inside `work` is inside `tx`. */
  enter<Result>(tx: TransactionHandle, work: () => Promise<Result>): Promise<Result> {
    return this.#transactions.run(tx, work);
  }

  close(): Promise<void> {
    return this.#close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#close();
  }

  protected override execute(
    text: string,
    values: readonly unknown[],
    { rowMode, types, pipeline }: QueryOptions,
    deadline: Deadline | undefined,
  ): Promise<pg.QueryResult> {
    return this.#refusedInside() ?? this.pool.run(text, values, { rowMode, types, pipeline, deadline });
  }

  /** Inside a transaction, a statement on this handle would not see its writes and could wait for its locks forever. */
  #refusedInside(): Promise<never> | undefined {
    return !this.insideTransaction ? undefined : Promise.reject(databaseErrors.create("MILLRACE_DATABASE_TRANSACTION_OPEN", {}));
  }

  async #loadSecret(): Promise<Buffer> {
    try {
      const secret = await unobserved(() => this.outsideTransaction(() => ensureCursorSecret(this)));
      this.#secret = secret;
      return secret;
    } catch (error) {
      this.#secret = undefined; // asked again with the next page
      throw error;
    }
  }
}

/** Dates as text unless asked otherwise; everything else as pg has it. */
function typeParsers(datesAsDate: boolean): pg.CustomTypesConfig {
  const { getTypeParser } = pg.types;
  if (datesAsDate) return { getTypeParser };
  const asText = (value: string) => value;
  const withTextDates = (oid: number, format?: "text" | "binary"): unknown =>
    oid === dateOid && format !== "binary" ? asText : (getTypeParser as (oid: number, format?: string) => unknown)(oid, format);
  return { getTypeParser: withTextDates as typeof getTypeParser };
}

/** The URL without what must not be shown. */
function publicUrl(url: string): string {
  return url.replace(/\/\/[^/@]*@/, "//").replace(/([?&](?:password|sslpassword)=)[^&]*/gi, "$1…");
}

/**
 * Opens a database: the one at `url`, or the embedded server without one. With a `url` it does not wait for the server: a
 * service starts, reports that it is not ready, and works as soon as the server answers.
 * @throws the embedded server's errors, MILLRACE_OPTION_INVALID
 */
export async function createDatabase(options: DatabaseOptions = {}): Promise<Database> {
  const resolved = resolveOptions<DatabaseOptions, typeof databaseChecks>(
    "createDatabase",
    options,
    databaseDefaults,
    databaseChecks,
  );
  resolvePoolOptions(resolved.pool); // before a server is started for nothing
  const lifecycle = createLifecycle("the database");
  try {
    let { url } = resolved;
    const embedded = !url;
    if (!url) {
      const server = await startEmbeddedPostgres({
        dataDir: resolved.embedded.dataDir ?? databaseDefaults.embedded.dataDir,
        database: resolved.embedded.database,
        log: resolved.log,
      });
      lifecycle.add("the embedded PostgreSQL server", () => server.close(), 60_000);
      url = server.url;
    }
    const pool = createPool(
      { connectionString: url, application_name: resolved.applicationName, types: typeParsers(resolved.datesAsDate) },
      resolved.pool,
    );
    lifecycle.add("the connection pool", () => pool.end());
    const secret = resolved.cursorSecret === undefined ? undefined : Buffer.from(resolved.cursorSecret);
    const database = new PostgresDatabase(pool, publicUrl(url), embedded, secret, () => lifecycle.close());
    const warm = pool.warmUp();
    if (embedded) await warm;
    return database;
  } catch (error) {
    await lifecycle.close();
    throw error;
  }
}
