// Reads the parts of a request that are text (path parameters, query, headers) into the types that the endpoint declares.
// Strict: "007", "1e3", " 5" and "yes" are not numbers or booleans. See docs/endpoints.md.

import type { FieldError, RequestPart } from "../problem.ts";
import { type JsonSchema, strictSchema } from "./strict-schema.ts";
import { type Validate, compileValidator } from "./validator.ts";

/** Text to value; undefined when the text does not spell one. */
type ReadText = (text: string) => unknown;

const wholeNumber = /^-?(?:0|[1-9]\d*)$/;
const decimalNumber = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

const readInteger: ReadText = (text) => {
  if (text.length > 16 || !wholeNumber.test(text)) return undefined;
  const value = Number(text);
  return Object.is(value, -0) ? undefined : value;
};
const readNumber: ReadText = (text) => {
  if (text.length > 40 || !decimalNumber.test(text)) return undefined;
  const value = Number(text);
  return Number.isFinite(value) ? value : undefined;
};
const readBoolean: ReadText = (text) => (text === "true" ? true : text === "false" ? false : undefined);
const readString: ReadText = (text) => text;

function readerOfType(type: unknown): ReadText | undefined {
  switch (type) {
    case "integer":
      return readInteger;
    case "number":
      return readNumber;
    case "boolean":
      return readBoolean;
    case "string":
      return readString;
    default:
      return undefined;
  }
}

/** Constants are compared with their spelling. */
const readOneOf =
  (values: readonly unknown[]): ReadText =>
  (text) =>
    values.find((value) => String(value) === text);

const firstOf =
  (readers: readonly ReadText[]): ReadText =>
  (text) => {
    for (const read of readers) {
      const value = read(text);
      if (value !== undefined) return value;
    }
    return undefined;
  };

/** How a property is read from text, or undefined when its type cannot be text. */
function readerOf(schema: unknown): ReadText | undefined {
  const { type, enum: values, const: constant, anyOf } = schema as Record<string, unknown>;
  if (Array.isArray(values)) return readOneOf(values);
  if (constant !== undefined) return readOneOf([constant]);
  const types = [type].flat().filter((each) => each !== "null");
  const branches = Array.isArray(anyOf) ? anyOf.map(readerOf) : types.map(readerOfType);
  if (branches.length === 0) return readString;
  if (branches.includes(undefined)) return undefined;
  // Text spells itself, so it is tried last.
  const ordered = (branches as ReadText[]).toSorted((a, b) => Number(a === readString) - Number(b === readString));
  return ordered.length === 1 ? ordered[0] : firstOf(ordered);
}

/** The declared properties of one part of the request, ready to read. */
export class RecordReader {
  /** The names, as declared. */
  readonly names: readonly string[];
  readonly #part: RequestPart;
  readonly #readers: ReadonlyMap<string, ReadText>;
  readonly #validate: Validate;

  /** @throws Error when a property cannot be read from text, or its schema is not valid. */
  constructor(part: RequestPart, schema: JsonSchema) {
    const strict = strictSchema(schema) as { properties: Readonly<Record<string, unknown>> };
    const readers = new Map<string, ReadText>();
    for (const [name, property] of Object.entries(strict.properties)) {
      const read = readerOf(property);
      if (!read) throw new Error(`${part}.${name} cannot be an array or an object: it is read from text.`);
      readers.set(name, read);
    }
    this.#part = part;
    this.#readers = readers;
    this.names = [...readers.keys()];
    this.#validate = compileValidator(strict, part);
  }

  has(name: string): boolean {
    return this.#readers.has(name);
  }

  /** The value that `text` spells for `name`; the text itself when it spells none, for the validator to refuse. */
  read(name: string, text: string): unknown {
    return this.#readers.get(name)!(text) ?? text;
  }

  /** Fills defaults in `values` and adds what is wrong with them to `errors`. */
  check(values: Record<string, unknown>, errors: FieldError[]): void {
    const found = this.#validate(values, 0);
    if (found) errors.push(...found);
  }

  /** Reads texts that arrive as a record: path parameters or headers. */
  readRecord(texts: Readonly<Record<string, string | string[] | undefined>>, errors: FieldError[]): Record<string, unknown> {
    const values: Record<string, unknown> = {};
    const before = errors.length;
    for (const name of this.names) {
      const text = texts[name];
      if (text === undefined) continue;
      const problem = typeof text === "string" ? textProblem(text) : "is given more than once";
      if (problem) errors.push({ in: this.#part, field: name, message: problem });
      else values[name] = this.read(name, text as string);
    }
    if (errors.length === before) this.check(values, errors);
    return values;
  }
}

/** What makes a text unfit for the database and for JSON; undefined when nothing does. */
export function textProblem(text: string): string | undefined {
  if (text.includes("\0")) return "must not contain a NUL character";
  if (!text.isWellFormed()) return "must not contain half of a surrogate pair";
  return undefined;
}
