// Equalities in a condition, and what they say of the places that both sides come from. docs/dependencies.md.

import { type Node, as, child, children, qualified, textOf } from "../ast.ts";
import { type ValueFamily, familyOf } from "../canonical-value.ts";
import { type Col, type Item, type Origin, type Scope, none } from "../shape.ts";
import type { Analysis } from "./analysis.ts";
import { lookUp } from "./look-up.ts";
import type { Side } from "./source.ts";
import { castFamily, valueOrigins, arrayOrigins } from "./values.ts";

/** Whether an operator is PostgreSQL's own `=`. `emptyToo`: IN names none. */
export function isEquality(analysis: Analysis, name: readonly Node[], emptyToo = false): boolean {
  if (!analysis.catalogue.plainEquality) return false;
  if (name.length === 0) return emptyToo;
  const { schema, name: operator } = qualified(name);
  return operator === "=" && (schema === undefined || schema === "pg_catalog");
}

/** The equalities that a condition is: one side, and the alternatives on the other. */
export function equalities(analysis: Analysis, node: Node): readonly (readonly [Node, readonly Node[]])[] {
  const or = as(node, "BoolExpr");
  if (or && textOf(or, "boolop") === "OR_EXPR") return alternatives(analysis, children(or, "args"));
  const expression = as(node, "A_Expr");
  if (!expression || !isEquality(analysis, children(expression, "name"))) return [];
  const [left, right] = [child(expression, "lexpr"), child(expression, "rexpr")];
  if (!left || !right) return [];
  switch (textOf(expression, "kind")) {
    case "AEXPR_OP": {
      const [a, b] = [children(as(left, "RowExpr"), "args"), children(as(right, "RowExpr"), "args")];
      if (a.length > 0 && a.length === b.length) return a.map((each, i) => [each, [b[i]!]]);
      return [[left, [right]]];
    }
    case "AEXPR_IN": {
      const items = children(as(right, "List"), "items");
      return items.length > 0 ? [[left, items]] : [];
    }
    case "AEXPR_OP_ANY":
      return [[left, [{ Elements: { of: right } }]]];
    default:
      return [];
  }
}

/** The conditions of which all must hold. */
export function conjuncts(node: Node | undefined): readonly Node[] {
  if (!node) return [];
  const and = as(node, "BoolExpr");
  return and && textOf(and, "boolop") === "AND_EXPR" ? children(and, "args").flatMap((each) => conjuncts(each)) : [node];
}

/** The same expression has the same text, wherever it stands. */
const spelled = (node: Node): string => JSON.stringify(node, (key, value: unknown) => (key === "location" ? undefined : value));

/** `a = 1 or a in (2, 3) and b`: what equals something in every branch equals one of all that. */
function alternatives(analysis: Analysis, branches: readonly Node[]): readonly (readonly [Node, readonly Node[]])[] {
  let common: Map<string, readonly [Node, readonly Node[]]> | undefined;
  for (const branch of branches) {
    const here = new Map<string, readonly [Node, readonly Node[]]>();
    for (const [left, right] of conjuncts(branch).flatMap((each) => equalities(analysis, each))) {
      const ways: (readonly [Node, readonly Node[]])[] = [[left, right]];
      if (right.length === 1 && right[0] && !as(right[0], "Elements")) ways.push([right[0], [left]]);
      for (const way of ways) {
        const key = spelled(way[0]);
        const before = common?.get(key);
        if (common === undefined || before) here.set(key, [way[0], [...(before?.[1] ?? []), ...way[1]]]);
      }
    }
    common = here;
  }
  return [...(common?.values() ?? [])];
}

/** One side of an equality: values, or a column; undefined when it is anything else. */
export function sideOf(analysis: Analysis, node: Node, scope: Scope): Side | undefined {
  const elements = as(node, "Elements");
  const origins = elements ? arrayOrigins(analysis, child(elements, "of")) : valueOrigins(analysis, node);
  if (origins) {
    return {
      col: { name: undefined, origins, pushable: false, depends: none },
      item: undefined,
      origins,
      many: elements !== undefined,
    };
  }
  const found = columnOf(analysis, node, scope);
  return found && { ...found, origins: found.col.origins };
}

/** The values of IN (…) or of alternatives; undefined when one of them is not known. */
export function listSideOf(analysis: Analysis, nodes: readonly Node[]): Side | undefined {
  const origins = nodes.map((each) => {
    const elements = as(each, "Elements");
    return elements ? arrayOrigins(analysis, child(elements, "of")) : valueOrigins(analysis, each);
  });
  if (!origins.every((each) => each !== undefined)) return undefined;
  return {
    col: { name: undefined, origins: undefined, pushable: false, depends: none },
    many: true,
    item: undefined,
    origins: origins.flat(),
  };
}

/** A column, perhaps under a cast that keeps its value. */
export function columnOf(
  analysis: Analysis,
  node: Node | undefined,
  scope: Scope,
): { readonly col: Col; readonly item: Item | undefined } | undefined {
  const cast = as(node, "TypeCast");
  if (cast) {
    const family = castFamily(analysis, child(cast, "typeName"));
    const inner = columnOf(analysis, child(cast, "arg"), scope);
    const same = family !== undefined && inner?.col.origins?.every((each) => originFamily(each) === family);
    return same ? inner : undefined;
  }
  const ref = as(node, "ColumnRef");
  return ref && lookUp(children(ref, "fields"), scope);
}

const originFamily = (origin: Origin): ValueFamily | undefined =>
  origin.kind === "column" ? (origin.column.followable ? familyOf(origin.column.type) : undefined) : origin.family;

/** `a = b` where rows of `narrowed` matter only if it is true. */
export function equate(a: Side, b: Side, narrowed: readonly Item[]): void {
  for (const [one, other] of [
    [a, b],
    [b, a],
  ] as const) {
    if (!one.item || !narrowed.includes(one.item) || !one.col.pushable || !one.col.origins || !other.origins) continue;
    for (const origin of one.col.origins) {
      if (origin.kind !== "column") continue;
      const family = originFamily(origin);
      const exact = other.origins.every((each) => {
        const their = originFamily(each);
        return their === family || (their === undefined && each.kind !== "column");
      });
      if (family !== undefined && exact) origin.occurrence.equalities.push({ column: origin.column, origins: other.origins });
    }
  }
}
