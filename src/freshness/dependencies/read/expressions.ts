// What an expression depends on, and whether what it calls may be kept: functions, operators, conversions. docs/dependencies.md.

import { type Node, as, child, children, kindOf, names, qualified, textConstant, textOf, walk } from "../ast.ts";
import { catalogueTypes, judgeCall, mayMeanNow } from "../functions.ts";
import { refuse } from "../refusal.ts";
import { type Occurrence, type Scope, addTo, union } from "../shape.ts";
import type { Analysis } from "./analysis.ts";
import { lookUp, anything } from "./look-up.ts";

/** The places that an expression depends on. `again`: it was looked at before, only what it contains is asked. */
export function expression(analysis: Analysis, tree: Node | undefined, scope: Scope, again = false): Set<Occurrence> {
  const depends = new Set<Occurrence>();
  if (!tree) return depends;
  walk(tree, (node) => {
    for (const key of ["SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"]) {
      if (node[key] !== undefined) refuse(`has a ${key} where it is not understood`);
    }
    const ref = as(node, "ColumnRef");
    if (ref) {
      const fields = children(ref, "fields");
      const found = kindOf(fields.at(-1)) === "A_Star" ? undefined : lookUp(fields, scope);
      addTo(depends, found ? found.col.depends : anything(names(fields), scope));
      return false;
    }
    const link = as(node, "SubLink");
    if (link) {
      judgeOperator(analysis, names(children(link, "operName")).at(-1) ?? "=");
      addTo(depends, expression(analysis, child(link, "testexpr"), scope));
      if (again) return false;
      const rows = analysis.select(
        as(child(link, "subselect"), "SelectStmt") ?? refuse("has a sub-select that is not understood"),
        scope,
        scope.tables,
      );
      addTo(depends, union(rows.exists, rows.repeats, ...rows.columns.map((col) => col.depends)));
      return false;
    }
    const call = as(node, "FuncCall");
    if (call) judge(analysis, call, scope);
    judgeLeaf(analysis, node);
    return true;
  });
  return depends;
}

function judge(analysis: Analysis, call: Node, scope: Scope): void {
  const { schema, name } = qualified(children(call, "funcname"));
  const judgement = judgeCall(analysis.catalogue, schema, name, children(call, "args").length);
  if (judgement === "clock") analysis.timeDependent = true;
  else if (judgement !== "steady") refuse(judgement.reason);
  if (isOwnFunction(analysis, name)) analysis.ownCode = true;
  if (analysis.catalogue.returnsSet(name)) scope.marks.set = true;
  if (child(call, "over")) {
    scope.marks.window = true;
    return;
  }
  const aggregates = analysis.catalogue.aggregates(name);
  if (aggregates === false) return;
  scope.marks.aggregate = true;
  if (aggregates === undefined) analysis.coarse = true;
  // An aggregate of nothing but outer columns belongs to the outer query.
  let [here, elsewhere] = [0, 0];
  walk(call, (node) => {
    const ref = as(node, "ColumnRef");
    if (!ref) return;
    const found = lookUp(children(ref, "fields"), scope);
    if (found?.item) here++;
    else elsewhere++;
  });
  if (here === 0 && elsewhere > 0 && scope.parent) analysis.coarse = true;
}

/** What matters by itself, wherever it stands. */
function judgeLeaf(analysis: Analysis, node: Node): void {
  const value = as(node, "SQLValueFunction");
  if (value && !/ROLE|USER|CATALOG|SCHEMA/.test(textOf(value, "op") ?? "")) analysis.timeDependent = true;
  const text = textConstant(node);
  if (text !== undefined && mayMeanNow(text)) analysis.timeDependent = true;
  if (node["JsonObjectAgg"] !== undefined || node["JsonArrayAgg"] !== undefined || node["MergeSupportFunc"] !== undefined) {
    refuse("uses an SQL/JSON aggregate, which is not understood: json_agg() is");
  }
  const expression = as(node, "A_Expr");
  if (expression) {
    judgeOperator(analysis, names(children(expression, "name")).at(-1) ?? "");
    if (/BETWEEN/.test(textOf(expression, "kind") ?? "")) for (const each of ["<=", ">=", "<", ">"]) judgeOperator(analysis, each);
  }
  const typeName = child(as(node, "TypeCast"), "typeName");
  if (typeName) {
    const { name } = qualified(children(typeName, "names"));
    analysis.castTargets.add(name);
    if (catalogueTypes.has(name)) refuse(`converts to ${name}, which looks into PostgreSQL's catalogue`);
  }
}

/** An operator of the database's own must be IMMUTABLE. */
export function judgeOperator(analysis: Analysis, name: string): void {
  const volatility = analysis.catalogue.operator(name);
  if (volatility === undefined) return;
  analysis.ownCode = true;
  if (volatility !== "i") refuse(`uses the operator ${name}, whose function is not IMMUTABLE`);
}

/** Whether a call by this name may mean a function of the database's own. */
export const isOwnFunction = (analysis: Analysis, name: string): boolean => analysis.catalogue.functionOf(undefined, name).own;
