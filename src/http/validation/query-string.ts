// The query string, read strictly: every name known, none repeated, valid UTF-8, at most a hundred of them.
// application/x-www-form-urlencoded as the URL Standard defines it (§ 5.1), except that nothing is repaired on the way.

import { suggest } from "../../core/index.ts";
import type { FieldError } from "../problem.ts";
import { type RecordReader, textProblem } from "./record-reader.ts";

/** An endpoint with more parameters than this does not exist. */
const maxParameters = 100;
/** Enough to correct them; an attacker's thousand are not worth more. */
const maxErrors = 10;

/** Decodes one name or value; undefined when its percent-encoding is broken or not UTF-8. */
function decode(text: string): string | undefined {
  const spaced = text.includes("+") ? text.replaceAll("+", " ") : text;
  if (!spaced.includes("%")) return spaced;
  try {
    return decodeURIComponent(spaced);
  } catch {
    return undefined;
  }
}

const shown = (name: string): string => (name.length > 64 ? `${name.slice(0, 64)}…` : name);

/**
 * The values of `search` (what follows "?"), read as `reader` declares. Adds what is wrong to `errors`.
 * Without a reader nothing is declared, so every parameter is unknown.
 */
export function readQuery(search: string, reader: RecordReader | undefined, errors: FieldError[]): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  const before = errors.length;
  const fail = (name: string, message: string, suggestion?: string) => {
    if (errors.length - before < maxErrors)
      errors.push({ in: "query", field: shown(name), message, ...(suggestion !== undefined && { suggestion }) });
  };
  let count = 0;
  for (let start = 0; start < search.length;) {
    const nextAmpersand = search.indexOf("&", start);
    const end = nextAmpersand === -1 ? search.length : nextAmpersand;
    const pair = search.slice(start, end);
    start = end + 1;
    if (pair === "") continue;
    if (++count > maxParameters) {
      fail("", `has more than ${maxParameters} parameters`);
      break;
    }
    const equals = pair.indexOf("=");
    const rawName = equals === -1 ? pair : pair.slice(0, equals);
    const name = decode(rawName);
    const value = equals === -1 ? "" : decode(pair.slice(equals + 1));
    if (name === undefined) fail(rawName, "is not valid percent-encoded UTF-8");
    else if (!reader?.has(name)) fail(name, "is not known here", reader && suggest(name, reader.names));
    else if (Object.hasOwn(values, name)) fail(name, "is given more than once");
    else {
      const problem = value === undefined ? "is not valid percent-encoded UTF-8" : textProblem(value);
      if (problem) fail(name, problem);
      values[name] = value === undefined ? "" : reader.read(name, value);
    }
  }
  if (reader && errors.length === before) reader.check(values, errors);
  return values;
}
