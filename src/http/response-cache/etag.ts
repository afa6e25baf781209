// Entity tags (RFC 9110 § 8.8.3): one strong one per representation, and If-None-Match.

import { hash } from "node:crypto";

/** 132 bits of SHA-256: nobody finds two bodies with the same tag. */
export const digestOf = (bytes: Uint8Array | string): string => hash("sha256", bytes, "base64url").slice(0, 22);

const strong = /^"[\x21\x23-\x7e\x80-\xff]*"$/;
const weak = /^W\/"[\x21\x23-\x7e\x80-\xff]*"$/;

/** Whether `text` is an entity tag. */
export const isEtag = (text: string): boolean => strong.test(text) || weak.test(text);

/**
 * The tag of a representation. A strong tag names exact bytes, so every one but the identity has its name in it; a weak one names the content,
 * and is the same for all.
 */
export function etagIn(etag: string, representation: string): string {
  return representation === "identity" || etag.startsWith("W/") ? etag : `${etag.slice(0, -1)}-${representation}"`;
}

const opaque = (etag: string): string => (etag.startsWith("W/") ? etag.slice(2) : etag);

/** Whether an If-None-Match header names `etag`, compared weakly as § 13.1.2 asks. "*" names everything. */
export function namesEtag(ifNoneMatch: string, etag: string): boolean {
  if (ifNoneMatch === etag) return true;
  if (ifNoneMatch.trim() === "*") return true;
  const sought = opaque(etag);
  // What stands between two tags does not matter: a list that is not well-formed at worst matches nothing.
  for (const [, tag] of ifNoneMatch.matchAll(/(?:W\/)?("[^"]*")/g)) if (tag === sought) return true;
  return false;
}
