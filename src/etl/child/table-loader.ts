// Segments of rows as text into a table of the engine: each value is converted, each row that has a wrong one is rejected, and what
// was given is counted against what was kept.

import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Column, lineColumn } from "../column-types.ts";
import { etlErrors } from "../errors.ts";
import { type Engine, quoteName, quoteText } from "./engine.ts";
import { lineSeparator } from "./line-scanner.ts";
import type { Rejects } from "./rejects.ts";
import type { RowSink } from "./row-sink.ts";
import { type TypedColumn, reasonOf, typedColumn } from "./typed-values.ts";

/** How the text of a segment becomes columns. */
export interface SegmentFormat {
  readonly kind: "csv" | "ndjson";
  readonly delimiter: string;
  /** CSV: the columns as they follow each other; null: one that is left out. */
  readonly order: readonly (string | null)[];
  /** NDJSON: whether a field that is no column makes its row a bad one. */
  readonly refuseUnknown: boolean;
}

export interface TableLoaderOptions {
  readonly engine: Engine;
  readonly workspace: string;
  readonly table: string;
  readonly columns: readonly Column[];
  readonly format: SegmentFormat;
  readonly maxRowBytes: number;
  readonly rejects: Rejects;
}

interface BadRow {
  readonly line: string;
  readonly column: number | null;
  readonly value: string | null;
  readonly problem: string | null;
}

/** Lines of the parts of a statement. */
const all = (parts: readonly string[], between: string): string => parts.join(`${between}\n  `);

export class TableLoader {
  rows = 0;
  readonly #options: TableLoaderOptions;
  readonly #columns: readonly TypedColumn[];
  readonly #insert: (segment: string) => string;
  readonly #bad: (segment: string) => string;
  #segments = 0;

  constructor(options: TableLoaderOptions) {
    this.#options = options;
    const { columns, table, format } = options;
    this.#columns =
      format.kind === "csv"
        ? columns.map((column) => typedColumn(column, `c${format.order.indexOf(column.name)}`, true))
        : columns.map((column, index) => typedColumn(column, `v[${index + 1}]`, false));
    const checks = this.#columns.flatMap(({ valid }) => valid ?? []);
    const good = all([...(format.kind === "ndjson" ? ["problem is null"] : []), ...checks, "true"], " and");
    const values = all([lineColumn, ...this.#columns.map(({ value }) => value)], ",");
    this.#insert = (segment) => `insert into ${quoteName(table)} select ${values} from ${this.#rowsOf(segment)} where ${good}`;
    const blame = (what: (column: TypedColumn, index: number) => string) =>
      `case ${this.#columns.map((column, index) => (column.valid ? `when not ${column.valid} then ${what(column, index)}` : "")).join("\n  ")} end`;
    const hasChecks = checks.length > 0;
    const problem = format.kind === "ndjson" ? "problem" : "null";
    this.#bad = (segment) => `
      select ${lineColumn}::varchar as line, ${problem} as problem,
        ${hasChecks ? `case when ${problem} is null then ${blame((_, index) => String(index))} end` : "null"} as column,
        ${hasChecks ? `case when ${problem} is null then ${blame(({ text }) => `left(${text}, 200)`)} end` : "null"} as value
      from ${this.#rowsOf(segment)} where not (${good}) order by ${lineColumn} limit ${options.rejects.room + 1}`;
  }

  /** Makes the empty table. */
  async create(): Promise<void> {
    const { engine, table, columns } = this.#options;
    const definitions = [`${lineColumn} bigint`, ...columns.map(({ name, type }) => `${quoteName(name)} ${type}`)];
    await engine.run("source", `create table ${quoteName(table)} (${definitions.join(", ")})`);
  }

  /** Loads the rows of `sink`, which is free again when the returned `taken` resolves; the rest goes on behind. */
  async load(sink: RowSink): Promise<void> {
    const { engine, workspace, table, rejects } = this.#options;
    const given = sink.rows;
    if (given === 0) return;
    const path = join(workspace, `${this.#segments++}.segment`);
    await writeFile(path, sink.bytes.subarray(0, sink.length));
    const kept = await engine.run("source", this.#insert(path));
    let refused = 0;
    if (kept < given) {
      const bad = (await engine.rows("source", this.#bad(path))) as unknown as BadRow[];
      refused = bad.length;
      for (const { line, column, value, problem } of bad) {
        const at = column === null ? undefined : this.#columns[column]!;
        rejects.add({
          line: Number(line),
          ...(at && { column: at.name, ...(value !== null && { value }) }),
          reason: problem ?? reasonOf(at!.type, value),
        });
      }
    }
    if (kept + refused !== given) {
      throw etlErrors.create("MILLRACE_ETL_ROWS_LOST", { stage: `loading ${table}`, expected: given, found: kept + refused });
    }
    this.rows += kept;
    await rm(path);
  }

  /** The rows of a segment as text: c0, c1 … or v[1], v[2] …, each with its line. */
  #rowsOf(path: string): string {
    const { format, maxRowBytes, columns } = this.#options;
    const csv = format.kind === "csv";
    const names = csv ? format.order.map((_, index) => `c${index}`) : ["j"];
    const read = `read_csv(${quoteText(path)}, auto_detect = false, header = false, parallel = false, strict_mode = true,
      delim = ${quoteText(csv ? format.delimiter : lineSeparator)}, quote = ${quoteText(csv ? '"' : "")}, escape = ${quoteText(csv ? '"' : "")},
      nullstr = '', allow_quoted_nulls = false, new_line = '\\n', max_line_size = ${2 * maxRowBytes + 64}, buffer_size = ${Math.max(4 * maxRowBytes + 128, 8_388_608)},
      columns = {${lineColumn}: 'BIGINT', ${names.map((name) => `${name}: 'VARCHAR'`).join(", ")}})`;
    if (csv) return read;
    const pointers = columns.map(({ name }) => quoteText(`/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`));
    const known = columns.map(({ name }) => quoteText(name));
    const unknown = format.refuseUnknown
      ? `when not list_has_all([${known.join(", ")}], json_keys(j)) then
          'it has the unknown field ' || list_filter(json_keys(j), k -> not list_contains([${known.join(", ")}], k))[1]`
      : "";
    return `(select ${lineColumn}, problem, case when problem is null then json_extract_string(j, [${pointers.join(", ")}]) end as v
      from (select ${lineColumn}, j, case when not coalesce(json_valid(j), false) then 'it is not JSON'
        when json_type(j) <> 'OBJECT' then 'it is no JSON object' ${unknown} end as problem from ${read}))`;
  }
}
