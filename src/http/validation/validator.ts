// Ajv behind one function: a schema in, a check out that fills defaults and names what is wrong, field by field.
// No coercion: what needs reading from text has been read before (record-reader.ts). See docs/endpoints.md.

import { createRequire } from "node:module";
import type { Ajv2020 as AjvClass, ErrorObject, ValidateFunction } from "ajv/dist/2020.js";
import { suggest } from "../../core/index.ts";
import type { FieldError, RequestPart } from "../problem.ts";
import type { JsonSchema } from "./strict-schema.ts";

// CommonJS packages whose types do not describe what an ES module gets from importing them.
const load = createRequire(import.meta.url);

/** As many as a person reads; the rest shows when these are corrected. */
const maxErrors = 10;
/** Above this size of the input only the first error is looked for: a million wrong items must not become a million errors. */
const allErrorsBelowBytes = 16 * 1024;

function createAjv(allErrors: boolean): AjvClass {
  const { Ajv2020 } = load("ajv/dist/2020.js") as { Ajv2020: typeof AjvClass };
  const addFormats = load("ajv-formats") as (ajv: AjvClass) => void;
  const ajv = new Ajv2020({
    allErrors,
    strict: true,
    allowUnionTypes: true, // "string or null"
    strictRequired: false,
    useDefaults: true,
    coerceTypes: false,
    removeAdditional: false,
    ownProperties: true, // "constructor" in {} is not a property of the request
    verbose: true, // errors carry their schema, from which the messages are made
  });
  addFormats(ajv);
  ajv.addKeyword({ keyword: "example" });
  return ajv;
}

let ajvAll: AjvClass | undefined;
let ajvFirst: AjvClass | undefined;

const list = (values: readonly unknown[]): string => values.map((value) => JSON.stringify(value)).join(", ");
const withArticle = (type: string): string =>
  ({
    integer: "a whole number",
    number: "a number",
    string: "a string",
    boolean: "true or false",
    array: "an array",
    object: "an object",
    null: "null",
  })[type] ?? type;
const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;

function messageOf(error: ErrorObject): string {
  const params = error.params as Record<string, unknown>;
  const limit = params["limit"] as number;
  switch (error.keyword) {
    case "required":
      return "is required";
    case "additionalProperties":
    case "unevaluatedProperties":
      return "is not known here";
    case "type":
      return `must be ${[params["type"] as string | string[]].flat().map(withArticle).join(" or ")}`;
    case "enum":
      return `must be one of ${list(params["allowedValues"] as readonly unknown[])}`;
    case "const":
      return `must be ${JSON.stringify(params["allowedValue"])}`;
    case "minimum":
    case "maximum": {
      const { minimum, maximum } = error.parentSchema as { minimum?: number; maximum?: number };
      if (minimum === undefined || minimum === Number.MIN_SAFE_INTEGER) return `must be at most ${maximum}`;
      if (maximum === undefined || maximum === Number.MAX_SAFE_INTEGER) return `must be at least ${minimum}`;
      return `must be from ${minimum} to ${maximum}`;
    }
    case "minLength":
      return `must have at least ${plural(limit, "character")}`;
    case "maxLength":
      return `must have at most ${plural(limit, "character")}`;
    case "minItems":
      return `must have at least ${plural(limit, "item")}`;
    case "maxItems":
      return `must have at most ${plural(limit, "item")}`;
    case "format":
      return `must be a valid ${String(params["format"])}`;
    case "anyOf":
    case "oneOf":
      return "matches none of the forms that are allowed here";
    case "false schema":
      return "is not allowed here";
    default:
      return error.message ?? "is not valid";
  }
}

const unescapePointer = (part: string): string => part.replaceAll("~1", "/").replaceAll("~0", "~");

function fieldErrorOf(error: ErrorObject, part: RequestPart): FieldError {
  const path = error.instancePath.split("/").slice(1).map(unescapePointer);
  const { missingProperty, additionalProperty, unevaluatedProperty } = error.params as Record<string, string | undefined>;
  const unknown = additionalProperty ?? unevaluatedProperty;
  const last = missingProperty ?? unknown;
  if (last !== undefined) path.push(last);
  const known = unknown === undefined ? [] : Object.keys((error.parentSchema as { properties?: object }).properties ?? {});
  const suggestion = unknown === undefined ? undefined : suggest(unknown, known);
  return {
    in: part,
    field: path.join(".").slice(0, 200),
    message: messageOf(error),
    ...(suggestion !== undefined && { suggestion }),
  };
}

function fieldErrorsOf(errors: readonly ErrorObject[], part: RequestPart): FieldError[] {
  // A union reports every branch that failed and then itself; only the last says something true.
  const unions = errors
    .filter(({ keyword }) => keyword === "anyOf" || keyword === "oneOf")
    .map(({ schemaPath }) => `${schemaPath}/`);
  const telling = errors.filter(({ schemaPath }) => !unions.some((union) => schemaPath.startsWith(union)));
  return telling.slice(0, maxErrors).map((error) => fieldErrorOf(error, part));
}

/** Checks a value, filling defaults in place. Returns what is wrong, or undefined. `bytes` is how large the input was. */
export type Validate = (value: unknown, bytes: number) => FieldError[] | undefined;

/**
 * Compiles `schema` for a part of the request.
 * @throws Error from Ajv when the schema is not a valid, strict one
 */
export function compileValidator(schema: JsonSchema | boolean, part: RequestPart): Validate {
  const all: ValidateFunction = (ajvAll ??= createAjv(true)).compile(schema);
  let first: ValidateFunction | undefined;
  return (value, bytes) => {
    const validate = bytes <= allErrorsBelowBytes ? all : (first ??= (ajvFirst ??= createAjv(false)).compile(schema));
    return validate(value) ? undefined : fieldErrorsOf(validate.errors!, part);
  };
}
