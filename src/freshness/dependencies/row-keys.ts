// What narrows each place that reads a table: values known before the statement runs, passed on along equalities, and values that
// stand in its result. docs/dependencies.md has the argument for each.

import { canonicalValue, familyOf } from "./canonical-value.ts";
import type { Relation } from "./catalogue.ts";
import type { RowKey, TableRead, ValueSource } from "./plan.ts";
import type { Analysis } from "./read/analysis.ts";
import type { Col, ColumnOrigin, Occurrence, Origin, Rows } from "./shape.ts";

/** The tables under whose names the changes of a place's rows are published. */
function tablesOf({ relation, only }: Occurrence): readonly Relation[] {
  return only || relation.kind === "p" ? [relation] : [relation, ...relation.children];
}

/** Values of a place's column as far as they are known before the statement runs; undefined: they are not. */
function knownValues(
  occurrence: Occurrence,
  column: string,
  type: number,
  under: readonly Occurrence[],
): ValueSource[] | undefined {
  if (under.length > 16) return undefined;
  for (const equality of occurrence.equalities) {
    if (equality.column.name !== column) continue;
    const values = equality.origins.map((origin) => valuesOf(origin, type, [...under, occurrence]));
    if (values.every((each) => each !== undefined)) return values.flat();
  }
  return undefined;
}

function valuesOf(origin: Origin, type: number, under: readonly Occurrence[]): ValueSource[] | undefined {
  switch (origin.kind) {
    case "constant": {
      const value = canonicalValue(type, origin.text);
      return value === undefined ? undefined : [{ kind: "constant", value }];
    }
    case "column":
      if (under.includes(origin.occurrence)) return undefined;
      return knownValues(origin.occurrence, origin.column.name, type, under);
    default:
      return [{ kind: origin.kind, index: origin.index }];
  }
}

/** Where a place's column stands in the result. */
function inResult(wanted: ColumnOrigin, columns: readonly Col[]): ValueSource | undefined {
  const isIt = (col: Col): boolean =>
    col.origins?.some(
      (each) => each.kind === "column" && each.occurrence === wanted.occurrence && each.column === wanted.column,
    ) === true;
  const search = (col: Col, field: number, path: readonly string[]): ValueSource | undefined => {
    if (isIt(col)) return { kind: "result", field, path };
    for (const [key, member] of col.fields ?? []) {
      const found = search(member, field, [...path, key]);
      if (found) return found;
    }
    return undefined;
  };
  for (const [i, col] of columns.entries()) {
    const found = search(col, i, []);
    if (found) return found;
  }
  return undefined;
}

/** A guess at how many rows a key stands for, the fewest first: one, those of one parent, some, half of all. */
function breadth({ unique, references }: Relation, { column, type }: RowKey): number {
  if (unique.has(column)) return 0;
  if (references.some((each) => each.column === column)) return 1;
  const family = familyOf(type);
  return family === "boolean" ? 4 : family?.startsWith("enum:") ? 3 : 2;
}

function keysOf(occurrence: Occurrence, result: Rows, decides: boolean): RowKey[] {
  const keys = new Map<string, RowKey>();
  const add = (
    column: { readonly name: string; readonly type: number; readonly followable: boolean },
    sources: readonly ValueSource[],
  ): void => {
    if (column.followable && !keys.has(column.name)) keys.set(column.name, { column: column.name, type: column.type, sources });
  };
  for (const { column } of occurrence.equalities) {
    const sources = knownValues(occurrence, column.name, column.type, []);
    if (sources) add(column, sources);
  }
  if (!decides && !result.open) {
    // Its rows change only those rows of the result that carry the value they are joined by; and whether those are there is not up to it.
    const steady = (origin: ColumnOrigin): boolean => !occurrence.presence.has(origin.occurrence);
    for (const { column, origin } of occurrence.promises) {
      const found =
        (steady(origin) && inResult(origin, result.columns)) ||
        (steady({ kind: "column", occurrence, column }) && inResult({ kind: "column", occurrence, column }, result.columns));
      if (found) add(column, [found]);
    }
    for (const { column, origins } of occurrence.equalities) {
      const [origin] = origins;
      if (origins.length !== 1 || origin?.kind !== "column" || origin.occurrence === occurrence || !steady(origin)) continue;
      const found = inResult(origin, result.columns);
      if (found) add(column, [found]);
    }
  }
  return [...keys.values()].toSorted((a, b) => breadth(occurrence.relation, a) - breadth(occurrence.relation, b));
}

/** The table reads of a statement that has been analysed. */
export function tableReads(analysis: Analysis, result: Rows): TableRead[] {
  const reads: TableRead[] = [];
  for (const occurrence of analysis.occurrences) {
    const decides = result.exists.has(occurrence);
    const shows = result.repeats.has(occurrence) || result.columns.some((col) => col.depends.has(occurrence));
    if (!decides && !shows) continue;
    const keys = analysis.coarse ? [] : keysOf(occurrence, result, decides);
    const all = analysis.bugs.childrenAreForgotten ? [occurrence.relation] : tablesOf(occurrence);
    const tables = new Map(all.map((each) => [each.published.oid, each.published]));
    for (const table of tables.values()) reads.push({ table, keys });
  }
  return reads;
}
