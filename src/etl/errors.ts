// The error codes of etl.

import { defineErrors } from "../core/index.ts";

const short = (text: string): string => (text.length > 500 ? `${text.slice(0, 500)}…` : text);
const list = (names: readonly string[]): string =>
  names
    .slice(0, 20)
    .map((name) => JSON.stringify(name.slice(0, 100)))
    .join(", ") + (names.length > 20 ? ", …" : "");

export const etlErrors = defineErrors({
  MILLRACE_ETL_ENGINE_MISSING: {
    when: "The package @duckdb/node-api, which etl() works with, is not installed.",
    next: "Run npm install @duckdb/node-api; a program for your platform comes with it, and nothing is compiled.",
    retryable: false,
    message: () => "etl() needs the package @duckdb/node-api, which is not installed. Run npm install @duckdb/node-api.",
  },
  MILLRACE_ETL_COLUMN_INVALID: {
    when: "A declared column has no possible name or type.",
    next: 'Declare it as "INTEGER", "DECIMAL(10,2)", "VARCHAR NOT NULL" …, in DuckDB\'s words; _line and _reject are taken.',
    retryable: false,
    message: (d: { column: string; reason: string }) =>
      `The column ${JSON.stringify(d.column.slice(0, 100))} cannot be declared so: ${short(d.reason)}. Types are DuckDB's, such as "DECIMAL(10,2)" or "VARCHAR NOT NULL".`,
  },
  MILLRACE_ETL_SOURCE_INVALID: {
    when: "A source as a whole cannot be read: it is missing, empty, in another encoding or of another format.",
    next: "Look at the file: it is to be what the format says, text in UTF-8.",
    retryable: false,
    message: (d: { source: string; reason: string }) => `${d.source} cannot be read: ${short(d.reason)}.`,
  },
  MILLRACE_ETL_HEADER_MISMATCH: {
    when: "The first line of a CSV file, or the columns of a Parquet file, are not the declared ones.",
    next: 'Correct the file or the declared columns; extraColumns: "ignore" leaves out columns that are too many.',
    retryable: false,
    message: (d: { source: string; missing: readonly string[]; unknown: readonly string[]; repeated: readonly string[] }) =>
      `The columns of ${d.source} are not the expected ones:` +
      (d.missing.length > 0 ? ` missing are ${list(d.missing)};` : "") +
      (d.unknown.length > 0 ? ` unknown are ${list(d.unknown)};` : "") +
      (d.repeated.length > 0 ? ` repeated are ${list(d.repeated)};` : "") +
      ` correct the first line, or the declared columns.`,
  },
  MILLRACE_ETL_TOO_MANY_REJECTS: {
    when: "More rows were bad than maxRejects allows. Nothing was written; the report has the first of them.",
    next: "Read the report: so many bad rows mean another file, or other columns, than expected.",
    retryable: false,
    message: (d: { rejected: number; maxRejects: number; firstLine: number | undefined; firstReason: string }) =>
      `More than ${d.maxRejects} rows are bad, so nothing was written. The first${d.firstLine === undefined ? "" : `, in line ${d.firstLine}`}: ${short(d.firstReason)}.`,
  },
  MILLRACE_ETL_TRANSFORM_FAILED: {
    when: "The transform's SQL was refused or failed, or its function threw or yielded what is no row of its columns. Nothing was written.",
    next: "Correct the transform; for values that may be wrong use try_cast and a column _reject, or reject(row, reason).",
    retryable: false,
    message: (d: { reason: string }) => `The transform failed, so nothing was written: ${short(d.reason)}`,
  },
  MILLRACE_ETL_TABLE_INVALID: {
    when: "Rows of one of the further tables that the transform may join are bad.",
    next: "Correct its source: what others are compared with must be right.",
    retryable: false,
    message: (d: { table: string; line: number | undefined; reason: string }) =>
      `The table ${JSON.stringify(d.table)} has a bad row${d.line === undefined ? "" : ` in line ${d.line}`}: ${short(d.reason)}.`,
  },
  MILLRACE_ETL_TARGET_COLUMNS: {
    when: "The result has a column that the table in PostgreSQL does not have, or lacks one of onConflict.",
    next: "Name the transform's columns as the table does.",
    retryable: false,
    message: (d: { table: string; unknown: readonly string[]; missing: readonly string[] }) =>
      `The result does not fit the table ${d.table}:` +
      (d.unknown.length > 0 ? ` it has no column ${list(d.unknown)};` : "") +
      (d.missing.length > 0 ? ` the key's ${list(d.missing)} is missing;` : "") +
      " name the transform's columns as the table does.",
  },
  MILLRACE_ETL_TARGET_MISSING: {
    when: "There is no such table in PostgreSQL, or the role cannot see it.",
    next: "Check the name, with its schema where it is not in the search path.",
    retryable: false,
    message: (d: { table: string }) => `There is no table ${d.table} in the database. Check its name and schema.`,
  },
  MILLRACE_ETL_TARGET_REFUSED: {
    when: "PostgreSQL refused the rows: a constraint, a type or a permission. Nothing was written.",
    next: "The cause says what; reject such rows in the transform.",
    retryable: false,
    message: (d: { table: string; reason: string }) =>
      `PostgreSQL refused the rows for ${d.table}, so none was written: ${short(d.reason)}. Reject such rows in the transform.`,
  },
  MILLRACE_ETL_DISK_FULL: {
    when: "There was no room for the working files, the spilled data or the result. Nothing was written, and the room is free again.",
    next: "Make room, name another directory, or raise maxSpillMb. A run needs about the size of its data, uncompressed, once more.",
    retryable: true,
    message: (d: { directory: string; reason: string }) =>
      `There is not enough room in ${d.directory}, so nothing was written: ${short(d.reason)}. Make room or name another directory.`,
  },
  MILLRACE_ETL_OUT_OF_MEMORY: {
    when: "A run needs more memory than memoryLimitMb, even with spilling. Nothing was written.",
    next: "Raise memoryLimitMb, lower threads, or make the transform simpler: some aggregates and lists cannot spill.",
    retryable: false,
    message: (d: { memoryLimitMb: number; reason: string }) =>
      `The run needs more than memoryLimitMb (${d.memoryLimitMb}), so nothing was written: ${short(d.reason)}`,
  },
  MILLRACE_ETL_PROCESS_LOST: {
    when: "The process that did the work ended before it was done: killed, out of memory, or crashed. Nothing was written.",
    next: "Look at the reason and at the system's log; the run can be repeated.",
    retryable: true,
    message: (d: { reason: string }) => `The process that did the work was lost, so nothing was written: ${short(d.reason)}.`,
  },
  MILLRACE_ETL_ROWS_LOST: {
    when: "Counting found that a stage kept other rows than it was given. Nothing was written. It would be a fault in the kit or in DuckDB.",
    next: "Report it, with the file if you can: no row may go missing silently.",
    retryable: false,
    message: (d: { stage: string; expected: number; found: number }) =>
      `While ${d.stage}, ${d.expected} rows became ${d.found}, so nothing was written. This is a fault in the kit or in DuckDB: please report it.`,
  },
});
