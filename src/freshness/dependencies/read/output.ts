// A column of a result as it is computed. docs/dependencies.md.

import { type Node, as, children, qualified, textConstant } from "../ast.ts";
import { type Col, type Scope, addTo, union } from "../shape.ts";
import type { Analysis } from "./analysis.ts";
import { columnOf } from "./equalities.ts";
import { expression, isOwnFunction } from "./expressions.ts";
import { valueOrigins } from "./values.ts";

/** A column of the result as it is computed. */
export function outputOf(analysis: Analysis, node: Node | undefined, scope: Scope): Col {
  const call = as(node, "FuncCall");
  const { schema, name } = qualified(children(call, "funcname"));
  if (/^jsonb?_build_object$/.test(name) && (schema === undefined || schema === "pg_catalog") && !isOwnFunction(analysis, name)) {
    const given = children(call, "args");
    const fields = new Map<string, Col>();
    const depends = union(expression(analysis, node && { FuncCall: { ...call, args: [] } }, scope));
    for (let i = 0; i < given.length; i += 2) {
      const key = textConstant(given[i]);
      const value = outputOf(analysis, given[i + 1], scope);
      if (key === undefined) addTo(depends, expression(analysis, given[i], scope));
      else if (!fields.has(key)) fields.set(key, value);
      else fields.set(key, { ...value, origins: undefined });
      addTo(depends, value.depends);
    }
    // Keys that are computed might repeat a constant one.
    const certain = given.every((each, i) => i % 2 === 1 || textConstant(each) !== undefined);
    return { name: undefined, origins: undefined, pushable: false, depends, ...(certain && { fields }) };
  }
  const depends = expression(analysis, node, scope);
  const found = columnOf(analysis, node, scope);
  // A column of an outer query is the same in every row: a condition on it does not reach the outer query's rows.
  if (found) return { ...found.col, pushable: found.item !== undefined && found.col.pushable, depends };
  return { name: undefined, origins: valueOrigins(analysis, node), pushable: false, depends };
}
