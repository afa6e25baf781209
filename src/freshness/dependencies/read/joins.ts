// Two sides of a join put together: which rows may appear or vanish by which side. docs/dependencies.md.

import { type Node, child, children, names, textOf } from "../ast.ts";
import { type Col, type Item, type Occurrence, type Scope, addTo, newMarks, none, union } from "../shape.ts";
import type { Analysis } from "./analysis.ts";
import { conditions, condition } from "./conditions.ts";
import { conjuncts, equate } from "./equalities.ts";
import { expression } from "./expressions.ts";
import { keyOf, inherited, promise } from "./foreign-keys.ts";
import { named, starOfItems } from "./look-up.ts";
import type { Source } from "./source.ts";

/** One side of a join, and the places in it. */
export interface JoinSide {
  readonly source: Source;
  readonly places: readonly Occurrence[];
}

/** What a join yields of its two sides. */
export function joinOf(
  analysis: Analysis,
  body: Node,
  left: JoinSide,
  right: JoinSide,
  around: Pick<Scope, "parent" | "tables">,
): Source {
  const kind = textOf(body, "jointype") ?? "JOIN_INNER";
  const [l, r] = [left.source, right.source];
  const items = [...l.items, ...r.items];
  const using = usingOf(body, l, r);
  const scope: Scope = { ...around, items, marks: newMarks() };
  const both: Source = {
    items,
    exists: union(l.exists, r.exists),
    repeats: union(l.repeats, r.repeats),
    solid: union(l.solid, r.solid),
  };
  let source: Source;
  if (kind === "JOIN_INNER") {
    const exists = union(both.exists);
    conditions(analysis, child(body, "quals"), scope, both, exists);
    equateUsing(using, left, right, items, exists);
    source = { ...both, exists };
  } else if (kind === "JOIN_LEFT" || kind === "JOIN_RIGHT") {
    source = outerJoin(analysis, body, using, scope, left, right, kind === "JOIN_LEFT" ? [left, right] : [right, left]);
  } else {
    if (kind !== "JOIN_FULL") analysis.coarse = true;
    const exists = union(both.exists, both.repeats, expression(analysis, child(body, "quals"), scope));
    source = { items, exists, repeats: new Set(), solid: new Set() };
  }
  if (using === undefined) analysis.coarse = true;
  const shown = using?.length === 0 ? items : [...items, mergedItem(using, l, r, kind)];
  const alias = child(body, "alias");
  if (alias) {
    const columns = shown.flatMap((item) => item.columns);
    const item: Item = {
      name: textOf(alias, "aliasname"),
      columns,
      open: true,
      depends: union(...items.map((each) => each.depends)),
    };
    return { ...source, items: [children(alias, "colnames").length > 0 ? { ...item, columns: [] } : item] };
  }
  return { ...source, items: shown };
}

/** The columns that both sides are joined by their names; undefined: it is not certain which. */
function usingOf(body: Node, l: Source, r: Source): readonly string[] | undefined {
  if (child(body, "join_using_alias")) return undefined;
  if (body["isNatural"] !== true) return names(children(body, "usingClause"));
  const [left, right] = [starOfItems(l.items), starOfItems(r.items)];
  if (!left || !right) return undefined;
  const others = new Set(right.map((col) => col.name));
  return left.flatMap(({ name }) => (name !== undefined && others.has(name) ? [name] : []));
}

/** The columns that stand for two each. */
function mergedItem(using: readonly string[] | undefined, l: Source, r: Source, kind: string): Item {
  const items = [...l.items, ...r.items];
  const side = kind === "JOIN_RIGHT" ? r : kind === "JOIN_FULL" ? undefined : l;
  const columns = (using ?? []).map((name): Col => {
    const found = side && named(side.items, name);
    return found
      ? { ...found.col }
      : { name, origins: undefined, pushable: false, depends: union(...items.map((item) => item.depends)) };
  });
  const all = [...(starOfItems(l.items) ?? []), ...(starOfItems(r.items) ?? [])];
  const star = [...columns, ...all.filter((col) => !columns.some((each) => each.name === col.name))];
  return { name: undefined, columns, open: using === undefined, depends: none, merged: { covers: new Set(items), star } };
}

function equateUsing(
  using: readonly string[] | undefined,
  l: JoinSide,
  r: JoinSide,
  narrowed: readonly Item[],
  exists: Set<Occurrence>,
): void {
  for (const name of using ?? []) {
    const [a, b] = [named(l.source.items, name), named(r.source.items, name)];
    if (!a || !b) continue;
    equate({ ...a, origins: a.col.origins }, { ...b, origins: b.col.origins }, narrowed);
    addTo(exists, union(a.col.depends, b.col.depends));
  }
}

/** LEFT and RIGHT JOIN: rows of the one side are kept, those of the other are there or missing. */
function outerJoin(
  analysis: Analysis,
  body: Node,
  using: readonly string[] | undefined,
  scope: Scope,
  left: JoinSide,
  right: JoinSide,
  [{ source: kept }, { source: optional, places: inside }]: readonly [JoinSide, JoinSide],
): Source {
  const { items } = scope;
  const narrowed = analysis.bugs.outerJoinsNarrowBothSides ? items : optional.items;
  const parts = conjuncts(child(body, "quals"));
  const on = new Set<Occurrence>();
  const table = optional.items.length === 1 ? optional.items[0]!.occurrence : undefined;
  let unique = false;
  let promised = parts.length > 0;
  for (const part of parts) {
    const { depends, sides } = condition(analysis, part, scope, narrowed);
    addTo(on, depends);
    let byKey = false;
    for (const [a, b] of sides) {
      const key = table && keyOf(a, table);
      if (key && !b.many && !b.col.depends.has(table)) unique ||= table.relation.unique.has(key.column.name) && !inherited(table);
      if (key && promise(key, b)) byKey = true;
    }
    promised &&= byKey;
  }
  equateUsing(using, left, right, narrowed, on);
  const exists = union(kept.exists);
  const solid = kept.solid;
  // Each row has its one partner, by a foreign key: nothing appears or vanishes with it.
  if (table && promised && using?.length === 0) return { items, exists, repeats: union(kept.repeats), solid };
  for (const each of union(optional.exists, on)) for (const other of inside) each.presence.add(other);
  const repeats = unique ? union(kept.repeats) : union(kept.repeats, optional.exists, optional.repeats, on);
  return { items, exists, repeats, solid };
}
