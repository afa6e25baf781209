// What a request that changes something makes worthless (RFC 9111 § 4.4) and which groups an answer names (RFC 9875).

import type { Fields } from "./fields.ts";
import type { RequestHead } from "./messages.ts";
import { parseList, structuredString } from "./structured-fields.ts";

/** Methods that are safe by the registry of RFC 9110 § 16.1.1: they change nothing. Any other might. */
const safe = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY", "PRI"]);

export const isSafe = (method: string): boolean => safe.has(method);

/**
 * The URLs whose stored answers an answer makes worthless: of an unsafe request that did not fail, its own, and those in Location and
 * Content-Location that are of the same origin. `sameOrigins`: further origins that are the request's, such as the one behind a proxy;
 * their URLs are given as the client sees them.
 */
export function invalidatedUrls(
  request: RequestHead,
  status: number,
  response: Fields,
  sameOrigins: readonly string[] = [],
): string[] {
  if (isSafe(request.method) || status < 200 || status > 399) return [];
  const target = URL.parse(request.url);
  if (!target) return [];
  const urls = new Set([target.href]);
  for (const name of ["location", "content-location"]) {
    const value = response.get(name);
    const url = value === undefined ? null : URL.parse(value, target.href);
    if (url && (url.origin === target.origin || sameOrigins.includes(url.origin))) {
      urls.add(`${target.origin}${url.pathname}${url.search}`);
    }
  }
  return [...urls];
}

/** Groups beyond these are not read, nor longer names: RFC 9875 § 2 asks caches for 32 of 32 characters. */
const mostGroups = 128;
const longestGroup = 256;

function groupsIn(fields: Fields, name: string): readonly string[] {
  const text = fields.get(name);
  const list = text === undefined ? undefined : parseList(text);
  if (!list) return [];
  const groups: string[] = [];
  for (const member of list) {
    if ("items" in member || member.item.type !== "string") return []; // a list of anything else is no such field
    if (member.item.value.length <= longestGroup) groups.push(member.item.value);
  }
  return groups.slice(0, mostGroups);
}

/** The groups that an answer belongs to. The same name on another origin is another group. */
export const cacheGroups = (response: Fields): readonly string[] => groupsIn(response, "cache-groups");

/** The groups that an answer ends; only that of an unsafe request does (RFC 9875 § 3). */
export const invalidatedGroups = (method: string, response: Fields): readonly string[] =>
  isSafe(method) ? [] : groupsIn(response, "cache-group-invalidation");

/** A Cache-Groups or Cache-Group-Invalidation field. */
export const formatGroups = (groups: readonly string[]): string => groups.map(structuredString).join(", ");
