// ORDER BY and LIMIT: what they depend on, and that no condition passes a cut. docs/dependencies.md.

import { type Node, as, child, children, integerConstant, names } from "../ast.ts";
import { type Col, type Occurrence, type Rows, type Scope, addTo, none, union } from "../shape.ts";
import type { Analysis } from "./analysis.ts";
import { expression } from "./expressions.ts";
import { hasName } from "./look-up.ts";

/** ORDER BY and LIMIT of something whose columns are known. */
export function ordered(analysis: Analysis, select: Node, scope: Scope, rows: Rows, more = none): Rows {
  const order = union(
    more,
    ...children(select, "sortClause").map((each) => sortKey(analysis, child(as(each, "SortBy"), "node"), scope, rows.columns)),
  );
  const limit = child(select, "limitCount");
  const offset = child(select, "limitOffset");
  const cut = limit !== undefined || offset !== undefined;
  const exists = union(rows.exists, expression(analysis, limit, scope), expression(analysis, offset, scope), cut ? order : []);
  if (offset) addTo(exists, rows.repeats);
  if (cut) addTo(analysis.decided, order);
  const columns = rows.columns.map((col) => ({
    ...col,
    pushable: col.pushable && (!cut || analysis.bugs.limitIsTransparent === true),
    depends: union(col.depends, order),
  }));
  if (columns.length === 0) addTo(exists, order);
  return { columns, open: rows.open, exists, repeats: offset ? new Set() : rows.repeats };
}

/** What a key of ORDER BY or GROUP BY depends on: a position, a column of the result, or an expression over FROM. */
export function sortKey(
  analysis: Analysis,
  node: Node | undefined,
  scope: Scope,
  output: readonly Col[],
  inputFirst = false,
): ReadonlySet<Occurrence> {
  const position = integerConstant(node);
  if (position !== undefined) return output[position - 1]?.depends ?? union(...output.map((col) => col.depends));
  const fields = names(children(as(node, "ColumnRef"), "fields"));
  if (fields.length === 1) {
    if (inputFirst && scope.items.some((item) => item.columns.some((col) => col.name === fields[0])))
      return expression(analysis, node, scope);
    const named = output.filter((col) => col.name === fields[0] || col.name === undefined);
    if (named.length > 0)
      return union(...named.map((col) => col.depends), hasName(scope, fields[0]!) ? expression(analysis, node, scope) : []);
  }
  return expression(analysis, node, scope);
}
