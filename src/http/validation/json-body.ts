// A JSON body, read strictly (RFC 8259): valid UTF-8, bounded nesting, no NUL, no half surrogates, and no key that could reach
// a prototype. Failures name the field. See docs/endpoints.md.

import { isUtf8 } from "node:buffer";
import { httpErrors } from "../errors.ts";
import { textProblem } from "./record-reader.ts";

/** Deeper than any API's body, and far from what recursion (JSON.stringify, validators) can bear. */
const maxDepth = 64;

function fail(field: readonly string[], message: string): never {
  throw httpErrors.create("MILLRACE_HTTP_REQUEST_INVALID", {
    errors: [{ in: "body", field: field.join(".").slice(0, 200), message }],
  });
}

/** Looks at every string and key of `value`. Strings can only be unfit when the text has a \u escape. */
function inspect(value: unknown, path: string[], escapes: boolean): void {
  if (typeof value === "string") {
    const problem = escapes ? textProblem(value) : undefined;
    if (problem) fail(path, problem);
    return;
  }
  if (typeof value !== "object" || value === null) return;
  if (path.length >= maxDepth)
    throw httpErrors.create("MILLRACE_HTTP_BODY_INVALID", { reason: `it is nested more than ${maxDepth} levels deep` });
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const item: unknown = value[i];
      if (typeof item === "number") continue;
      path.push(String(i));
      inspect(item, path, escapes);
      path.pop();
    }
    return;
  }
  for (const key of Object.keys(value)) {
    path.push(key);
    if (key === "__proto__") fail(path, "is not allowed");
    const problem = escapes ? textProblem(key) : undefined;
    if (problem) fail([...path.slice(0, -1), key.toWellFormed().replaceAll("\0", "\uFFFD")], problem);
    inspect((value as Record<string, unknown>)[key], path, escapes);
    path.pop();
  }
}

/**
 * The value of a JSON text.
 * @throws MILLRACE_HTTP_BODY_INVALID, MILLRACE_HTTP_REQUEST_INVALID
 */
export function parseJsonBody(bytes: Buffer): unknown {
  if (!isUtf8(bytes)) throw httpErrors.create("MILLRACE_HTTP_BODY_INVALID", { reason: "it is not valid UTF-8" });
  const text = bytes.toString("utf8");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    // V8's message quotes the text around the mistake; only the position is passed on.
    const position = /position (\d+)/.exec((error as Error).message)?.[1];
    const reason =
      text.trim() === ""
        ? "it is empty"
        : position
          ? `there is a mistake at position ${position}`
          : "it ends too early or has a mistake";
    throw httpErrors.create("MILLRACE_HTTP_BODY_INVALID", { reason });
  }
  inspect(value, [], text.includes("\\u"));
  return value;
}
