// The options of etl(), their checks, and every default in one literal with its reason.

import { availableParallelism, tmpdir } from "node:os";
import type { Readable } from "node:stream";
import type { Ending } from "../concurrency/index.ts";
import { type OptionChecks, boolean, given, integer, oneOf, string } from "../core/index.ts";
import type { Database, Sql, Transaction } from "../database/index.ts";
import type { ColumnTypes } from "./column-types.ts";
import type { EtlProgress } from "./protocol.ts";

/** A file, or a stream that is put on disk first: exactly one of them. */
export interface EtlSource {
  readonly file?: string;
  readonly stream?: Readable;
  readonly format: "csv" | "ndjson" | "parquet";
  /**
   * The columns and their types. Text that is no value of its column's type makes its row a bad one. NDJSON needs it; CSV without
   * it is text throughout, named by the header; Parquet without it is what the file says.
   */
  readonly columns?: ColumnTypes;
  /** CSV: between fields. Default ",". One ASCII character. */
  readonly delimiter?: string;
  /** CSV: whether the first line names the columns, in any order. Default true; false: `columns`, in the file's order. */
  readonly header?: boolean;
  /** Columns (in NDJSON fields) that are not declared. Default "refuse". */
  readonly extraColumns?: "refuse" | "ignore";
}

/** A generator in a module of yours, run beside the data: see TransformFunction. */
export interface ModuleTransform {
  /** `new URL("./clean.ts", import.meta.url)` */
  readonly module: URL;
  /** The exported generator. Default "transform". */
  readonly name?: string;
  /** Columns of the rows that it yields. */
  readonly columns: ColumnTypes;
}

/** A file that appears under its name when it is whole, in place of one that is there. */
export interface FileTarget {
  readonly file: string;
  readonly format: "csv" | "ndjson" | "parquet";
  /** CSV. Default ",". */
  readonly delimiter?: string;
  /** CSV. Default true. */
  readonly header?: boolean;
}

/** A table in PostgreSQL, which gets all good rows in one transaction or none. */
export interface TableTarget {
  readonly database: Database;
  /** Its name, with its schema where needed: `"readings"`, `"archive.readings"`. */
  readonly table: string;
  /**
   * What happens with a row whose key is there. "update" sets the other columns where they differ, "keep" leaves them. A second run on
   * the same file then changes nothing. Of several rows with one key in the source the last counts, the others are reported. Without
   * onConflict every row is inserted, and a key that is there fails the run.
   */
  readonly onConflict?: { readonly key: readonly string[]; readonly action: "update" | "keep" };
  /**
   * What belongs to the rows: called in their transaction, behind them, so that what it writes or enqueues is there exactly when they are.
   * The report is in its place by then. Called again when the transaction is repeated. What it throws takes everything back.
   */
  readonly inTransaction?: (tx: Transaction, loaded: Loaded) => Promise<void>;
}

/** What a transaction is about to commit. */
export interface Loaded {
  readonly rowsRead: number;
  readonly rowsRejected: number;
  readonly rowsWritten: number;
  readonly rowsChanged: number;
  /**
   * With onConflict: a temporary table of the keys that were inserted or changed, for statements of this transaction:
   * ``sql`select distinct day from ${changed}` ``.
   */
  readonly changed: Sql | undefined;
}

