// One SELECT … FROM … WHERE … GROUP BY … without its neighbours in a set operation. docs/dependencies.md.

import { type Node, as, child, children, integerConstant, kindOf, names } from "../ast.ts";
import { columnName } from "../column-names.ts";
import { type Col, type CommonTables, type Occurrence, type Rows, type Scope, addTo, newMarks, none, union } from "../shape.ts";
import type { Analysis } from "./analysis.ts";
import { conditions } from "./conditions.ts";
import { columnOf } from "./equalities.ts";
import { expression } from "./expressions.ts";
import { fromClause } from "./from-items.ts";
import { starOf } from "./look-up.ts";
import { ordered, sortKey } from "./order.ts";
import { outputOf } from "./output.ts";

/** Follows one block: FROM, WHERE, the result, GROUP BY, windows, DISTINCT, ORDER BY, LIMIT. */
export function block(analysis: Analysis, select: Node, parent: Scope | undefined, tables: CommonTables | undefined): Rows {
  const marks = newMarks();
  const source = fromClause(analysis, children(select, "fromClause"), parent, tables);
  const scope: Scope = { items: source.items, parent, tables, marks };
  const exists = union(source.exists);
  let repeats = source.repeats;
  conditions(analysis, child(select, "whereClause"), scope, source, exists);

  marks.aggregate = marks.window = marks.set = false;
  let open = false;
  const columns: Col[] = [];
  /** Which columns are FROM's own, by which one. */
  const plain = new Map<Col, Col>();
  for (const each of children(select, "targetList")) {
    const target = as(each, "ResTarget");
    const value = child(target, "val");
    const fields = children(as(value, "ColumnRef"), "fields");
    if (kindOf(fields.at(-1)) === "A_Star") {
      const star = starOf(names(fields).slice(0, -1), scope);
      if (!star) open = true;
      for (const col of star ?? []) {
        const copy = { ...col };
        plain.set(copy, col);
        columns.push(copy);
      }
      continue;
    }
    if (kindOf(value) === "A_Indirection") open ||= names(children(as(value, "A_Indirection"), "indirection")).includes("*");
    const col = { ...outputOf(analysis, value, scope), name: columnName(target) };
    const found = columnOf(analysis, value, scope);
    if (found?.item) plain.set(col, found.col);
    columns.push(col);
  }
  if (open) for (const [i, col] of columns.entries()) columns[i] = { ...col, origins: undefined, pushable: false };

  const having = expression(analysis, child(select, "havingClause"), scope);
  const sorts = children(select, "sortClause").map((each) => child(as(each, "SortBy"), "node"));
  // Aggregates may stand in ORDER BY alone.
  for (const each of sorts) expression(analysis, each, scope, true);
  const windows = union(...children(select, "windowClause").map((each) => expression(analysis, each, scope)));
  let result = columns;
  let sorted: ReadonlySet<Occurrence> = none;

  const groups = children(select, "groupClause");
  if (groups.length > 0 || marks.aggregate || child(select, "havingClause")) {
    const sets = groups.some((each) => kindOf(each) === "GroupingSet");
    const keys = union(
      ...groups.map((each) =>
        kindOf(each) === "GroupingSet" ? expression(analysis, each, scope) : sortKey(analysis, each, scope, columns, true),
      ),
    );
    const keyColumns = new Set(
      groups.map((each) => groupColumn(analysis, each, scope, columns, plain)).filter((each) => each !== undefined),
    );
    const inside = union(exists, repeats);
    // Aggregates in ORDER BY depend on all rows, by whatever columns.
    if (sorts.some((each) => kindOf(each) !== "ColumnRef" && kindOf(each) !== "A_Const")) sorted = inside;
    result = columns.map((col) => {
      const from = plain.get(col);
      const kept = from !== undefined && !sets;
      const depends = from === undefined ? union(col.depends, inside) : col.depends;
      return {
        name: col.name,
        ...(!sets && col.fields && { fields: col.fields }),
        origins: kept ? col.origins : undefined,
        pushable: kept && col.pushable && keyColumns.has(from),
        depends,
      };
    });
    if (groups.length > 0) {
      addTo(exists, union(keys, having, child(select, "havingClause") ? inside : []));
      addTo(analysis.decided, keys);
    } else {
      // One row, whatever there is.
      exists.clear();
      if (child(select, "havingClause")) addTo(exists, union(inside, having));
    }
    repeats = new Set();
  }
  const used = union(...result.map((col) => col.depends), sorted);
  if (marks.window || windows.size > 0) {
    addTo(exists, union(repeats, windows, used));
    if (!analysis.bugs.windowsAreTransparent) result = result.map((col) => ({ ...col, pushable: false }));
    repeats = new Set();
  }
  if (marks.set) addTo(exists, used);
  const distinct = children(select, "distinctClause");
  if (distinct.length > 0) {
    const on = distinct.some((each) => kindOf(each) !== "");
    const keys = union(
      ...sorts.map((each) => sortKey(analysis, each, scope, result)),
      ...distinct.map((each) => (kindOf(each) === "" ? none : sortKey(analysis, each, scope, result))),
    );
    addTo(exists, union(repeats, used, keys));
    if (on) result = result.map((col) => ({ ...col, pushable: false }));
    repeats = new Set();
  }
  return ordered(analysis, select, scope, { columns: result, open, exists, repeats }, sorted);
}

/** Which of FROM's columns a key of GROUP BY is. */
function groupColumn(
  analysis: Analysis,
  key: Node,
  scope: Scope,
  output: readonly Col[],
  plain: ReadonlyMap<Col, Col>,
): Col | undefined {
  const position = integerConstant(key);
  if (position !== undefined) return output[position - 1] && plain.get(output[position - 1]!);
  return columnOf(analysis, key, scope)?.col;
}
