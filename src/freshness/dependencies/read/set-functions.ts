// A function in FROM; the elements of an array are values that can be passed on. docs/dependencies.md.

import { type Node, as, child, children, names, qualified, textOf } from "../ast.ts";
import { type Col, type Item, type Occurrence, type Scope, union } from "../shape.ts";
import type { Analysis } from "./analysis.ts";
import { expression, isOwnFunction } from "./expressions.ts";
import type { Source } from "./source.ts";
import { arrayOrigins } from "./values.ts";

/** A function in FROM under its name. */
export function functionItem(analysis: Analysis, body: Node, scope: Scope): Source {
  const alias = child(body, "alias");
  const functions = children(body, "functions").map((each) => children(as(each, "List"), "items")[0]);
  const depends = union(...functions.map((each) => expression(analysis, each, scope)));
  decideBeside(analysis, scope.items, depends);
  const name = textOf(alias, "aliasname");
  const renamed = names(children(alias, "colnames"));
  const call = functions.length === 1 ? as(functions[0], "FuncCall") : undefined;
  const { schema, name: called } = qualified(children(call, "funcname"));
  const given = children(call, "args");
  const columns: Col[] = [];
  let open = true;
  if (call && called === "unnest" && (schema === undefined || schema === "pg_catalog") && !isOwnFunction(analysis, called)) {
    for (const [i, each] of given.entries()) {
      const single = given.length === 1 && renamed.length === 0 ? (name ?? called) : undefined;
      columns.push({ name: renamed[i] ?? single ?? called, origins: arrayOrigins(analysis, each), pushable: false, depends });
    }
    open = body["ordinality"] === true;
  }
  for (const each of renamed.slice(columns.length)) columns.push({ name: each, origins: undefined, pushable: false, depends });
  const item: Item = { name: name ?? called, columns, open, depends };
  return { items: [item], exists: union(depends), repeats: new Set(), solid: new Set() };
}

/** What stands to the left decides about the rows of a LATERAL item. */
export function decideBeside(analysis: Analysis, left: readonly Item[], used: ReadonlySet<Occurrence>): void {
  for (const each of used) if (left.some((item) => item.depends.has(each))) analysis.decided.add(each);
}