export interface EtlOptions {
  /** Becomes the table `input` of the transform, with a column `_line` beside its own. */
  readonly source: EtlSource;
  /** Further tables that an SQL transform may join, under their names. A bad row in one of them fails the run. Default: none. */
  readonly tables?: Readonly<Record<string, EtlSource>>;
  /**
   * A SELECT in DuckDB's SQL (a row whose column `_reject` is not null goes to the report, with that as its reason), or a generator in
   * a module. Default: rows stay as they are.
   */
  readonly transform?: Sql | ModuleTransform;
  readonly target: FileTarget | TableTarget;
  /** A file for the report of bad rows, one JSON object a line. Default: none; they are counted all the same. */
  readonly report?: string;
  /** Bad rows that are put up with; one more fails the run. Default 1,000, at most 100,000. 0: none. */
  readonly maxRejects?: number;
  /** Bytes of a row as text; a larger one is bad. Default 1 MiB. */
  readonly maxRowBytes?: number;
  /** Memory of the engine, in MB; beyond that it spills. Default 512, at least 128. */
  readonly memoryLimitMb?: number;
  /** Heap of a module's transform, in MB. Default 256. */
  readonly maxHeapMb?: number;
  /** What the engine may put on disk beyond memory, in MB. Default 10,240. */
  readonly maxSpillMb?: number;
  /** Threads of the engine. Default: one less than the processor has cores, at least 1. */
  readonly threads?: number;
  /** How willingly its process gives way to others, from 0 (not) to 19. Default 10. */
  readonly nice?: number;
  /** Where working files go, in a directory of the run's own that is removed. Default: the system's for temporary files. */
  readonly directory?: string;
  /** Ends the run; nothing stays behind. Default: the deadline of the running work. */
  readonly signal?: Ending | undefined;
  /** Called at most five times a second. */
  readonly onProgress?: (progress: EtlProgress) => void;
}

export const etlDefaults = {
  tables: {},
  maxRejects: 1_000, // nobody reads more; a file with more bad rows is the wrong file, or one with other columns
  maxRowBytes: 1_048_576, // a quote that is never closed is found after so many bytes; no row that people write is as long
  memoryLimitMb: 512, // what a container of 2 GB can give away beside its service; larger joins and sorts spill
  maxHeapMb: 256, // batches of 2,048 rows need a few; more is a transform that collects
  maxSpillMb: 10_240, // ten times the largest import that anybody uploads, and no full disk because of one bad join
  threads: Math.max(1, availableParallelism() - 1), // one core stays with the API
  nice: 10, // a tenth of the API's weight where both want the same core, all of it where not
  directory: tmpdir(),
} as const satisfies Partial<EtlOptions>;

export const etlChecks = {
  source: given<EtlSource>("a source"),
  tables: given<Readonly<Record<string, EtlSource>>>("sources by name"),
  transform: given<Sql | ModuleTransform>("an sql`…` statement, or a module"),
  target: given<FileTarget | TableTarget>("a target"),
  report: string,
  maxRejects: integer(0, 100_000),
  maxRowBytes: integer(64, 64 * 1_048_576),
  memoryLimitMb: integer(128),
  maxHeapMb: integer(32),
  maxSpillMb: integer(0),
  threads: integer(1, 256),
  nice: integer(0, 19),
  directory: string,
  signal: given<Ending>("an AbortSignal or a Deadline"),
  onProgress: given<(progress: EtlProgress) => void>("a function"),
} as const satisfies OptionChecks<EtlOptions>;

const delimiter = {
  expected: "one ASCII character that is no quote, letter, digit, line break or control character but the tabulator",
  read: (value: string) => (/^[\t !#-/:-@[-`{-~]$/.test(value) ? value : undefined),
};

export const sourceDefaults = {
  delimiter: ",",
  header: true,
  extraColumns: "refuse", // a column that nobody expected may be the one that matters
} as const satisfies Partial<EtlSource>;

export const sourceChecks = {
  file: string,
  stream: given<Readable>("a Readable"),
  format: oneOf("csv", "ndjson", "parquet"),
  columns: given<ColumnTypes>("types by column"),
  delimiter,
  header: boolean,
  extraColumns: oneOf("refuse", "ignore"),
} as const satisfies OptionChecks<EtlSource>;

export const fileTargetDefaults = { delimiter: ",", header: true } as const satisfies Partial<FileTarget>;

export const fileTargetChecks = {
  file: string,
  format: oneOf("csv", "ndjson", "parquet"),
  delimiter,
  header: boolean,
} as const satisfies OptionChecks<FileTarget>;

export const tableTargetChecks = {
  database: given<Database>("a Database"),
  table: string,
  onConflict: given<NonNullable<TableTarget["onConflict"]>>('{ key, action: "update" | "keep" }'),
  inTransaction: {
    expected: "a function",
    read: (value: NonNullable<TableTarget["inTransaction"]>) => (typeof value === "function" ? value : undefined),
  },
} as const satisfies OptionChecks<TableTarget>;
