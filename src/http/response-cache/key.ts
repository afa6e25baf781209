// Under which key an answer is kept. Two requests share a key only if they must get the same answer: the key has the path as it was
// spelled, the query's pairs in any order, the headers that the answer may differ by, and for whom it is.

import { hash } from "node:crypto";

/** Longer keys are replaced by their hash, so that no client decides how much memory a key takes. */
export const maxKeyLength = 256;

/** What a key is made of. */
export interface KeyParts {
  /** Tells apps, and the releases of one, apart. */
  readonly release: string;
  /** As the client spelled it: links in the answer repeat it. */
  readonly path: string;
  /** What follows "?", or empty. */
  readonly search: string;
  /** Values of the headers that the answer may differ by, in the order of the policy; null: the request has none. */
  readonly varied: readonly (string | readonly string[] | null)[];
  /** For whom: empty for everybody. */
  readonly scope: string;
}

/**
 * The pairs in one order. They are compared as they were spelled: names may not repeat in a valid query, so their order means nothing,
 * while two spellings of one value are two keys and cost a fill more.
 */
export function normaliseSearch(search: string): string {
  if (!search.includes("&")) return search;
  return search
    .split("&")
    .filter((pair) => pair !== "")
    .toSorted()
    .join("&");
}

/**
 * "http:1.0.0:/cities?limit=3". A colon ends a prefix that invalidate() takes, so none comes from the client: a space, which no URL has,
 * stands for it.
 */
export function keyOf(parts: KeyParts): string {
  const { release, path, search, varied, scope } = parts;
  const asked = normaliseSearch(search);
  let key = asked === "" ? path : `${path}?${asked}`;
  if (key.includes(":")) key = key.replaceAll(":", " ");
  if (varied.length > 0) key += ` vary ${hash("sha256", JSON.stringify(varied), "base64url")}`;
  if (scope !== "") key += ` for ${scope}`;
  if (key.length > maxKeyLength) key = `sha256 ${hash("sha256", key, "base64url")}`;
  return `http:${release}:${key}`;
}
