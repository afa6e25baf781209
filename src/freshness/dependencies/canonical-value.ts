// One spelling per value, for the types whose equality is equality of spelling. The change feed spells what it finds in the log,
// statements spell what they ask for; a dependency works only if both come to the same text. See docs/dependencies.md.

import { createHash } from "node:crypto";

/** Object identifiers of PostgreSQL's own types; they never change. */
export const typeOids = {
  bool: 16,
  bytea: 17,
  int8: 20,
  int2: 21,
  int4: 23,
  text: 25,
  oid: 26,
  varchar: 1043,
  date: 1082,
  uuid: 2950,
} as const;

/**
 * Types that may be compared with each other and still mean the same value by the same spelling: all widths of integers, text with
 * varchar. Enums are a family each, by their own object identifier.
 */
export type ValueFamily = "boolean" | "bytes" | "integer" | "oid" | "text" | "date" | "uuid" | `enum:${number}`;

const families: ReadonlyMap<number, ValueFamily> = new Map<number, ValueFamily>([
  [typeOids.bool, "boolean"],
  [typeOids.bytea, "bytes"],
  [typeOids.int8, "integer"],
  [typeOids.int2, "integer"],
  [typeOids.int4, "integer"],
  [typeOids.text, "text"],
  [typeOids.oid, "oid"],
  [typeOids.varchar, "text"],
  [typeOids.date, "date"],
  [typeOids.uuid, "uuid"],
]);

/** The types whose columns can be followed by value, besides enums, which only the catalogue knows. */
export const followableTypes: ReadonlySet<number> = new Set(families.keys());

/** PostgreSQL gives what is created in a database numbers from here on. */
const firstOwnOid = 16_384;

/**
 * The family of a type, undefined when its equality is not that of spelling: numeric (1 = 1.0), floats, timestamps, char(n), json,
 * domains. Types of the database's own count as enums: ask the catalogue first whether they are.
 */
export const familyOf = (typeOid: number): ValueFamily | undefined =>
  families.get(typeOid) ?? (typeOid >= firstOwnOid ? `enum:${typeOid}` : undefined);

/** Longer spellings are replaced by their SHA-256: dependencies stay short. Characters. */
const maxSpelling = 256;

const bounded = (spelling: string): string =>
  spelling.length <= maxSpelling ? spelling : `sha256:${createHash("sha256").update(spelling).digest("hex")}`;

function integer(text: string): string | undefined {
  // What int8in takes beyond this (0x1F, 1_000) is written by nobody and spelled by no column.
  return /^\s*[+-]?\d{1,19}\s*$/.test(text) ? String(BigInt(text.trim().replace(/^\+/, ""))) : undefined;
}

function uuid(text: string): string | undefined {
  const digits = text.replace(/[{}-]/g, "").toLowerCase();
  return /^[0-9a-f]{32}$/.test(digits) ? digits : undefined;
}

/** Only ISO dates of four-digit years: other styles depend on DateStyle, and "0044-03-15 BC" and "infinity" are read nowhere. */
const date = (text: string): string | undefined => (/^\d{4}-\d\d-\d\d$/.test(text) && text > "0001" ? text : undefined);

function boolean(text: string): string | undefined {
  if (/^(?:t|true)$/i.test(text)) return "t";
  return /^(?:f|false)$/i.test(text) ? "f" : undefined;
}

const bytes = (text: string): string | undefined => (/^\\x(?:[0-9a-f]{2})*$/i.test(text) ? text.toLowerCase() : undefined);

function spell(family: ValueFamily, text: string): string | undefined {
  switch (family) {
    case "integer":
    case "oid":
      return integer(text);
    case "boolean":
      return boolean(text);
    case "bytes":
      return bytes(text);
    case "date":
      return date(text);
    case "uuid":
      return uuid(text);
    default:
      // A lone surrogate reaches the server as U+FFFD.
      return text.toWellFormed();
  }
}

/**
 * The one spelling of a column's value, from PostgreSQL's text of it. Undefined: this value has none, and a source that finds it in
 * a followed column must touch `rows()` of the table instead. NULL is never given: no equality is true of it.
 */
export function canonicalValue(typeOid: number, text: string): string | undefined {
  const family = familyOf(typeOid);
  const spelling = family && spell(family, text);
  return spelling === undefined ? undefined : bounded(spelling);
}

/**
 * The same for a value as it is handed to pg, or as pg's parsers make it of a result. Null: the value is NULL, which equals
 * nothing. Undefined: it has no certain spelling.
 */
export function canonicalParameter(typeOid: number, value: unknown): string | null | undefined {
  const family = familyOf(typeOid);
  if (value === null || value === undefined) return null;
  if (family === undefined) return undefined;
  switch (typeof value) {
    case "string":
      return canonicalValue(typeOid, value);
    case "number":
      // Whole numbers beyond 2^53 may have been rounded on their way here.
      if (family === "integer" || family === "oid") return Number.isSafeInteger(value) ? String(value) : undefined;
      return family === "text" && Number.isFinite(value) ? String(value) : undefined;
    case "bigint":
      return family === "integer" || family === "oid" || family === "text" ? String(value) : undefined;
    case "boolean":
      if (family === "boolean") return value ? "t" : "f";
      return family === "text" ? String(value) : undefined;
    default:
      break;
  }
  if (family === "date" && value instanceof Date) return dateOf(value);
  if (family === "bytes" && value instanceof Uint8Array) return bounded(`\\x${Buffer.from(value).toString("hex")}`);
  return undefined;
}

/** pg writes a Date in local time with its offset, and date's input takes the day as it is written. */
function dateOf(value: Date): string | undefined {
  const year = value.getFullYear();
  if (!(year >= 1 && year <= 9_999)) return undefined;
  const two = (number: number): string => String(number).padStart(2, "0");
  return `${String(year).padStart(4, "0")}-${two(value.getMonth() + 1)}-${two(value.getDate())}`;
}
