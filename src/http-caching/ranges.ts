// A range of a whole stored body (RFC 9110 § 14). Several ranges at once are not worth a multipart answer: such a request gets it all.

import type { Fields } from "./fields.ts";
import { parseHttpDate } from "./http-date.ts";

export interface ByteRange {
  readonly start: number;
  /** Inclusive. */
  readonly end: number;
}

/** The range that a request asks for of `bytes` bytes; "unsatisfiable": none of it is there; undefined: answer with all of it. */
export function rangeOf(header: string, bytes: number): ByteRange | "unsatisfiable" | undefined {
  const match = /^bytes\s*=\s*(\d*)-(\d*)$/i.exec(header.trim());
  if (!match) return undefined;
  const [, first = "", last = ""] = match;
  if (first === "" && last === "") return undefined;
  if (first === "") {
    const suffix = Number(last);
    if (suffix === 0 || bytes === 0) return "unsatisfiable";
    return { start: Math.max(0, bytes - suffix), end: bytes - 1 };
  }
  const start = Number(first);
  const end = last === "" ? bytes - 1 : Math.min(Number(last), bytes - 1);
  if (last !== "" && Number(last) < start) return undefined; // not a range
  return start >= bytes ? "unsatisfiable" : { start, end };
}

/** Whether If-Range lets the range hold (§ 13.1.5): the same strong tag, or the same date of change. Without it, yes. */
export function rangeHolds(request: Fields, stored: Fields, nowMs: number): boolean {
  const condition = request.get("if-range")?.trim();
  if (condition === undefined) return true;
  if (condition.endsWith('"')) return !condition.startsWith("W/") && condition === stored.get("etag");
  const lastModified = stored.get("last-modified");
  const wantedMs = parseHttpDate(condition, nowMs);
  return lastModified !== undefined && wantedMs !== undefined && wantedMs === parseHttpDate(lastModified, nowMs);
}
