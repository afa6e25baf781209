// A column as it is declared, such as "INTEGER NOT NULL": a type of DuckDB, and whether a row needs a value. See docs/etl.md.

import { etlErrors } from "./errors.ts";

/** Columns and their types in DuckDB's words: `{ id: "BIGINT NOT NULL", name: "VARCHAR", price: "DECIMAL(10,2)", day: "DATE" }`. */
export type ColumnTypes = Readonly<Record<string, string>>;

export interface Column {
  readonly name: string;
  /** In capitals, without NOT NULL. */
  readonly type: string;
  readonly required: boolean;
}

/** What _line and _reject mean is the kit's to say. */
export const lineColumn = "_line";
export const rejectColumn = "_reject";

/** A word or more, perhaps with numbers in parentheses: nothing that could be more than a type. */
const typePattern = /^[A-Z][A-Z0-9 ]*(?:\(\d{1,2}(?:,\d{1,2})?\))?$/;

const textTypes = new Set(["VARCHAR", "TEXT", "STRING", "CHAR", "BPCHAR"]);

/** Whether a value of this type is its text, so that no text can be wrong. */
export const isText = (type: string): boolean => textTypes.has(type.replace(/\(.*/, ""));

/** Reads declared columns. @throws MILLRACE_ETL_COLUMN_INVALID */
export function readColumns(types: ColumnTypes): Column[] {
  const seen = new Set<string>();
  return Object.entries(types).map(([name, declared]) => {
    const words = declared
      .trim()
      .toUpperCase()
      .replaceAll(/\s+/g, " ")
      .replaceAll(/ ?([(,]) ?/g, "$1")
      .replaceAll(" )", ")");
    const type = words.replace(/ NOT NULL$/, "");
    if (!typePattern.test(type)) {
      throw etlErrors.create("MILLRACE_ETL_COLUMN_INVALID", { column: name, reason: `"${declared}" is no type` });
    }
    if (name === "" || name.includes("\0") || isReserved(name)) {
      throw etlErrors.create("MILLRACE_ETL_COLUMN_INVALID", { column: name, reason: "this name is not possible" });
    }
    if (seen.size === seen.add(name.toLowerCase()).size) {
      throw etlErrors.create("MILLRACE_ETL_COLUMN_INVALID", { column: name, reason: "another differs from it in case only" });
    }
    return { name, type, required: type !== words };
  });
}

/** DuckDB does not tell names apart that differ in case only. */
export const isReserved = (name: string): boolean => [lineColumn, rejectColumn].includes(name.toLowerCase());
