// Conditional requests at a cache (RFC 9111 § 4.3): the ones it makes, the ones it answers, and what it learns from 304 and HEAD.

import { Fields, endToEnd } from "./fields.ts";
import { dateOf } from "./freshness.ts";
import { parseHttpDate } from "./http-date.ts";

/** Preconditions that only the origin can judge: a request with one goes past the cache. */
export const isForOrigin = (request: Fields): boolean => request.has("if-match") || request.has("if-unmodified-since");

const conditions = new Set(["if-none-match", "if-modified-since", "if-range", "range"]);

/** A request's fields without what makes it conditional or partial: it asks for the whole answer, to be kept. */
export const unconditional = (request: Fields): Fields => request.without((name) => conditions.has(name));

/** A request's fields that ask whether `stored` is still right. Undefined: it has no validator to ask by. */
export function conditional(request: Fields, stored: Fields): Fields | undefined {
  const etag = stored.get("etag");
  const lastModified = stored.get("last-modified");
  if (etag === undefined && lastModified === undefined) return undefined;
  const flat = [...unconditional(request).flat];
  if (etag !== undefined) flat.push("If-None-Match", etag);
  if (lastModified !== undefined) flat.push("If-Modified-Since", lastModified);
  return new Fields(flat);
}

const opaque = (etag: string): string => etag.replace(/^[Ww]\//, "");

/** Weak comparison (RFC 9110 § 8.8.3.2) with a list of tags; "*" names every one. */
function namesTag(ifNoneMatch: string, etag: string): boolean {
  if (ifNoneMatch.trim() === "*" || ifNoneMatch.trim() === etag) return true;
  const sought = opaque(etag);
  for (const [tag] of ifNoneMatch.matchAll(/(?:[Ww]\/)?"[^"]*"/g)) if (opaque(tag) === sought) return true;
  return false;
}

/**
 * Whether a request's If-None-Match or, without one, If-Modified-Since is answered by 304 (§ 4.3.2). Only for an answer with a
 * status of success. An answer without Last-Modified counts as changed when it was made.
 */
export function isNotModified(request: Fields, status: number, stored: Fields, responseTimeMs: number): boolean {
  if (status < 200 || status > 299) return false;
  const ifNoneMatch = request.get("if-none-match");
  if (ifNoneMatch !== undefined) {
    const etag = stored.get("etag");
    return etag === undefined ? ifNoneMatch.trim() === "*" : namesTag(ifNoneMatch, etag);
  }
  const since = request.get("if-modified-since");
  const sinceMs = since === undefined ? undefined : parseHttpDate(since, responseTimeMs);
  if (sinceMs === undefined) return false;
  const lastModified = stored.get("last-modified");
  const changedMs = lastModified === undefined ? undefined : parseHttpDate(lastModified, responseTimeMs);
  return (changedMs ?? dateOf(stored, responseTimeMs)) <= sinceMs;
}

/** What a 304 says (RFC 9110 § 15.4.5), and what is new with every answer. */
const ofNotModified = new Set([
  "cache-control",
  "cdn-cache-control",
  "content-location",
  "date",
  "etag",
  "expires",
  "last-modified",
  "vary",
  "cache-groups",
]);

export const notModifiedFields = (stored: Fields): Fields => stored.without((name) => !ofNotModified.has(name));

/** Describe the stored body's bytes, which a 304 does not bring anew (RFC 9111 § 3.2). The tag is the one that was asked about. */
const ofTheBody = new Set([
  "content-encoding",
  "content-length",
  "content-md5",
  "content-range",
  "content-digest",
  "repr-digest",
  "digest",
  "etag",
]);

/** The stored fields, with those that `update` (the fields of a 304, or of an answer to HEAD) has in the place of theirs (§ 3.2). */
export function freshened(stored: Fields, update: Fields): Fields {
  const news = endToEnd(update).without((name) => ofTheBody.has(name) && stored.has(name));
  const kept = stored.without((name) => news.has(name));
  return new Fields([...kept.flat, ...news.flat]);
}

/** Whether an answer to HEAD with 200 is about the stored answer (§ 4.3.5): what it says of tag, change and length is the same. */
export function isSameByHead(stored: Fields, head: Fields): boolean {
  return ["etag", "last-modified", "content-length"].every((name) => !head.has(name) || head.get(name) === stored.get(name));
}
