// FROM: tables, views, WITH queries, sub-selects, functions, joins. docs/dependencies.md.

import { type Node, as, child, children, kindOf, names, statementsOf, textOf } from "../ast.ts";
import type { Relation } from "../catalogue.ts";
import { refuse } from "../refusal.ts";
import { type CommonTable, type CommonTables, type Item, type Rows, type Scope, newMarks, union } from "../shape.ts";
import type { Analysis } from "./analysis.ts";
import { expression } from "./expressions.ts";
import { joinOf } from "./joins.ts";
import { functionItem, decideBeside } from "./set-functions.ts";
import type { Source } from "./source.ts";
import { tableItem } from "./tables.ts";

/** Everything in FROM; each item may see those before it when it is LATERAL. */
export function fromClause(
  analysis: Analysis,
  list: readonly Node[],
  parent: Scope | undefined,
  tables: CommonTables | undefined,
): Source {
  let all: Source = { items: [], exists: new Set(), repeats: new Set(), solid: new Set() };
  for (const each of list) {
    const next = fromItem(analysis, each, parent, tables, all.items);
    all = {
      items: [...all.items, ...next.items],
      exists: union(all.exists, next.exists),
      repeats: union(all.repeats, next.repeats),
      solid: union(all.solid, next.solid),
    };
  }
  return all;
}

function fromItem(
  analysis: Analysis,
  node: Node,
  parent: Scope | undefined,
  tables: CommonTables | undefined,
  left: readonly Item[],
): Source {
  const kind = kindOf(node);
  const body = as(node, kind) ?? {};
  const lateral: Scope = { items: left, parent, tables, marks: newMarks() };
  const alias = child(body, "alias");
  switch (kind) {
    case "RangeVar":
      return namedItem(analysis, body, tables);
    case "RangeSubselect": {
      const query = as(child(body, "subquery"), "SelectStmt") ?? refuse("reads from something that is not understood");
      const rows = analysis.select(query, body["lateral"] === true ? lateral : parent, tables);
      decideBeside(analysis, left, union(rows.exists, rows.repeats));
      return asSource(rows, alias, textOf(alias, "aliasname"));
    }
    case "RangeFunction":
      return functionItem(analysis, body, lateral);
    case "JoinExpr":
      return joinItem(analysis, body, parent, tables, left);
    case "RangeTableFunc":
    case "JsonTable": {
      const depends = expression(analysis, body, lateral);
      decideBeside(analysis, left, depends);
      const item: Item = { name: textOf(alias, "aliasname"), columns: [], open: true, depends };
      return { items: [item], exists: union(depends), repeats: new Set(), solid: new Set() };
    }
    case "RangeTableSample":
      return refuse("reads a random sample (TABLESAMPLE)");
    default:
      return refuse(`reads from ${kind}, which is not understood`);
  }
}

/** Both sides, the right one with the left in sight. */
function joinItem(
  analysis: Analysis,
  body: Node,
  parent: Scope | undefined,
  tables: CommonTables | undefined,
  before: readonly Item[],
): Source {
  const { occurrences } = analysis;
  const start = occurrences.length;
  const l = fromItem(analysis, child(body, "larg") ?? {}, parent, tables, before);
  const middle = occurrences.length;
  const r = fromItem(analysis, child(body, "rarg") ?? {}, parent, tables, [...before, ...l.items]);
  return joinOf(
    analysis,
    body,
    { source: l, places: occurrences.slice(start, middle) },
    { source: r, places: occurrences.slice(middle) },
    { parent, tables },
  );
}

function namedItem(analysis: Analysis, body: Node, tables: CommonTables | undefined): Source {
  const alias = child(body, "alias");
  const name = textOf(body, "relname") ?? "";
  const schema = textOf(body, "schemaname");
  const shown = textOf(alias, "aliasname") ?? name;
  if (textOf(body, "catalogname") !== undefined) refuse("names a table with its database");
  for (let level = schema === undefined ? tables : undefined; level; level = level.parent) {
    const table = level.byName.get(name);
    if (table) return commonTableItem(analysis, table, alias, shown);
  }
  const relation = analysis.catalogue.relation(schema, name);
  if (relation === "system") return refuse(`reads ${name}, a catalogue of PostgreSQL's own`);
  if (relation === "temporary") return refuse(`reads ${name}, which is a temporary table in some session`);
  if (relation === undefined) return refuse(`reads ${name}, which is not known`);
  if (relation.kind === "v") return viewItem(analysis, relation, alias, shown);
  return tableItem(analysis, relation, alias, shown, body["inh"] !== true);
}

function commonTableItem(analysis: Analysis, table: CommonTable, alias: Node | undefined, shown: string): Source {
  if (analysis.open.includes(table)) {
    const item: Item = { name: shown, columns: [], open: true, depends: new Set() };
    return { items: [item], exists: new Set(), repeats: new Set(), solid: new Set() };
  }
  analysis.open.push(table);
  const first = analysis.occurrences.length;
  let rows = analysis.select(table.query, table.scope, table.tables);
  analysis.open.pop();
  // With RECURSIVE a query need not be recursive, but then nothing is lost but precision for those that are not set operations.
  if (table.recursive && (textOf(table.query, "op") ?? "SETOP_NONE") !== "SETOP_NONE") {
    const inside = union(analysis.occurrences.slice(first), rows.exists, rows.repeats, ...rows.columns.map((col) => col.depends));
    const columns = rows.columns.map((col) => ({ name: col.name, origins: undefined, pushable: false, depends: inside }));
    rows = { columns, open: rows.open, exists: inside, repeats: new Set() };
  }
  const columns = rows.columns.map((col, i) => (table.names[i] === undefined ? col : { ...col, name: table.names[i] }));
  return asSource({ ...rows, columns }, alias, shown);
}

function viewItem(analysis: Analysis, view: Relation, alias: Node | undefined, shown: string): Source {
  if (view.definition === undefined) return refuse(`reads the view ${view.name}, whose query is not known`);
  if (analysis.open.includes(view)) return refuse(`reads the view ${view.name}, which reads itself`);
  analysis.open.push(view);
  const query = as(statementsOf(view.definition)[0], "SelectStmt");
  if (!query) return refuse(`reads the view ${view.name}, whose query is not understood`);
  const rows = analysis.select(query, undefined, undefined);
  analysis.open.pop();
  const columns = rows.columns.map((col, i) => ({ ...col, name: view.columns[i]?.name }));
  return asSource({ ...rows, columns }, alias, shown);
}

function asSource(rows: Rows, alias: Node | undefined, name: string | undefined): Source {
  const renamed = names(children(alias, "colnames"));
  const columns = rows.columns.map((col, i) => (renamed[i] === undefined ? col : { ...col, name: renamed[i] }));
  const open = rows.open || columns.some((col) => col.name === undefined);
  const item: Item = { name, columns, open, depends: union(rows.exists, rows.repeats, ...columns.map((col) => col.depends)) };
  return { items: [item], exists: rows.exists, repeats: rows.repeats, solid: rows.exists };
}
