// Options are resolved once, when a thing is created: filled from its literal of defaults, checked, unknown keys refused, frozen.

import { type Duration, maxTimerMs, parseDuration } from "./duration.ts";
import { coreErrors } from "./error-table.ts";
import { suggest } from "./suggestion.ts";

/** Turns a given option into what the code uses (a duration into milliseconds, say), or says what it expected. */
export interface OptionCheck<Given, Resolved = Given> {
  readonly expected: string;
  /** Its value is not shown in messages: it is, or holds, a password or a key. */
  readonly secret?: boolean;
  /** Returns the resolved value, or undefined when `value` is not acceptable. */
  read(value: Given): Resolved | undefined;
}

/** One check per option; the keys are the options that exist. */
export type OptionChecks<Given extends object> = { readonly [Key in keyof Required<Given>]: OptionCheck<never, unknown> };

/** The options as the code uses them. */
export type ResolvedOptions<Checks> = {
  readonly [Key in keyof Checks]: Checks[Key] extends OptionCheck<never, infer Resolved> ? Resolved : never;
};

const show = (value: unknown): string => {
  if (typeof value === "string") return JSON.stringify(value.length > 100 ? `${value.slice(0, 100)}…` : value);
  if (typeof value === "function") return "a function";
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "an array" : "an object";
  return String(value);
};

/**
 * Fills, checks and freezes the options of `subject` (named in messages, such as `createPool`).
 * An option that is absent or undefined takes its default; one whose default is undefined stays undefined.
 * @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID
 */
export function resolveOptions<Given extends object, const Checks extends OptionChecks<Given>>(
  subject: string,
  given: Given,
  defaults: Partial<Given>,
  checks: Checks,
): ResolvedOptions<Checks> {
  const known = Object.keys(checks);
  for (const option of Object.keys(given)) {
    if (!Object.hasOwn(checks, option)) {
      throw coreErrors.create("MILLRACE_OPTION_UNKNOWN", { subject, option, suggestion: suggest(option, known), known });
    }
  }
  const resolved: Record<string, unknown> = {};
  for (const option of known) {
    const check = checks[option as keyof Checks] as OptionCheck<unknown, unknown>;
    const value = (given as Record<string, unknown>)[option] ?? (defaults as Record<string, unknown>)[option];
    if (value === undefined) {
      resolved[option] = undefined;
      continue;
    }
    const read = check.read(value);
    if (read === undefined) {
      throw coreErrors.create("MILLRACE_OPTION_INVALID", {
        subject,
        option,
        value: check.secret ? "a value that is not shown" : show(value),
        expected: check.expected,
      });
    }
    resolved[option] = read;
  }
  return Object.freeze(resolved) as ResolvedOptions<Checks>;
}

/** A whole number in a closed range. */
export const integer = (min: number, max: number = Number.MAX_SAFE_INTEGER): OptionCheck<number, number> => ({
  expected: max === Number.MAX_SAFE_INTEGER ? `a whole number of at least ${min}` : `a whole number from ${min} to ${max}`,
  read: (value) => (Number.isSafeInteger(value) && value >= min && value <= max ? value : undefined),
});

/** A number from 0 to 1. */
export const ratio: OptionCheck<number, number> = {
  expected: "a number from 0 to 1",
  read: (value) => (typeof value === "number" && value >= 0 && value <= 1 ? value : undefined),
};

/** A duration such as "5m", resolved to milliseconds; at most 24.8 days, which is as long as a timer can run. */
export const duration = (min: Duration = "0s"): OptionCheck<Duration, number> => ({
  expected: `a duration of at least ${min}, such as "250ms", "30s" or "5m"`,
  read: (value) => {
    const ms = parseDuration(value);
    return ms >= parseDuration(min) && ms <= maxTimerMs ? ms : undefined;
  },
});

export const boolean: OptionCheck<boolean, boolean> = {
  expected: "true or false",
  read: (value) => (typeof value === "boolean" ? value : undefined),
};

/** A string that is not empty. */
export const string: OptionCheck<string, string> = {
  expected: "a string that is not empty",
  read: (value) => (typeof value === "string" && value !== "" ? value : undefined),
};

export const oneOf = <const T extends string>(...values: readonly T[]): OptionCheck<T, T> => ({
  expected: `one of ${values.map((value) => JSON.stringify(value)).join(", ")}`,
  read: (value) => (values.includes(value) ? value : undefined),
});

/** Anything that the type system has already judged and that needs no reading: a function, a clock, a logger. */
export const given = <T>(expected = "a value"): OptionCheck<T, T> => ({ expected, read: (value) => value });
