// What the analysis of a statement says, and how it becomes names. See docs/dependencies.md.

import { type TableName, dependencyNames } from "../feed.ts";

/** Where the values of a row key come from when the statement has run. */
export type ValueSource =
  /** The value of $index. */
  | { readonly kind: "parameter"; readonly index: number }
  /** The elements of the array in $index. */
  | { readonly kind: "array"; readonly index: number }
  /** In its one spelling. */
  | { readonly kind: "constant"; readonly value: string }
  /** A column of the result, or what stands under `path` in the JSON object in it. */
  | { readonly kind: "result"; readonly field: number; readonly path: readonly string[] };

/** Only rows whose `column` has one of the values of these sources can change the answer. */
export interface RowKey {
  readonly column: string;
  readonly type: number;
  readonly sources: readonly ValueSource[];
}

/** One table as one place of the statement reads it. */
export interface TableRead {
  readonly table: TableName;
  /** What narrows it to some rows, the best first; any one of them is enough. Empty: every write counts. */
  readonly keys: readonly RowKey[];
}

/** What a statement reads. */
export type ReadPlan =
  /** One sentence that a person can act on. */
  | { readonly cacheable: false; readonly reason: string }
  | {
      readonly cacheable: true;
      readonly reads: readonly TableRead[];
      /** The answer depends on the clock: now(), current_date. */
      readonly timeDependent: boolean;
    };

/** What a statement may write: tables, with those that foreign keys change along; "everything" when that cannot be known. */
export type WritePlan = {
  readonly writes: readonly TableName[] | "everything";
  /** It changes what later statements of the session mean (search_path, role, row_security, …): a fill that runs it is not kept. */
  readonly session: string | undefined;
};

/** One table that an answer was read from. */
export interface ReadDependency {
  readonly table: TableName;
  /** The column to follow, and its values in their one spelling, at most maxValues; undefined: the whole table. */
  readonly rows: { readonly column: string; readonly values: readonly string[] } | undefined;
}

/** More values of one key than this, and the whole table is the dependency. */
export const maxValues = 64;

/**
 * The names of a dependency. `followed`: whether the feed follows its column for certain; without it only the table's name means
 * anything.
 */
export function namesOf({ table, rows }: ReadDependency, followed: boolean): string[] {
  if (rows === undefined || !followed) return [dependencyNames.table(table.schema, table.name)];
  return [
    dependencyNames.rows(table.schema, table.name),
    ...rows.values.map((value) => dependencyNames.row(table.schema, table.name, rows.column, value)),
  ];
}
