// Reading PostgreSQL's own parse trees, as libpg-query gives them: each node is an object with one key, its kind.

import { parseSync } from "libpg-query";

/** A node's body, or a node: what is in it is looked at key by key. */
export interface Node {
  readonly [key: string]: unknown;
}

/** The statements of a text. @throws the parser's error when it is none. libpg-query must be loaded. */
export function statementsOf(text: string): Node[] {
  const { stmts = [] } = parseSync(text) as unknown as { readonly stmts?: readonly { readonly stmt?: Node }[] };
  return stmts.map(({ stmt }) => stmt ?? {});
}

const isNode = (value: unknown): value is Node => typeof value === "object" && value !== null && !Array.isArray(value);

/** The child under a key, when it is a node. */
export function child(node: Node | undefined, key: string): Node | undefined {
  const value = node?.[key];
  return isNode(value) ? value : undefined;
}

/** The children under a key. */
export function children(node: Node | undefined, key: string): readonly Node[] {
  const value = node?.[key];
  return Array.isArray(value) ? value.filter(isNode) : [];
}

/** The text under a key. */
export function textOf(node: Node | undefined, key: string): string | undefined {
  const value = node?.[key];
  return typeof value === "string" ? value : undefined;
}

/** What kind of node it is. */
export const kindOf = (node: Node | undefined): string => (node ? (Object.keys(node)[0] ?? "") : "");

/** The body of a node when it is of that kind. */
export const as = (node: Node | undefined, kind: string): Node | undefined => child(node, kind);

/** The texts of a list of String nodes, such as a qualified name; other nodes as "*". */
export const names = (list: readonly Node[]): string[] => list.map((each) => textOf(as(each, "String"), "sval") ?? "*");

/** Schema and name of a possibly qualified name. */
export function qualified(list: readonly Node[]): { readonly schema: string | undefined; readonly name: string } {
  const parts = names(list);
  return { schema: parts.at(-2), name: parts.at(-1) ?? "" };
}

/** Calls `visit` with every object in the tree, parents first; children of those for which it returns false are left out. */
export function walk(tree: unknown, visit: (node: Node) => boolean | void): void {
  if (Array.isArray(tree)) for (const each of tree) walk(each, visit);
  else if (isNode(tree) && visit(tree) !== false) for (const value of Object.values(tree)) walk(value, visit);
}

/** A text constant's value. */
export const textConstant = (node: Node | undefined): string | undefined =>
  textOf(child(as(node, "A_Const"), "sval"), "sval") ?? (child(as(node, "A_Const"), "sval") ? "" : undefined);

/** An integer constant's value. */
export function integerConstant(node: Node | undefined): number | undefined {
  const ival = child(as(node, "A_Const"), "ival");
  if (!ival) return undefined;
  return typeof ival["ival"] === "number" ? ival["ival"] : 0;
}
