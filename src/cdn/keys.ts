// What an answer depends on as keys that every CDN takes: short, of lower-case letters and digits, for two of them do not tell case
// apart. A key is the 64-bit hash by which the cache knows a dependency; when two share one, a purge takes too much, never too little.

/** 64 bits in base 36. */
const keyLength = 13;

const keyOf = (prefix: string, low: number, high: number): string =>
  `${prefix}${((BigInt(high) << 32n) | BigInt(low)).toString(36).padStart(keyLength, "0")}`;

/** The keys of dependencies: low and high half of each hash, as hashDependencies() makes them. Each once. */
export function keysOf(prefix: string, dependencies: Uint32Array): string[] {
  const keys = new Set<string>();
  for (let i = 0; i + 1 < dependencies.length; i += 2) keys.add(keyOf(prefix, dependencies[i]!, dependencies[i + 1]!));
  return [...keys];
}

/** The key that every answer has: purged when it is not known what to purge, or too much to be said. */
export const keyOfAll = (prefix: string): string => `${prefix}all`;
