// Arguments as text that is the same in every process, whatever the order of keys, and different for different arguments.
// docs/memoize.md explains it.

import { createHash } from "node:crypto";
import { cacheErrors } from "./errors.ts";

/** Longer texts are hashed: keys are kept in memory, sent, and shown. */
const longestText = 200;

/** Deeper than anything that is an argument, and far from the end of the stack. */
const deepest = 100;

/**
 * The arguments as text. No colons but those of strings, for each colon of a key is a prefix that its entry depends on. Each kind has a mark of its own, and what could run on has an end, so that no two different arguments are written alike.
 * @throws MILLRACE_CACHE_ARGUMENT_UNKEYABLE
 */
export function canonicalArguments(memo: string, values: readonly unknown[]): string {
  const path: object[] = [];
  const refuse = (problem: string) => cacheErrors.create("MILLRACE_CACHE_ARGUMENT_UNKEYABLE", { memo, problem });
  const list = (open: string, parts: Iterable<string>, close: string) => open + [...parts].join(",") + close;

  const write = (value: unknown): string => {
    if (value === undefined) return "u";
    if (value === null) return "null";
    if (typeof value === "boolean") return value ? "true" : "false";
    if (typeof value === "number") return Object.is(value, -0) ? "-0" : String(value);
    if (typeof value === "bigint") return `${value}n`;
    if (typeof value === "string") return JSON.stringify(value); // lone surrogates are escaped
    if (typeof value !== "object") throw refuse(`it has a ${typeof value} in it`);
    if (path.includes(value)) throw refuse("it contains itself");
    if (path.length >= deepest) throw refuse(`it is nested more than ${deepest} deep`);
    path.push(value);
    const text = writeObject(value);
    path.pop();
    return text;
  };

  const writeObject = (value: object): string => {
    if (Array.isArray(value)) return list("[", Array.from(value, write), "]");
    if (value instanceof Date) return `Date(${value.getTime()})`;
    if (value instanceof URL) return `URL(${JSON.stringify(value.href)})`;
    if (value instanceof RegExp) return `RegExp(${JSON.stringify(String(value))})`;
    // By what they hold, not by the order in which it came.
    if (value instanceof Set) return list("Set(", [...value].map(write).toSorted(), ")");
    if (value instanceof Map) {
      return list("Map(", [...value].map(([key, item]) => `${write(key)}=${write(item)}`).toSorted(), ")");
    }
    if (value instanceof ArrayBuffer) return `ArrayBuffer(${Buffer.from(value).toString("base64")})`;
    if (ArrayBuffer.isView(value)) {
      // A Buffer is a Uint8Array to whoever reads it.
      const kind = value instanceof Uint8Array ? "Uint8Array" : value.constructor.name;
      return `${kind}(${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64")})`;
    }
    const prototype = Object.getPrototypeOf(value) as object | null;
    if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
      throw refuse(`it has an instance of ${value.constructor.name || "a class without a name"} in it`);
    }
    const entries = Object.keys(value)
      .toSorted()
      .map((key) => `${JSON.stringify(key)}=${write((value as Record<string, unknown>)[key])}`);
    return list("{", entries, "}");
  };

  const text = list("(", values.map(write), ")");
  return text.length <= longestText ? text : `#${createHash("sha256").update(text).digest("base64url")}`;
}
