// What a Database and a Transaction have in common: the ways to run a statement.

import type pg from "pg";
import type { Deadline } from "../concurrency/index.ts";
import type { Database } from "./database.ts";
import type { KeysetRequest, Page } from "./keyset/request.ts";
import type { Sql } from "./sql.ts";

/** pg's result: rows, rowCount, fields, command. */
export interface QueryResult<Row> {
  readonly rows: Row[];
  readonly rowCount: number | null;
  readonly fields: pg.FieldDef[];
  readonly command: string;
}

export interface QueryOptions {
  /** Ends the wait for a connection and cancels the running statement. Default: the running work's deadline. */
  readonly signal?: AbortSignal | Deadline | undefined;
  /** false: never on a shared, pipelined connection. Default: short reads may be. */
  readonly pipeline?: boolean;
  /** "array": rows as arrays of values instead of objects. */
  readonly rowMode?: "array";
  /** Other parsers than the database's own, as in pg. */
  readonly types?: pg.CustomTypesConfig;
}

export type IsolationLevel = "read committed" | "repeatable read" | "serializable";

export interface TransactionOptions {
  /** Default "read committed", PostgreSQL's own. */
  readonly isolation?: IsolationLevel;
  /** Default false. */
  readonly readOnly?: boolean;
  /** With serializable and readOnly: waits for a moment at which no other transaction can disturb it. Default false. */
  readonly deferrable?: boolean;
  /**
   * How often the whole callback is run again after a serialization failure (40001), a deadlock (40P01), or a connection lost
   * before COMMIT: nothing of the failed run is in the database. Default 3. The callback's effects elsewhere are repeated too.
   */
  readonly retries?: number;
  readonly signal?: AbortSignal | Deadline | undefined;
}

/** Runs statements: on any connection (Database) or on the transaction's own (Transaction). */
export interface Queryable {
  /** The full result, in pg's shape. */
  query<Row>(statement: Sql<Row>, options?: QueryOptions): Promise<QueryResult<Row>>;
  /** All rows. */
  many<Row>(statement: Sql<Row>, options?: QueryOptions): Promise<Row[]>;
  /** The only row. @throws MILLRACE_DATABASE_ROW_MISSING, MILLRACE_DATABASE_ROWS_UNEXPECTED */
  one<Row>(statement: Sql<Row>, options?: QueryOptions): Promise<Row>;
  /** The only row, or undefined. @throws MILLRACE_DATABASE_ROWS_UNEXPECTED */
  maybeOne<Row>(statement: Sql<Row>, options?: QueryOptions): Promise<Row | undefined>;
  /** One keyset page of the statement's rows, at the same cost at any depth. See docs/keyset-pages.md. */
  page<Row>(request: KeysetRequest, statement: Sql<Row>): Promise<Page<Row>>;
  /** Runs `work` in a transaction; inside one, in a savepoint. Commits when it returns, rolls back when it throws. */
  transaction<Result>(work: (tx: Transaction) => Promise<Result>, options?: TransactionOptions): Promise<Result>;
}

/** A transaction's handle. Valid inside its callback only; statements run one after the other. */
export interface Transaction extends Queryable {
  /** The transaction's pg client, for code that takes one. Do not release it, nor begin or end transactions on it. */
  readonly client: pg.ClientBase;
  /** The database that it runs on. Statements on it are refused in here: it is for knowing which. */
  readonly database: Database;
  /**
   * Calls `listener` once the whole transaction has committed; never when it, or the savepoint around this call, is rolled back. For
   * what would be in vain before: telling somebody to look. It is not called when the process dies, and it must not throw.
   */
  afterCommit(listener: () => void): void;
}
