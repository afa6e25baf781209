// The terms in which a query is understood: which places read a table, where a column's values come from, what decides which rows
// there are. docs/dependencies.md has the argument.

import type { ValueFamily } from "./canonical-value.ts";
import type { Column, Relation } from "./catalogue.ts";

/** One place of a statement that reads a table. */
export interface Occurrence {
  readonly relation: Relation;
  /** Rows of this place matter only if `column` equals one of `origins`. Each holds by itself. */
  readonly equalities: { readonly column: Column; readonly origins: readonly Origin[] }[];
  /** A foreign key promises that for each value of the origin there is exactly one row here, with it in `column`. */
  readonly promises: { readonly column: Column; readonly origin: ColumnOrigin }[];
  /** Places whose rows appear or vanish with rows of this one, on the side of an outer join that may be missing. */
  readonly presence: Set<Occurrence>;
  /** Without those of inheritance children. */
  readonly only: boolean;
}

/** The values of a place's column, exactly. */
export interface ColumnOrigin {
  readonly kind: "column";
  readonly occurrence: Occurrence;
  readonly column: Column;
}

/** Where values come from. `family` is undefined for what takes the type of its other side: 'x', $1. */
export type Origin =
  | ColumnOrigin
  | { readonly kind: "parameter" | "array"; readonly index: number; readonly family: ValueFamily | undefined }
  | { readonly kind: "constant"; readonly text: string; readonly family: ValueFamily | undefined };

export type Places = ReadonlySet<Occurrence>;

/** A column of anything that stands in FROM, or of a result. */
export interface Col {
  readonly name: string | undefined;
  /** Every value comes from one of these, or is NULL. Undefined: computed. */
  readonly origins: readonly Origin[] | undefined;
  /** Whether a condition on it may be applied to the origins' rows instead. */
  readonly pushable: boolean;
  /** The places whose rows decide its values. */
  readonly depends: Places;
  /** The members of a JSON object. */
  readonly fields?: ReadonlyMap<string, Col>;
}

/** What a query block or something in FROM yields. */
export interface Rows {
  readonly columns: readonly Col[];
  /** There may be columns that are not known. */
  readonly open: boolean;
  /** The places that decide which rows there are. */
  readonly exists: Set<Occurrence>;
  /** The places that only decide how often a row appears that is there anyway. */
  readonly repeats: Set<Occurrence>;
}

/** Something in FROM under its name. */
export interface Item {
  readonly name: string | undefined;
  readonly columns: readonly Col[];
  readonly open: boolean;
  readonly depends: Places;
  /** Columns that stand for two after JOIN … USING and hide those. */
  readonly merged?: { readonly covers: ReadonlySet<Item>; readonly star: readonly Col[] };
  /** The place itself, when the item is a table. */
  readonly occurrence?: Occurrence;
}

/** What was met in the expressions of one query block. */
export interface Marks {
  aggregate: boolean;
  window: boolean;
  set: boolean;
}

export interface Scope {
  readonly items: readonly Item[];
  readonly parent: Scope | undefined;
  readonly tables: CommonTables | undefined;
  readonly marks: Marks;
}

/** The common table expressions that can be named. */
export interface CommonTables {
  readonly parent: CommonTables | undefined;
  readonly byName: ReadonlyMap<string, CommonTable>;
}

export interface CommonTable {
  readonly query: Readonly<Record<string, unknown>>;
  readonly names: readonly string[];
  readonly scope: Scope | undefined;
  readonly tables: CommonTables | undefined;
  /** It may name itself. */
  readonly recursive: boolean;
}

export const union = (...sets: readonly Iterable<Occurrence>[]): Set<Occurrence> => {
  const all = new Set<Occurrence>();
  for (const set of sets) for (const each of set) all.add(each);
  return all;
};

export const addTo = (set: Set<Occurrence>, more: Iterable<Occurrence>): void => {
  for (const each of more) set.add(each);
};

export const none: Places = new Set();

export const newMarks = (): Marks => ({ aggregate: false, window: false, set: false });
