// How PostgreSQL names a column of a query that has no alias (FigureColname in parse_target.c).

import { type Node, as, child, children, kindOf, names, textOf } from "./ast.ts";

const fixed: Readonly<Record<string, string>> = {
  A_ArrayExpr: "array",
  CoalesceExpr: "coalesce",
  GroupingFunc: "grouping",
  RowExpr: "row",
  JsonObjectConstructor: "json_object",
  JsonArrayConstructor: "json_array",
  JsonArrayQueryConstructor: "json_array",
  JsonObjectAgg: "json_objectagg",
  JsonArrayAgg: "json_arrayagg",
  XmlSerialize: "xmlserialize",
};

/** Kinds that PostgreSQL gives no name of their own. */
const nameless = new Set(["A_Const", "ParamRef", "BoolExpr", "NullTest", "BooleanTest"]);

/** The name and how certain: 2 from a column, 1 from a type, 0 none. */
function figure(node: Node | undefined): readonly [name: string | undefined, strength: 0 | 1 | 2] {
  const kind = kindOf(node);
  const body = as(node, kind);
  if (fixed[kind] !== undefined) return [fixed[kind], 2];
  if (nameless.has(kind)) return ["?column?", 0];
  switch (kind) {
    case "ColumnRef":
      return [names(children(body, "fields")).at(-1), 2];
    case "FuncCall":
      return [names(children(body, "funcname")).at(-1), 2];
    case "A_Indirection": {
      const field = names(children(body, "indirection")).findLast((each) => each !== "*");
      return field === undefined ? figure(child(body, "arg")) : [field, 2];
    }
    case "A_Expr":
      return textOf(body, "kind") === "AEXPR_NULLIF" ? ["nullif", 2] : ["?column?", 0];
    case "TypeCast": {
      const [name, strength] = figure(child(body, "arg"));
      return strength > 0 ? [name, strength] : [names(children(child(body, "typeName"), "names")).at(-1), 1];
    }
    case "CollateClause":
      return figure(child(body, "arg"));
    case "MinMaxExpr":
      return [textOf(body, "op") === "IS_LEAST" ? "least" : "greatest", 2];
    case "CaseExpr": {
      const [name, strength] = figure(child(body, "defresult"));
      return strength > 1 ? [name, strength] : ["case", 1];
    }
    case "SQLValueFunction":
      return [
        textOf(body, "op")
          ?.replace(/^SVFOP_|_N$/g, "")
          .toLowerCase(),
        2,
      ];
    case "SubLink": {
      const type = textOf(body, "subLinkType");
      if (type === "EXISTS_SUBLINK") return ["exists", 2];
      if (type === "ARRAY_SUBLINK") return ["array", 2];
      if (type !== "EXPR_SUBLINK") return ["?column?", 0];
      let select = as(child(body, "subselect"), "SelectStmt");
      while (child(select, "larg")) select = child(select, "larg");
      const target = as(children(select, "targetList")[0], "ResTarget");
      return target ? [textOf(target, "name") ?? figure(child(target, "val"))[0], 2] : ["column1", 2];
    }
    default:
      return [undefined, 0];
  }
}

/** The name of a column of a query, undefined when it is not certain. */
export const columnName = (target: Node | undefined): string | undefined =>
  textOf(target, "name") ?? figure(child(target, "val"))[0];
