// A whole query: WITH, set operations, VALUES, or one block. docs/dependencies.md.

import { type Node, as, child, children, names, textOf } from "../ast.ts";
import { refuse } from "../refusal.ts";
import {
  type Col,
  type CommonTable,
  type CommonTables,
  type Item,
  type Rows,
  type Scope,
  addTo,
  newMarks,
  union,
} from "../shape.ts";
import type { Analysis } from "./analysis.ts";
import { block } from "./block.ts";
import { expression } from "./expressions.ts";
import { ordered } from "./order.ts";
import { valueOrigins } from "./values.ts";

/** A statement that is made of more blocks than this, views and repeated WITH queries unfolded, is refused: analysis is not free. */
const maxBlocks = 300;

/** Follows a query. */
export function follow(analysis: Analysis, select: Node, parent: Scope | undefined, outer: CommonTables | undefined): Rows {
  if (++analysis.blocks > maxBlocks) refuse("has too many parts to be analysed");
  if (children(select, "lockingClause").length > 0) refuse("locks rows (FOR UPDATE or FOR SHARE)");
  if (child(select, "intoClause")) refuse("writes (SELECT INTO)");
  const tables = commonTablesOf(child(select, "withClause"), parent, outer);
  const op = textOf(select, "op") ?? "SETOP_NONE";
  if (op !== "SETOP_NONE") return setOperation(analysis, select, parent, tables, op);
  if (children(select, "valuesLists").length > 0) return valuesLists(analysis, select, parent, tables);
  return block(analysis, select, parent, tables);
}

function commonTablesOf(
  clause: Node | undefined,
  scope: Scope | undefined,
  outer: CommonTables | undefined,
): CommonTables | undefined {
  if (!clause) return outer;
  const recursive = clause["recursive"] === true;
  const byName = new Map<string, CommonTable>();
  // A later query sees the earlier ones; with RECURSIVE they see each other.
  let seen: CommonTables = { parent: outer, byName: recursive ? byName : new Map() };
  for (const each of children(clause, "ctes")) {
    const table = as(each, "CommonTableExpr");
    const query = as(child(table, "ctequery"), "SelectStmt");
    if (!query) refuse("writes in a WITH query");
    if (child(table, "search_clause") || child(table, "cycle_clause")) refuse("uses SEARCH or CYCLE, which are not understood");
    byName.set(textOf(table, "ctename") ?? "", {
      query,
      names: names(children(table, "aliascolnames")),
      scope,
      tables: seen,
      recursive,
    });
    if (!recursive) seen = { parent: outer, byName: new Map(byName) };
  }
  return seen;
}

function setOperation(
  analysis: Analysis,
  select: Node,
  parent: Scope | undefined,
  tables: CommonTables | undefined,
  op: string,
): Rows {
  const left = analysis.select(child(select, "larg") ?? {}, parent, tables);
  const right = analysis.select(child(select, "rarg") ?? {}, parent, tables);
  const all = op === "SETOP_UNION" && select["all"] === true;
  const open = left.open || right.open || left.columns.length !== right.columns.length;
  const columns = left.columns.map((a, i): Col => {
    const b = right.columns[i];
    return {
      name: a.name,
      origins: !open && a.origins && b?.origins ? [...a.origins, ...b.origins] : undefined,
      pushable: !open && a.pushable && b?.pushable === true,
      depends: union(a.depends, b?.depends ?? []),
    };
  });
  const exists = union(left.exists, right.exists);
  const repeats = union(left.repeats, right.repeats);
  if (!all)
    for (const each of [left, right]) for (const used of [each.repeats, ...each.columns.map((c) => c.depends)]) addTo(exists, used);
  const item: Item = { name: undefined, columns, open, depends: union(...columns.map((c) => c.depends)) };
  const scope: Scope = { items: [item], parent, tables, marks: newMarks() };
  return ordered(analysis, select, scope, { columns, open, exists, repeats: all ? repeats : new Set() });
}

function valuesLists(analysis: Analysis, select: Node, parent: Scope | undefined, tables: CommonTables | undefined): Rows {
  const scope: Scope = { items: [], parent, tables, marks: newMarks() };
  const lists = children(select, "valuesLists").map((list) => children(as(list, "List"), "items"));
  const depends = union(...lists.flat().map((each) => expression(analysis, each, scope)));
  const columns = (lists[0] ?? []).map((_, i): Col => {
    const origins = lists.map((list) => valueOrigins(analysis, list[i]));
    return {
      name: `column${i + 1}`,
      origins: origins.every((each) => each !== undefined) ? origins.flat() : undefined,
      pushable: false,
      depends,
    };
  });
  return ordered(analysis, select, scope, { columns, open: false, exists: new Set(), repeats: new Set() });
}
