// Conditions of WHERE and of inner joins: what they narrow, and what decides about rows by them. docs/dependencies.md.

import { type Node, as, child, children, names, textOf } from "../ast.ts";
import { refuse } from "../refusal.ts";
import { type Item, type Occurrence, type Scope, addTo, none, union } from "../shape.ts";
import type { Analysis } from "./analysis.ts";
import { conjuncts, isEquality, equalities, sideOf, listSideOf, equate } from "./equalities.ts";
import { expression, judgeOperator } from "./expressions.ts";
import { keyOf, promise } from "./foreign-keys.ts";
import type { Source, Side } from "./source.ts";

/** Conditions of WHERE and inner joins: rows that do not meet them are not there. */
export function conditions(
  analysis: Analysis,
  node: Node | undefined,
  scope: Scope,
  source: Source,
  exists: Set<Occurrence>,
): void {
  const promised = new Set<Occurrence>();
  for (const part of conjuncts(node)) {
    const { depends, sides } = condition(analysis, part, scope, scope.items);
    const decides = union(depends);
    for (const [a, b] of sides) {
      for (const occurrence of a.item?.occurrence ? [a.item.occurrence] : []) {
        const key = keyOf(a, occurrence);
        const origin = key && source.solid.has(occurrence) ? promise(key, b) : undefined;
        if (!origin || promised.has(origin.occurrence)) continue;
        promised.add(occurrence);
        decides.delete(occurrence);
        // Its reference is never NULL, and so never decides.
        if (origin.column.notNull && source.solid.has(origin.occurrence)) decides.delete(origin.occurrence);
      }
    }
    addTo(analysis.decided, decides);
    addTo(exists, decides);
  }
  for (const each of promised) if (!analysis.decided.has(each)) exists.delete(each);
  if (analysis.bugs.joinsNeedNoPartner) for (const each of [...exists].slice(1)) exists.delete(each);
}

/** One condition: what it depends on, and the equalities that it consists of, both ways round. */
export function condition(
  analysis: Analysis,
  node: Node,
  scope: Scope,
  narrowed: readonly Item[],
): { readonly depends: Set<Occurrence>; readonly sides: readonly (readonly [Side, Side])[] } {
  const link = as(node, "SubLink");
  if (link && textOf(link, "subLinkType") === "ANY_SUBLINK") return membership(analysis, link, scope, narrowed);
  const depends = union(expression(analysis, node, scope));
  const sides: (readonly [Side, Side])[] = [];
  for (const [left, right] of equalities(analysis, node)) {
    const a = sideOf(analysis, left, scope);
    const b = right.length === 1 ? sideOf(analysis, right[0]!, scope) : listSideOf(analysis, right);
    if (!a || !b) continue;
    equate(a, b, narrowed);
    sides.push([a, b], [b, a]);
  }
  return { depends, sides };
}

/** `a in (select b …)`, `a = any (select b …)`. */
function membership(
  analysis: Analysis,
  link: Node,
  scope: Scope,
  narrowed: readonly Item[],
): { readonly depends: Set<Occurrence>; readonly sides: readonly [] } {
  const query = as(child(link, "subselect"), "SelectStmt") ?? refuse("has a condition that is not understood");
  const rows = analysis.select(query, scope, scope.tables);
  const tested = child(link, "testexpr");
  const depends = union(expression(analysis, tested, scope), rows.exists, rows.repeats, ...rows.columns.map((col) => col.depends));
  const operator = names(children(link, "operName"));
  judgeOperator(analysis, operator.at(-1) ?? "=");
  const [col] = rows.columns;
  const side = tested && sideOf(analysis, tested, scope);
  if (side && col && rows.columns.length === 1 && isEquality(analysis, children(link, "operName"), true)) {
    const item: Item = { name: undefined, columns: rows.columns, open: false, depends: none };
    equate(side, { col, item, origins: col.origins }, [...narrowed, item]);
  }
  return { depends, sides: [] };
}
