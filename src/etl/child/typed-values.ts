// From text to values: for each declared column the SQL that converts it, and the SQL that says whether it may.
//
// DuckDB's own casts forgive too much for an import: '1.7' becomes the INTEGER 2, '2020-01-01 and more' a DATE. So the text must look
// like a value of the type, too.

import { type Column, isText } from "../column-types.ts";

const integers = new Set([
  "TINYINT",
  "SMALLINT",
  "INTEGER",
  "INT",
  "BIGINT",
  "HUGEINT",
  "UTINYINT",
  "USMALLINT",
  "UINTEGER",
  "UBIGINT",
]);

/** What text must look like beside being castable; undefined: the cast is enough. */
function shapeOf(type: string, text: string): string | undefined {
  if (integers.has(type)) return `regexp_full_match(${text}, '[+-]?[0-9]+')`; // half the cost of translate()
  if (type === "DATE") return `${text} like '____-__-__'`;
  if (type.startsWith("TIMESTAMP")) return `${text} like '____-__-__%'`;
  return undefined;
}

export interface TypedColumn {
  readonly name: string;
  /** An expression of its value. */
  readonly value: string;
  /** An expression that is true when the value may be; never null. Undefined: it always may. */
  readonly valid: string | undefined;
  /** An expression of the text that was given. */
  readonly text: string;
  readonly type: string;
}

/** A column whose text is `text`. `emptyIsNull`: for types other than text, as in CSV. */
export function typedColumn({ name, type, required }: Column, text: string, emptyIsNull: boolean): TypedColumn {
  const given = isText(type) || !emptyIsNull ? text : `nullif(${text}, '')`;
  if (isText(type)) {
    return { name, type, text, value: text, valid: required ? `${text} is not null` : undefined };
  }
  const cast = `try_cast(${given} as ${type})`;
  const shape = shapeOf(type, text);
  const whole = shape ? `(${cast} is not null and ${shape})` : `(${cast} is not null)`;
  const absent = emptyIsNull ? `(${text} is null or ${text} = '')` : `${text} is null`;
  return { name, type, text, value: cast, valid: required ? `coalesce(${whole}, false)` : `(${absent} or ${whole})` };
}

/** A column that has a type already, to be had as another. */
export function recastColumn({ name, type, required }: Column, from: string, fromType: string): TypedColumn {
  if (isText(fromType)) return typedColumn({ name, type, required }, from, false);
  const value = fromType === type ? from : `try_cast(${from} as ${type})`;
  const exact = integers.has(type) && !integers.has(fromType) ? ` and ${from} = ${value}` : "";
  const whole = `(${value} is not null${exact})`;
  const valid = required ? `coalesce(${whole}, false)` : fromType === type ? undefined : `(${from} is null or ${whole})`;
  return { name, type, text: `${from}::varchar`, value, valid };
}

/** Why a value is not taken. */
export function reasonOf(type: string, value: string | null): string {
  return value === null || value === "" ? "a value is required" : `${JSON.stringify(value)} is no ${type}`;
}
