// How each column of an export travels and is written: PostgreSQL's binary format where that is cheaper than its text and our
// formatting is exact, text for everything else, to_json() in the statement for what has structure. See docs/decisions/export.md.

import type { ClientBase } from "pg";
import { databaseErrors } from "../errors.ts";
import type { StatementColumn } from "./describe-statement.ts";
import type { ExportFormat } from "./options.ts";

/** How the bytes of a field become text. */
export const fieldKind = {
  /** Text, to be quoted. */
  text: 0,
  /** Digits, or NaN and ±Infinity, which JSON has no number for. */
  number: 1,
  /** JSON already. */
  json: 2,
  boolean: 3,
  int2: 4,
  int4: 5,
  int8: 6,
  date: 7,
  timestamp: 8,
  timestamptz: 9,
} as const;

export type FieldKind = (typeof fieldKind)[keyof typeof fieldKind];

export interface ExportColumn {
  readonly name: string;
  readonly kind: FieldKind;
  /** Whether PostgreSQL is asked for the binary format of the value. */
  readonly binary: boolean;
}

export interface ExportPlan {
  readonly text: string;
  readonly columns: readonly ExportColumn[];
}

const timestamptzOid = 1184;

type FieldFormat = Omit<ExportColumn, "name">;

/** Built-in types by OID (pg_type.dat; OIDs below 10,000 never change) and what they need. All others are looked up. */
const builtIn: ReadonlyMap<number, FieldFormat> = new Map<number, FieldFormat>([
  [16, { kind: fieldKind.boolean, binary: true }],
  [21, { kind: fieldKind.int2, binary: true }],
  [23, { kind: fieldKind.int4, binary: true }],
  [20, { kind: fieldKind.int8, binary: true }],
  [1082, { kind: fieldKind.date, binary: true }],
  [1114, { kind: fieldKind.timestamp, binary: true }],
  [timestamptzOid, { kind: fieldKind.timestamptz, binary: true }],
  // Shortest-digits printing and base-10,000 digits are PostgreSQL's business: its text is exact by definition.
  ...[700, 701, 1700].map((oid) => [oid, { kind: fieldKind.number, binary: false }] as [number, FieldFormat]),
  // json, and jsonb whose binary format has a version byte in front.
  ...[114, 3802].map((oid) => [oid, { kind: fieldKind.json, binary: false }] as [number, FieldFormat]),
  // text, varchar, bpchar and name: both formats carry the same bytes, binary saves PostgreSQL a copy.
  ...[25, 1043, 1042, 19].map((oid) => [oid, { kind: fieldKind.text, binary: true }] as [number, FieldFormat]),
  // bytea, oid, cidr, inet, macaddr, money, time, timetz, interval, uuid.
  ...[17, 26, 650, 869, 829, 790, 1083, 1266, 1186, 2950].map(
    (oid) => [oid, { kind: fieldKind.text, binary: false }] as [number, FieldFormat],
  ),
]);

/** Time zones in which a timestamptz is written with +00:00 all year and in every year. */
const utcZones: ReadonlySet<string> = new Set([
  "UTC",
  "Etc/UTC",
  "GMT",
  "Etc/GMT",
  "UCT",
  "Etc/UCT",
  "Zulu",
  "Etc/Zulu",
  "Universal",
  "Etc/Universal",
]);

/** What row_to_json writes as JSON rather than as a string: arrays, rows, and types with a cast to json (hstore). */
const lookUp = `
  select current_setting('TimeZone') as zone,
    array(
      select t.oid::int8 from pg_catalog.pg_type t
      where t.oid = any($1::oid[]) and (
        (t.typelem <> 0 and t.typlen = -1) or t.typtype = 'c' or t.oid = 2249
        or exists (select from pg_catalog.pg_cast c where c.castsource = t.oid and c.casttarget = 114)
      )
    )::text[] as structured`;

const quote = (name: string): string => `"${name.replaceAll('"', '""')}"`;

/** Wraps the statement so that its columns come out as `expressions` say; the names c1, c2 … leave no room for ambiguity. */
function wrap(text: string, columns: readonly StatementColumn[], expressions: readonly string[]): string {
  const selected = columns.map(({ name }, i) => `${expressions[i]!} as ${quote(name)}`).join(", ");
  const aliases = columns.map((_, i) => `c${i + 1}`).join(", ");
  return `select ${selected} from (\n${text.replace(/[\s;]+$/, "")}\n) as exported (${aliases})`;
}

function refuseDuplicates(columns: readonly StatementColumn[]): void {
  const seen = new Set<string>();
  for (const { name } of columns) {
    if (seen.has(name)) throw databaseErrors.create("MILLRACE_EXPORT_COLUMN_DUPLICATE", { column: name });
    seen.add(name);
  }
}

/** Decides how to export what `columns` describe; asks the catalog only about types that it does not know. */
export async function planColumns(
  client: ClientBase,
  text: string,
  columns: readonly StatementColumn[],
  format: ExportFormat,
): Promise<ExportPlan> {
  if (format !== "csv") refuseDuplicates(columns);
  const unknown = columns.filter(({ typeOid }) => !builtIn.has(typeOid)).map(({ typeOid }) => typeOid);
  let utc = true;
  let structured: ReadonlySet<number> = new Set();
  if (unknown.length > 0 || columns.some(({ typeOid }) => typeOid === timestamptzOid)) {
    const { rows } = await client.query<{ zone: string; structured: string[] }>(lookUp, [unknown]);
    utc = utcZones.has(rows[0]!.zone);
    structured = new Set(rows[0]!.structured.map(Number));
  }

  const expressions: string[] = [];
  let rewritten = false;
  const planned = columns.map(({ name, typeOid }, i): ExportColumn => {
    const column = `c${i + 1}`;
    if (typeOid === timestamptzOid && !utc) {
      rewritten = true;
      expressions.push(format === "csv" ? `to_json(${column}) #>> '{}'` : `to_json(${column})`);
      return { name, kind: format === "csv" ? fieldKind.text : fieldKind.json, binary: false };
    }
    if (structured.has(typeOid) && format !== "csv") {
      rewritten = true;
      expressions.push(`to_json(${column})`);
      return { name, kind: fieldKind.json, binary: false };
    }
    expressions.push(column);
    return { name, ...(builtIn.get(typeOid) ?? { kind: fieldKind.text, binary: false }) };
  });
  return { text: rewritten ? wrap(text, columns, expressions) : text, columns: planned };
}
