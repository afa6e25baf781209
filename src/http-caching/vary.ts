// Vary (RFC 9111 § 4.1): whether a stored answer belongs to a request. What two requests may differ in without a difference is taken
// out first: white space, lines against lists, and for what clients accept the order and the case.

import { hash } from "node:crypto";
import { type Fields, isToken, listMembers } from "./fields.ts";

/** "any": something else than the request's fields decided (`*`, or a name that is none). Else lower-case names in order. */
export type Vary = "any" | readonly string[];

export function varyOf(fields: Fields): Vary {
  const names = new Set<string>();
  for (const line of fields.lines("vary")) {
    for (const name of listMembers(line.toLowerCase())) {
      if (name === "*" || !isToken(name)) return "any";
      names.add(name);
    }
  }
  return [...names].toSorted();
}

/** Preferences with weights: their order says nothing (RFC 9110 § 12.5). */
const preferences = new Set(["accept-language", "accept-encoding", "accept-charset", "accept"]);
const preference = /^([\w*!#$&^.+/-]+)(?:\s*;\s*q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?$/;

/** Undefined: one of them is more than a name with a weight, where letters' case may matter. */
function normalPreferences(members: readonly string[]): string | undefined {
  const weighed: { readonly name: string; readonly weight: number }[] = [];
  for (const member of members) {
    const match = preference.exec(member.toLowerCase());
    if (!match) return undefined;
    weighed.push({ name: match[1]!, weight: Number(match[2] ?? 1) });
  }
  return weighed
    .toSorted((a, b) => b.weight - a.weight || (a.name < b.name ? -1 : 1))
    .map(({ name, weight }) => `${name};q=${weight}`)
    .join(",");
}

/** The value of a request's field as far as it can matter; undefined: the field is not there, which is a value of its own. */
export function normalValue(fields: Fields, name: string): string | undefined {
  const lines = fields.lines(name);
  if (lines.length === 0) return undefined;
  const members = listMembers(lines.join(","));
  return (preferences.has(name) ? normalPreferences(members) : undefined) ?? members.join(",");
}

/** Longer values are hashed: a key should not be what a stranger makes it. */
const longestValue = 200;

/** A text that is the same for requests that a stored answer with this Vary belongs to alike. */
export function variantKey(vary: readonly string[], request: Fields): string {
  return vary
    .map((name) => {
      const value = normalValue(request, name);
      if (value === undefined) return name;
      return `${name}:${value.length > longestValue ? `#${hash("sha256", value, "base64url")}` : value}`;
    })
    .join("\n");
}
