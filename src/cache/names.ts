// What an entry depends on without anyone naming it: its key, the beginnings of its key, and everything. So that one write makes
// "user:42:profile", all of "user:42:*", or the whole cache stale, however many entries there are.

import { cacheErrors } from "./errors.ts";

/** Colons of a key that make a prefix. An entry carries 8 bytes for each, and each is judged at every hit. */
export const mostPrefixes = 8;

/** Depended on by every entry. */
export const everything = "*";

/** "user:42:profile" → "user:42:profile", "*", "user:*", "user:42:*". */
export function namesOfKey(key: string): string[] {
  const names = [key, everything];
  let colon = key.indexOf(":");
  for (let prefixes = 0; colon !== -1 && prefixes < mostPrefixes; prefixes++) {
    names.push(`${key.slice(0, colon + 1)}*`);
    colon = key.indexOf(":", colon + 1);
  }
  return names;
}

/**
 * The name to write for what invalidate() was given. A prefix with more colons than entries know of is shortened: more becomes
 * stale than was asked for, never less.
 * @throws MILLRACE_CACHE_NAME_INVALID for a prefix that ends within a part: entries do not know of it, and it would do nothing
 */
export function nameToInvalidate(cache: string, name: string): string {
  const refuse = (problem: string) => cacheErrors.create("MILLRACE_CACHE_NAME_INVALID", { cache, name, problem });
  if (typeof name !== "string") throw refuse("is no name");
  if (name === "") throw refuse("is no name: it is empty");
  if (!name.endsWith("*") || name === everything) return name;
  if (!name.endsWith(":*")) throw refuse('is a prefix that does not end at a colon; write it as "user:*"');
  let colon = -1;
  for (let parts = 0; parts < mostPrefixes; parts++) {
    colon = name.indexOf(":", colon + 1);
    if (colon === -1) return name;
  }
  return `${name.slice(0, colon + 1)}*`;
}
