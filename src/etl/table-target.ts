// Rows into a table of PostgreSQL, all or none: COPY into the table itself, or beside it and merged by key. See docs/etl.md.

import { createReadStream } from "node:fs";
import type { Deadline } from "../concurrency/index.ts";
import { MillraceError } from "../core/index.ts";
import { type Database, type Sql, type Transaction, copyInto, sql } from "../database/index.ts";
import { etlErrors } from "./errors.ts";
import type { TableTarget } from "./options.ts";
import type { WorkDone } from "./protocol.ts";

/** A table's name as SQL: schema and name apart. */
const tableName = (table: string): Sql => sql.identifier(...(table.split(".") as [string, ...string[]]));

/** The columns that can be written. @throws MILLRACE_ETL_TARGET_MISSING */
export async function columnsOf(database: Database, table: string): Promise<string[]> {
  const quoted = tableName(table).render().text;
  const rows = await database.many(sql<{ name: string }>`
    select attname as name from pg_attribute
    where attrelid = to_regclass(${quoted}) and attnum > 0 and not attisdropped and attgenerated = ''`);
  if (rows.length === 0) throw etlErrors.create("MILLRACE_ETL_TARGET_MISSING", { table });
  return rows.map(({ name }) => name);
}

/** What the process wrote. */
export interface RowsFile extends Pick<WorkDone, "columns" | "rowsRead" | "rowsRejected" | "rowsWritten"> {
  readonly path: string;
}

/** Temporary tables of the transaction. */
const stage = sql.identifier("millrace_etl_rows");
const changes = sql.identifier("millrace_etl_changed");

/** Sends the rows of `file`, in the format that COPY reads, in one transaction. Returns how many were inserted or changed. */
export async function loadTable(
  { database, table, onConflict, inTransaction }: TableTarget,
  { path, columns, rowsRead, rowsRejected, rowsWritten }: RowsFile,
  deadline: Deadline,
  onSent: (bytes: number) => void,
): Promise<number> {
  const target = tableName(table);
  const names = sql.join(columns.map((name) => sql.identifier(name)));
  let fromInside: unknown;
  try {
    return await database.transaction(
      async (tx) => {
        const copy = async (into: Sql) => {
          const statement = sql`copy ${into} (${names}) from stdin (format csv)`;
          const found = await copyInto(tx, statement, readRows(path, onSent), { signal: deadline });
          if (found !== rowsWritten) {
            throw etlErrors.create("MILLRACE_ETL_ROWS_LOST", { stage: `loading ${table}`, expected: rowsWritten, found });
          }
          return found;
        };
        if (onConflict) {
          await tx.query(sql`create temporary table ${stage} on commit drop as select ${names} from ${target} with no data`);
          await copy(stage);
        }
        const rowsChanged = onConflict
          ? await merge(tx, target, columns, onConflict, inTransaction !== undefined)
          : await copy(target);
        const changed = onConflict && changes;
        try {
          await inTransaction?.(tx, { rowsRead, rowsRejected, rowsWritten, rowsChanged, changed });
        } catch (error) {
          throw (fromInside = error);
        }
        return rowsChanged;
      },
      { signal: deadline },
    );
  } catch (error) {
    // A constraint, a type, a permission: what is wrong is in the rows or the table. What may pass is left as it is.
    const { code } = error as { code?: unknown };
    if (error === fromInside || error instanceof MillraceError || typeof code !== "string" || !/^(?:2[1-3]|42|P0)/.test(code))
      throw error;
    const { message, detail } = error as Error & { detail?: string };
    throw etlErrors.create(
      "MILLRACE_ETL_TARGET_REFUSED",
      { table, reason: detail === undefined ? message : `${message} (${detail})` },
      error,
    );
  }
}

/** Rows that are as they were stay untouched: nothing to vacuum, nothing that a cache has to forget. */
async function merge(
  tx: Transaction,
  target: Sql,
  columns: readonly string[],
  { key, action }: NonNullable<TableTarget["onConflict"]>,
  keepsKeys: boolean,
): Promise<number> {
  const list = (names: readonly string[], of = (name: string): Sql => sql.identifier(name)) =>
    sql.join(names.map((name) => of(name)));
  const others = columns.filter((name) => !key.includes(name));
  const conflict =
    action === "keep" || others.length === 0
      ? sql`do nothing`
      : sql`do update set ${list(others, (name) => sql`${sql.identifier(name)} = excluded.${sql.identifier(name)}`)}
          where (${list(others, (name) => sql`present.${sql.identifier(name)}`)}) is distinct from (${list(others, (name) => sql`excluded.${sql.identifier(name)}`)})`;
  const insert = sql`
    insert into ${target} as present (${list(columns)}) select ${list(columns)} from ${stage}
    on conflict (${list(key)}) ${conflict}`;
  if (!keepsKeys) return (await tx.query(insert)).rowCount ?? 0;
  const keys = list(key);
  await tx.query(sql`create temporary table ${changes} on commit drop as select ${keys} from ${target} with no data`);
  const { rowCount } = await tx.query(sql`
    with changed as (${insert} returning ${list(key, (name) => sql`present.${sql.identifier(name)}`)})
    insert into ${changes} (${keys}) select * from changed`);
  return rowCount ?? 0;
}

async function* readRows(path: string, onSent: (bytes: number) => void): AsyncGenerator<Buffer, void, undefined> {
  let sent = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 65_536 }) as AsyncIterable<Buffer>) {
    yield chunk;
    onSent((sent += chunk.length));
  }
}
