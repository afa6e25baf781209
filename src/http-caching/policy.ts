// Which directives govern an answer: those of the first targeted field that is well-formed (RFC 9213), of
// Surrogate-Control, or Cache-Control and Expires.

import { type Directives, parseDirectives, parseSurrogate, parseTargeted } from "./directives.ts";
import type { Fields } from "./fields.ts";

export interface ResponsePolicy {
  readonly directives: Directives;
  /** The targeted field that governs; undefined: Cache-Control and Expires do. */
  readonly target: string | undefined;
}

export function policyOf(fields: Fields, targets: readonly string[], surrogate: string | undefined): ResponsePolicy {
  for (const target of targets) {
    const directives = parseTargeted(fields, target);
    if (directives) return { directives, target };
  }
  const directives = surrogate === undefined ? undefined : parseSurrogate(fields, surrogate);
  if (directives) return { directives, target: "surrogate-control" };
  return { directives: parseDirectives(fields.lines("cache-control")), target: undefined };
}
