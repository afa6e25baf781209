// Which column a reference in an expression names, as PostgreSQL would find it; where that is not certain, everything that it could be.
// docs/dependencies.md.

import { type Node, names } from "../ast.ts";
import { type Col, type Item, type Occurrence, type Scope, union } from "../shape.ts";

/** A column by its bare name among items, when there is exactly one. */
export function named(items: readonly Item[], name: string): { readonly col: Col; readonly item: Item } | undefined {
  const hiding = items.filter((item) => item.merged && item.columns.some((col) => col.name === name));
  const found = (hiding.length > 0 ? hiding : items).flatMap((item) =>
    item.columns.filter((col) => col.name === name).map((col) => ({ col, item })),
  );
  return found.length === 1 ? found[0] : undefined;
}

/** The column that a reference names; undefined when it is not certain. */
export function lookUp(fields: readonly Node[], scope: Scope): { readonly col: Col; readonly item: Item | undefined } | undefined {
  const parts = names(fields);
  const name = parts.at(-1)!;
  const qualifier = parts.at(-2);
  for (let level: Scope | undefined = scope; level; level = level.parent) {
    if (qualifier === undefined) {
      const found = named(level.items, name);
      if (found) return { col: found.col, item: level === scope ? found.item : undefined };
      if (level.items.some((item) => item.open || item.name === name || item.columns.some((col) => col.name === name)))
        return undefined;
    } else {
      const items = level.items.filter((item) => item.name === qualifier);
      if (items.length > 1) return undefined;
      const columns = items[0]?.columns.filter((col) => col.name === name) ?? [];
      if (columns.length === 1 && items[0]) return { col: columns[0]!, item: level === scope ? items[0] : undefined };
      if (items.length > 0 || level.items.some((item) => item.open)) return undefined;
    }
  }
  return undefined;
}

const systemColumns = new Set(["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"]);

/** What a reference depends on, when it is not certain what it names: everything that it could be. */
export function anything(parts: readonly string[], scope: Scope): ReadonlySet<Occurrence> {
  const all: Iterable<Occurrence>[] = [];
  for (let level: Scope | undefined = scope; level; level = level.parent) {
    const named = level.items.filter((item) => parts.includes(item.name ?? ""));
    if (named.length > 0 && !systemColumns.has(parts[0]!)) return union(...all, ...named.map((item) => item.depends));
    all.push(...level.items.map((item) => item.depends));
  }
  return union(...all);
}

/** Whether FROM may have a column of this name. */
export const hasName = (scope: Scope, name: string): boolean =>
  scope.items.some((item) => item.open || item.columns.some((col) => col.name === name));

/** The columns of `*`; undefined when they are not all known. */
export function starOfItems(items: readonly Item[]): readonly Col[] | undefined {
  if (items.some((item) => item.open)) return undefined;
  const covered = new Set(items.flatMap(({ merged }) => [...(merged?.covers ?? [])]));
  return items.flatMap((item) => (covered.has(item) ? [] : (item.merged?.star ?? item.columns)));
}

/** The columns of `*` or `name.*`; undefined when they are not all known. */
export function starOf(qualifier: readonly string[], scope: Scope): readonly Col[] | undefined {
  const name = qualifier.at(-1);
  if (name === undefined) {
    return starOfItems(scope.items);
  }
  for (let level: Scope | undefined = scope; level; level = level.parent) {
    const found = level.items.filter((item) => item.name === name);
    if (found.length > 0) {
      if (found.length > 1 || found[0]!.open) return undefined;
      return level === scope ? found[0]!.columns : found[0]!.columns.map((col) => ({ ...col, pushable: false }));
    }
  }
  return undefined;
}
