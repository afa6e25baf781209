// Names of keys that work on a cluster: everything that one script touches must be in one slot, which the part in braces decides.

const escapes: Readonly<Record<string, string>> = { "{": "%7B", "}": "%7D", "%": "%25" };

/**
 * `prefix{name}`: keys that begin with it, whatever follows, are in one slot, and names spread over all slots. Braces and percent
 * signs of `name` are escaped, since an early brace would end the tag; different names stay different.
 */
export function taggedKey(prefix: string, name: string): string {
  // An empty tag would not count as one.
  return `${prefix}{${name === "" ? "%" : name.replaceAll(/[{}%]/g, (character) => escapes[character]!)}}`;
}

/** Whether `prefix` may stand before a tag: a brace in it would begin another. */
export const isPrefix = (prefix: string): boolean => !/[{}]/.test(prefix);
