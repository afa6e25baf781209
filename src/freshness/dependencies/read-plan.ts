// What a statement reads, and once it has run, what its answer depends on. See docs/dependencies.md.

import type { TableName } from "../feed.ts";
import { type Node, as, kindOf, walk } from "./ast.ts";
import { canonicalParameter, familyOf } from "./canonical-value.ts";
import type { Catalogue } from "./catalogue.ts";
import { mayMeanNow } from "./functions.ts";
import { type ReadDependency, type ReadPlan, type RowKey, type ValueSource, maxValues } from "./plan.ts";
import { analyse } from "./read-analysis.ts";
import type { PlantedBugs } from "./read/analysis.ts";
import { Refusal } from "./refusal.ts";
import { tableReads } from "./row-keys.ts";

/** Statements that are no queries, and what they do, for people. */
const others: Readonly<Record<string, string>> = {
  ExplainStmt: "explains a plan",
  VariableShowStmt: "shows a setting",
  FetchStmt: "reads from a cursor",
  DeclareCursorStmt: "opens a cursor",
  ExecuteStmt: "executes a statement that SQL has prepared",
  CopyStmt: "copies rows",
};

/** Analyses the statements of one text. */
export function readPlan(statements: readonly Node[], catalogue: Catalogue, bugs: PlantedBugs = {}): ReadPlan {
  if (statements.length !== 1) return { cacheable: false, reason: "is several statements in one text" };
  const [statement] = statements;
  const select = as(statement, "SelectStmt");
  if (!select) return { cacheable: false, reason: others[kindOf(statement)] ?? "is not a query" };
  try {
    const { analysis, rows } = analyse(select, catalogue, bugs);
    return { cacheable: true, reads: tableReads(analysis, rows), timeDependent: analysis.timeDependent };
  } catch (error) {
    if (error instanceof Refusal) return { cacheable: false, reason: error.reason };
    throw error;
  }
}

/** The parameters that stand in more than one place of the text. */
export function sharedParameters(statements: readonly Node[]): ReadonlySet<number> {
  const seen = new Set<number>();
  const shared = new Set<number>();
  walk(statements, (node) => {
    const parameter = as(node, "ParamRef");
    if (!parameter) return;
    const index = Number(parameter["number"] ?? 0);
    if (seen.has(index)) shared.add(index);
    seen.add(index);
  });
  return shared;
}

/** What came of a statement, as far as it is known. */
export interface StatementResult {
  readonly values: readonly unknown[] | undefined;
  /** Objects or arrays, as pg's parsers made them; undefined: not seen. */
  readonly rows: readonly unknown[] | undefined;
  readonly fields: readonly { readonly name: string; readonly dataTypeID: number }[] | undefined;
}

/**
 * A parameter in two places takes the type of the first, which may be a wider one: then it is compared exactly only while it is a
 * whole number that every type of numbers holds.
 */
const sharedLimit = 2 ** 24;

/** Collects spellings; false: this value has none. */
type Take = (value: unknown) => boolean;

function takeResult(source: Extract<ValueSource, { kind: "result" }>, result: StatementResult, take: Take): boolean {
  const { rows, fields } = result;
  const field = fields?.[source.field];
  if (!rows || !fields || !field) return false;
  const repeated = fields.some((each, i) => i !== source.field && each.name === field.name);
  for (const row of rows) {
    if (typeof row !== "object" || row === null || (repeated && !Array.isArray(row))) return false;
    let value: unknown = Array.isArray(row) ? row[source.field] : (row as Record<string, unknown>)[field.name];
    for (const key of source.path) {
      if (value === null) break;
      if (typeof value !== "object" || !Object.hasOwn(value, key)) return false;
      value = (value as Record<string, unknown>)[key];
    }
    if (value === undefined || !take(value)) return false;
  }
  return true;
}

/** The values of a key; undefined: they are not known, or too many. */
function valuesOf(key: RowKey, result: StatementResult, shared: ReadonlySet<number>): string[] | undefined {
  const values = new Set<string>();
  const take = (value: unknown): boolean => {
    const spelling = canonicalParameter(key.type, value);
    if (spelling === undefined) return false;
    if (spelling !== null) values.add(spelling);
    return values.size <= maxValues;
  };
  for (const source of key.sources) {
    switch (source.kind) {
      case "constant":
        values.add(source.value);
        break;
      case "result":
        // How an application's own parsers make dates of texts is not known.
        if (familyOf(key.type) === "date" || !takeResult(source, result, take)) return undefined;
        break;
      default: {
        const value = result.values?.[source.index - 1];
        const elements = source.kind === "parameter" || value === null || value === undefined ? [value] : value;
        if (!Array.isArray(elements)) return undefined;
        for (const each of elements) {
          if (!take(each)) return undefined;
          if (shared.has(source.index) && !(each === null || each === undefined || Math.abs(Number(each)) <= sharedLimit))
            return undefined;
          if (shared.has(source.index) && familyOf(key.type) !== "integer") return undefined;
        }
      }
    }
  }
  return values.size <= maxValues ? [...values] : undefined;
}

/** Whether a parameter may be read as the clock: 'now', 'today'. */
export const namesTheClock = (values: readonly unknown[] | undefined): boolean =>
  values?.some((value) => typeof value === "string" && mayMeanNow(value)) === true;

/** What the answer depends on. A table that counts as a whole is named once. */
export function dependenciesOf(
  plan: Extract<ReadPlan, { cacheable: true }>,
  shared: ReadonlySet<number>,
  result: StatementResult,
): ReadDependency[] {
  const whole = new Map<number, TableName>();
  const parts = new Map<string, { table: TableName; column: string; values: Set<string> }>();
  for (const { table, keys } of plan.reads) {
    let found: { column: string; values: string[] } | undefined;
    for (const key of keys) {
      const values = valuesOf(key, result, shared);
      if (values) {
        found = { column: key.column, values };
        break;
      }
    }
    if (!found) {
      whole.set(table.oid, table);
      continue;
    }
    const id = `${table.oid}:${found.column}`;
    const part = parts.get(id) ?? { table, column: found.column, values: new Set() };
    for (const value of found.values) part.values.add(value);
    parts.set(id, part);
    if (part.values.size > maxValues) whole.set(table.oid, table);
  }
  const dependencies: ReadDependency[] = [...whole.values()].map((table) => ({ table, rows: undefined }));
  for (const { table, column, values } of parts.values()) {
    if (!whole.has(table.oid)) dependencies.push({ table, rows: { column, values: [...values] } });
  }
  return dependencies;
}
