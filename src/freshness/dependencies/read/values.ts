// Parameters and constants in a condition, as values that are compared by spelling. docs/dependencies.md.

import { type Node, as, child, children, integerConstant, qualified, textConstant, textOf } from "../ast.ts";
import { type ValueFamily, familyOf } from "../canonical-value.ts";
import type { Origin } from "../shape.ts";
import type { Analysis } from "./analysis.ts";

const typeFamilies: Readonly<Record<string, ValueFamily>> = {
  bool: "boolean",
  bytea: "bytes",
  int2: "integer",
  int4: "integer",
  int8: "integer",
  oid: "oid",
  text: "text",
  varchar: "text",
  date: "date",
  uuid: "uuid",
};

/** The family of a cast's type; undefined when values are not compared by spelling in it. */
export function castFamily(analysis: Analysis, typeName: Node | undefined): ValueFamily | undefined {
  if (!typeName || children(typeName, "typmods").length > 0 || children(typeName, "arrayBounds").length > 0 || typeName["setof"])
    return undefined;
  const { schema, name } = qualified(children(typeName, "names"));
  if (schema === undefined || schema === "pg_catalog") {
    const family = typeFamilies[name];
    if (family) return family;
  }
  const own = analysis.catalogue.enumOf(schema, name);
  return own === undefined ? undefined : familyOf(own);
}

/** A parameter or a constant, perhaps under one cast to a type that is compared by spelling. */
export function valueOrigins(analysis: Analysis, node: Node | undefined): readonly Origin[] | undefined {
  const cast = as(node, "TypeCast");
  const family = cast && castFamily(analysis, child(cast, "typeName"));
  if (cast && family === undefined) return undefined;
  const inner = cast ? child(cast, "arg") : node;
  const parameter = as(inner, "ParamRef");
  if (parameter) return [{ kind: "parameter", index: Number(parameter["number"] ?? 0), family }];
  const constant = as(inner, "A_Const");
  if (!constant) return undefined;
  if (constant["isnull"] === true) return [];
  const text = textConstant(inner);
  if (text !== undefined) return [{ kind: "constant", text, family }];
  const integer = integerConstant(inner);
  const own = (kind: ValueFamily, value: string): readonly Origin[] | undefined =>
    family === undefined || family === kind ? [{ kind: "constant", text: value, family: kind }] : undefined;
  if (integer !== undefined) return own("integer", String(integer));
  const float = textOf(child(constant, "fval"), "fval");
  if (float !== undefined && /^-?\d{1,18}$/.test(float)) return own("integer", float);
  const truth = child(constant, "boolval");
  return truth ? own("boolean", truth["boolval"] === true ? "t" : "f") : undefined;
}

/** The elements of an array: $1, $1::int[], array[1, 2]. */
export function arrayOrigins(analysis: Analysis, node: Node | undefined): readonly Origin[] | undefined {
  const cast = as(node, "TypeCast");
  const typeName = child(cast, "typeName");
  let family: ValueFamily | undefined;
  if (cast) {
    const bounds = children(typeName, "arrayBounds");
    if (bounds.length !== 1) return undefined;
    family = castFamily(analysis, { ...typeName, arrayBounds: [] });
    if (family === undefined) return undefined;
  }
  const inner = cast ? child(cast, "arg") : node;
  const parameter = as(inner, "ParamRef");
  if (parameter) return [{ kind: "array", index: Number(parameter["number"] ?? 0), family }];
  const elements = as(inner, "A_ArrayExpr");
  if (!elements) return undefined;
  const origins = children(elements, "elements").map((each) => valueOrigins(analysis, each));
  if (!origins.every((each) => each !== undefined)) return undefined;
  return origins.flat().map((each) => (each.kind !== "column" && each.family === undefined ? { ...each, family } : each));
}
