// The input of a task: to JSON when it is enqueued, from JSON when it is run, checked both times. In between lie a store, and perhaps
// a deploy that has changed the schema.

import { createRequire } from "node:module";
import type { Ajv2020 as AjvClass, ValidateFunction } from "ajv/dist/2020.js";
import type { TSchema } from "typebox";
import { tasksErrors } from "./errors.ts";

// CommonJS packages whose types do not describe what an ES module gets from importing them.
const load = createRequire(import.meta.url);

/** A task's input is what to work on, not the thing itself: a megabyte belongs into a table or a file, and its id into the task. */
const maxInputLength = 1_000_000;

let shared: AjvClass | undefined;

function ajv(): AjvClass {
  if (shared) return shared;
  const { Ajv2020 } = load("ajv/dist/2020.js") as { Ajv2020: typeof AjvClass };
  const addFormats = load("ajv-formats") as (ajv: AjvClass) => void;
  const created = new Ajv2020({
    strict: true,
    allowUnionTypes: true,
    strictRequired: false,
    useDefaults: true,
    ownProperties: true,
  });
  addFormats(created);
  created.addKeyword({ keyword: "example" });
  return (shared = created);
}

/** Reads and writes the inputs of one task. */
export interface InputReader<Input> {
  /** JSON of an input that fits. @throws MILLRACE_TASKS_INPUT_INVALID */
  write(input: Input): string;
  /** The input in JSON of whatever version, migrated if it has to be. @throws MILLRACE_TASKS_INPUT_INVALID */
  read(json: string): Input;
}

/** @throws Error from Ajv when the schema is not a valid, strict one */
export function inputReader<Input>(
  task: string,
  schema: TSchema | undefined,
  migrate: ((input: unknown) => Input) | undefined,
): InputReader<Input> {
  const fail = (reason: string, cause?: unknown) => tasksErrors.create("MILLRACE_TASKS_INPUT_INVALID", { task, reason }, cause);
  let compiled: ValidateFunction | undefined;
  /** What is wrong with a value, or undefined. Compiled at first use: importing a module of tasks does no work. */
  const problemOf = (value: unknown): string | undefined => {
    if (schema === undefined) return value === null || value === undefined ? undefined : "the task declares no input.";
    const validate = (compiled ??= ajv().compile(schema));
    if (validate(value)) return undefined;
    const [error] = validate.errors!;
    const { missingProperty, additionalProperty } = error!.params as Record<string, string | undefined>;
    const at = error!.instancePath === "" ? "it" : error!.instancePath.slice(1).replaceAll("/", ".");
    return `${at} ${error!.message ?? "does not fit"}${(missingProperty ?? additionalProperty) ? ` (${missingProperty ?? additionalProperty})` : ""}.`;
  };

  return {
    write(input) {
      let json: string | undefined;
      try {
        json = JSON.stringify(input) as string | undefined;
      } catch (error) {
        throw fail("it cannot be written as JSON.", error);
      }
      json ??= "null";
      if (json.length > maxInputLength) throw fail(`it takes ${json.length} characters as JSON, and may take ${maxInputLength}.`);
      // What is judged is what will be read: a Date has become a text by then.
      const problem = problemOf(JSON.parse(json));
      if (problem !== undefined) throw fail(problem);
      return json;
    },
    read(json) {
      let value: unknown;
      try {
        value = JSON.parse(json);
      } catch (error) {
        throw fail("it is no JSON.", error);
      }
      const problem = problemOf(value);
      if (problem === undefined) return (value ?? undefined) as Input;
      if (!migrate) throw fail(problem);
      let migrated: unknown;
      try {
        migrated = migrate(JSON.parse(json)); // the first copy may have been filled with defaults
      } catch (error) {
        throw fail(`${problem} And \`migrate\` failed: ${error instanceof Error ? error.message : String(error)}`, error);
      }
      const left = problemOf(migrated);
      if (left !== undefined) throw fail(`after \`migrate\`, ${left}`);
      return migrated as Input;
    },
  };
}
