// What an answer tells the CDNs: its keys, and how long it is fresh there. Never a part of the keys: a CDN that knows only some of them
// would serve the answer beyond a write.

import { parseDirectives } from "../http-caching/index.ts";
import type { CdnDialect } from "./adapter.ts";

export interface SharedLifetime {
  readonly seconds: number;
  /** How long the CDN may use it beyond its time while it makes it anew. */
  readonly staleWhileRevalidateSeconds?: number | undefined;
}

/** The keys as a field's value; undefined: the CDN would not read all of them. */
export function formatKeys(dialect: CdnDialect, keys: readonly string[]): string | undefined {
  if (keys.length > dialect.mostKeys) return undefined;
  const text = (dialect.quoted ? keys.map((key) => `"${key}"`) : keys).join(dialect.separator);
  return text.length > dialect.mostBytes ? undefined : text;
}

/**
 * Caches that follow RFC 9875 (`millrace proxy` is one). The RFC promises room for 32 groups of 32 characters, and has no order to purge:
 * a group ends by Cache-Group-Invalidation in the answer to a request that changes something and passes through the cache.
 */
export const groupsDialect: CdnDialect = Object.freeze({
  field: "cache-groups",
  separator: ", ",
  quoted: true,
  mostKeys: 32,
  mostBytes: 8_192,
  control: "cdn-cache-control",
});

/** The directives for the CDN; without a lifetime it stores nothing. */
function directivesOf(lifetime: SharedLifetime | undefined): string {
  if (lifetime === undefined) return "no-store";
  const { seconds, staleWhileRevalidateSeconds = 0 } = lifetime;
  const stale = staleWhileRevalidateSeconds > 0 ? `, stale-while-revalidate=${Math.floor(staleWhileRevalidateSeconds)}` : "";
  return `max-age=${Math.floor(seconds)}${stale}`;
}

/** Cache-Control with s-maxage, which replaces the one that is there. */
function withSharedAge(cacheControl: string, lifetime: SharedLifetime | undefined): string {
  const others = cacheControl
    .split(",")
    .map((directive) => directive.trim())
    .filter((directive) => directive !== "" && !/^s-maxage(?:$|[\s=])/i.test(directive));
  return [...others, `s-maxage=${lifetime === undefined ? 0 : Math.floor(lifetime.seconds)}`].join(", ");
}

/** The fields of an answer that these CDNs must not store, whatever `cacheControl` says to others. */
export function withheldFields(dialects: readonly CdnDialect[], cacheControl: string): Record<string, string> {
  const fields: Record<string, string> = {};
  if (isForOneAlone(cacheControl)) return fields;
  for (const { control } of dialects) {
    if (control === "s-maxage") fields["cache-control"] = withSharedAge(cacheControl, undefined);
    else fields[control] = directivesOf(undefined);
  }
  return fields;
}

/** Whether an answer is for one alone by what it says, so that no CDN may have it. */
export function isForOneAlone(cacheControl: string): boolean {
  const directives = parseDirectives([cacheControl]);
  return directives.has("no-store") || directives.has("private");
}

/**
 * The fields of an answer for these dialects, by lower-case name. `cacheControl`: what it says to everybody. `onOverflow` is called
 * for each dialect that cannot say all of the keys: its CDN is told not to store the answer.
 */
export function answerFields(
  dialects: readonly CdnDialect[],
  keys: readonly string[],
  lifetime: SharedLifetime,
  cacheControl: string,
  onOverflow: (dialect: CdnDialect) => void = () => {},
): Record<string, string> {
  const fields: Record<string, string> = {};
  if (isForOneAlone(cacheControl)) return fields;
  const shared: Record<string, SharedLifetime | undefined> = {};
  for (const dialect of dialects) {
    const text = formatKeys(dialect, keys);
    if (text === undefined) onOverflow(dialect);
    else fields[dialect.field] = text;
    // Two CDNs that read the same field: what one of them must not store, neither does.
    const isKnown = Object.hasOwn(shared, dialect.control);
    shared[dialect.control] = text === undefined || (isKnown && shared[dialect.control] === undefined) ? undefined : lifetime;
  }
  for (const [control, allowed] of Object.entries(shared)) {
    if (control === "s-maxage") fields["cache-control"] = withSharedAge(cacheControl, allowed);
    else fields[control] = directivesOf(allowed);
  }
  return fields;
}
