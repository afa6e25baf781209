// A TypeBox schema as the plain, strict JSON Schema (2020-12) that Ajv compiles: objects closed unless they say otherwise, whole
// numbers within what JavaScript can hold, unions in the form whose errors people understand. See docs/endpoints.md.

/** A JSON Schema as plain data. */
export type JsonSchema = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const mapOf = (value: unknown, each: (schema: unknown) => unknown): unknown =>
  isObject(value) ? Object.fromEntries(Object.entries(value).map(([key, schema]) => [key, each(schema)])) : value;
const listOf = (value: unknown, each: (schema: unknown) => unknown): unknown => (Array.isArray(value) ? value.map(each) : value);

/** `anyOf` of constants is an enum; `anyOf` of one plain type and null is that type or null. Same meaning, one error instead of three. */
function simplerUnion(schema: Record<string, unknown>): Record<string, unknown> {
  const { anyOf, ...rest } = schema;
  if (!Array.isArray(anyOf)) return schema;
  const branches = anyOf as readonly unknown[];
  if (branches.every((branch) => isObject(branch) && "const" in branch)) {
    return { ...rest, enum: branches.map((branch) => (branch as Record<string, unknown>)["const"]) };
  }
  const others = branches.filter((branch) => !(isObject(branch) && branch["type"] === "null"));
  const [only] = others;
  if (
    branches.length === 2 &&
    others.length === 1 &&
    isObject(only) &&
    typeof only["type"] === "string" &&
    !("enum" in only) &&
    !("const" in only)
  ) {
    return { ...only, ...rest, type: [only["type"], "null"] };
  }
  return schema;
}

/**
 * The strict form of `schema`. `open` leaves it open for properties that a sibling in an `allOf` declares.
 * What stands under `not`, `if` and `contains` is a question, not a shape, and keeps its meaning.
 */
export function strictSchema(schema: unknown, open = false): JsonSchema | boolean {
  if (!isObject(schema)) return schema !== false;
  const closed = (part: unknown): unknown => strictSchema(part);
  const out = simplerUnion({ ...schema });
  for (const keyword of ["properties", "patternProperties", "$defs", "definitions"]) {
    if (keyword in out) out[keyword] = mapOf(out[keyword], closed);
  }
  for (const keyword of ["anyOf", "oneOf", "prefixItems"]) {
    if (keyword in out) out[keyword] = listOf(out[keyword], (part) => strictSchema(part, open));
  }
  if (Array.isArray(out["items"])) {
    // TypeBox writes tuples as draft 7 does.
    out["prefixItems"] = listOf(out["items"], closed);
    out["items"] = strictSchema(out["additionalItems"] ?? true);
    delete out["additionalItems"];
  } else if (isObject(out["items"])) {
    out["items"] = strictSchema(out["items"]);
  }
  if (isObject(out["additionalProperties"])) out["additionalProperties"] = strictSchema(out["additionalProperties"]);
  if (Array.isArray(out["allOf"])) {
    out["allOf"] = listOf(out["allOf"], (part) => strictSchema(part, true));
    if (!open && !("unevaluatedProperties" in out))
      Object.assign(out, { type: out["type"] ?? "object", unevaluatedProperties: false });
  }
  const isShape = "properties" in out || "patternProperties" in out || out["type"] === "object";
  if (isShape && !open && !("allOf" in out) && !("additionalProperties" in out) && !("unevaluatedProperties" in out)) {
    out["additionalProperties"] = false;
  }
  const type = out["type"];
  if (type === "integer" || (Array.isArray(type) && type.includes("integer"))) {
    // JSON.parse rounds beyond 2^53 − 1 without a word.
    if (!("minimum" in out) && !("exclusiveMinimum" in out)) out["minimum"] = Number.MIN_SAFE_INTEGER;
    if (!("maximum" in out) && !("exclusiveMaximum" in out)) out["maximum"] = Number.MAX_SAFE_INTEGER;
  }
  return out;
}
