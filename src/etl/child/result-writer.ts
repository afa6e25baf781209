// The last stage: the rows that are to go out as one file. Rows that the transform rejected, and those that a later one with the same
// key replaces, go to the report instead.

import { open, stat } from "node:fs/promises";
import { lineColumn, rejectColumn } from "../column-types.ts";
import { etlErrors } from "../errors.ts";
import type { OutputPlan } from "../protocol.ts";
import { type Engine, quoteName, quoteText } from "./engine.ts";
import type { Rejects } from "./rejects.ts";

/** A SELECT with its parameters. */
export interface Selection {
  readonly text: string;
  readonly values: readonly unknown[];
}

export interface ResultColumn {
  readonly name: string;
  readonly type: string;
}

/** The columns of a selection. @throws MILLRACE_ETL_TRANSFORM_FAILED */
export async function describeSelection(engine: Engine, { text, values }: Selection): Promise<ResultColumn[]> {
  const rows = await engine.rows("transform", `describe ${text}`, values);
  return rows.map((row) => ({ name: String(row["column_name"]), type: String(row["column_type"]) }));
}

const isOurs = (name: string) => name === lineColumn || name === rejectColumn;

/** What is wrong with the columns before any row has been read. @throws MILLRACE_ETL_TRANSFORM_FAILED, MILLRACE_ETL_TARGET_COLUMNS */
export function checkResultColumns(columns: readonly ResultColumn[], { allowed, key, name: table }: OutputPlan): void {
  const names = columns.map(({ name }) => name).filter((name) => !isOurs(name));
  if (names.length === 0) throw etlErrors.create("MILLRACE_ETL_TRANSFORM_FAILED", { reason: "its result has no columns" });
  const unknown = allowed ? names.filter((name) => !allowed.includes(name)) : [];
  const missing = key.filter((name) => !names.includes(name));
  if (unknown.length + missing.length > 0) throw etlErrors.create("MILLRACE_ETL_TARGET_COLUMNS", { table, unknown, missing });
}

export interface Written {
  readonly rows: number;
  readonly bytes: number;
  readonly columns: readonly string[];
}

/** Writes the rows of `selection`, which reads `input` or `result`. */
export async function writeResult(
  engine: Engine,
  selection: Selection,
  columns: readonly ResultColumn[],
  output: OutputPlan,
  rejects: Rejects,
): Promise<Written> {
  const names = columns.map(({ name }) => name);
  const has = (name: string) => names.includes(name);
  let from = selection;
  let expected: number | undefined;
  if (has(rejectColumn) || output.key.length > 0) {
    await engine.run("transform", `create table final as ${selection.text}`, selection.values);
    const [counted] = await engine.rows("output", "select count(*) as made from final");
    const made = Number(counted!["made"]);
    const refused = has(rejectColumn) ? await refuse(engine, has(lineColumn), rejects) : 0;
    const replaced = await replace(engine, output.key, has(lineColumn), rejects);
    expected = made - refused - replaced;
    from = { text: "select * from final order by rowid", values: [] };
  }
  const shown = columns.filter(({ name }) => !isOurs(name));
  const fields = shown.map((column) => (output.format === "copy" ? forPostgres(column) : quoteName(column.name)));
  const text = `copy (select ${fields.join(", ")} from (${from.text})) to ${quoteText(output.path)} (${copyOptions(output)}, use_tmp_file false)`;
  const rows = await engine.run(from === selection ? "transform" : "output", text, from.values);
  if (expected !== undefined && rows !== expected) {
    throw etlErrors.create("MILLRACE_ETL_ROWS_LOST", { stage: "writing the result", expected, found: rows });
  }
  const file = await open(output.path, "r+");
  try {
    await file.sync(); // its new name must not be on disk before its bytes are
  } finally {
    await file.close();
  }
  return { rows, bytes: (await stat(output.path)).size, columns: shown.map(({ name }) => name) };
}

/** Takes out the rows that the transform rejects. */
async function refuse(engine: Engine, hasLine: boolean, rejects: Rejects): Promise<number> {
  const line = hasLine ? `${lineColumn}::varchar` : "null";
  const bad = await engine.rows(
    "output",
    `select ${line} as line, left(${rejectColumn}::varchar, 1000) as reason from final where ${rejectColumn} is not null order by rowid limit ${rejects.room + 1}`,
  );
  for (const row of bad) rejects.add({ ...lineOf(row["line"]), reason: String(row["reason"]) });
  return bad.length === 0 ? 0 : await engine.run("output", `delete from final where ${rejectColumn} is not null`);
}

/** Takes out the rows whose key comes again. A key with a null in it is never the same as another, as in PostgreSQL. */
async function replace(engine: Engine, key: readonly string[], hasLine: boolean, rejects: Rejects): Promise<number> {
  if (key.length === 0) return 0;
  const columns = key.map(quoteName).join(", ");
  const complete = key.map((name) => `${quoteName(name)} is not null`).join(" and ");
  await engine.run(
    "output",
    `create table replaced as select id, line, by_line from (
       select rowid as id, ${hasLine ? lineColumn : "null"} as line, last_value(rowid) over same as by_id, last_value(${hasLine ? lineColumn : "null"}) over same as by_line
       from final where ${complete}
       window same as (partition by ${columns} order by rowid rows between unbounded preceding and unbounded following))
     where id <> by_id`,
  );
  const bad = await engine.rows(
    "output",
    `select line::varchar as line, coalesce('line ' || by_line::varchar, 'a later row') as later from replaced order by id limit ${rejects.room + 1}`,
  );
  for (const row of bad) {
    rejects.add({
      ...lineOf(row["line"]),
      reason: `${row["later"] as string} has the same ${key.join(", ")}, and the last one counts`,
    });
  }
  return bad.length === 0 ? 0 : await engine.run("output", "delete from final where rowid in (select id from replaced)");
}

const lineOf = (line: unknown) => (line === null || line === "0" ? undefined : { line: Number(line) });

function copyOptions({ format, delimiter, header }: OutputPlan): string {
  switch (format) {
    case "csv":
      return `format csv, header ${header}, delimiter ${quoteText(delimiter)}`;
    case "copy":
      return "format csv, header false";
    case "ndjson":
      return "format json";
    default:
      return "format parquet, compression zstd";
  }
}

/** A column as PostgreSQL reads it from CSV. */
function forPostgres({ name, type }: ResultColumn): string {
  const column = quoteName(name);
  if (type === "BLOB") return `'\\x' || lower(hex(${column}))`;
  if (/[[(]|^(?:STRUCT|MAP|UNION)/.test(type) && !type.startsWith("DECIMAL")) return `to_json(${column})`;
  return column;
}
