// The 64-bit hash by which a dependency is known in entries, in messages and in the sketch. docs/decisions/memory-tier.md says why
// this one. It is part of the format of stored entries: a change of it is a new format.

/**
 * Hashes `text` to 64 bits, the same in every process, on every machine and in every release, and writes them to `into`: the low
 * half at `at`, the high half at `at + 1`.
 *
 * Two lanes of MurmurHash3's 32-bit round (Appleby, 2011) over pairs of UTF-16 code units, mixed with each other and finished with
 * fmix32. Not a secret and not collision resistant: whoever chooses names can make two collide, which makes a write invalidate too
 * much and never too little. 20–40 ns for the name of a row.
 */
export function hashDependency(text: string, into: Uint32Array, at: number): void {
  const { length } = text;
  let low = 0x9e3779b9; // two arbitrary, different starts: the golden ratio, and the fraction of √3
  let high = 0xbb67ae85;
  const paired = length - (length & 1);
  for (let i = 0; i < paired; i += 2) {
    const block = text.charCodeAt(i) | (text.charCodeAt(i + 1) << 16);
    let a = Math.imul(block, 0xcc9e2d51);
    a = Math.imul((a << 15) | (a >>> 17), 0x1b873593);
    low ^= a;
    low = ((low << 13) | (low >>> 19)) + high;
    low = (Math.imul(low, 5) + 0xe6546b64) | 0;
    let b = Math.imul(block, 0x239b961b);
    b = Math.imul((b << 17) | (b >>> 15), 0xab0e9789);
    high ^= b;
    high = ((high << 17) | (high >>> 15)) + low;
    high = (Math.imul(high, 5) + 0x561ccd1b) | 0;
  }
  if (paired < length) {
    const last = text.charCodeAt(paired);
    low ^= Math.imul(last, 0xcc9e2d51);
    high ^= Math.imul(last, 0x239b961b);
  }
  low ^= length;
  high ^= length;
  low = (low + high) | 0;
  high = (high + low) | 0;
  low = finish(low);
  high = finish(high);
  into[at] = low + high;
  into[at + 1] = high + (low + high);
}

/** MurmurHash3's fmix32: every bit of the input changes every bit of the result with probability one half. */
function finish(hash: number): number {
  let mixed = hash ^ (hash >>> 16);
  mixed = Math.imul(mixed, 0x85ebca6b);
  mixed ^= mixed >>> 13;
  mixed = Math.imul(mixed, 0xc2b2ae35);
  return mixed ^ (mixed >>> 16);
}

/** The hashes of several dependencies in the shape that entries keep: low and high half of each, one after the other. */
export function hashDependencies(names: readonly string[]): Uint32Array {
  const hashes = new Uint32Array(names.length * 2);
  for (const [i, name] of names.entries()) hashDependency(name, hashes, i * 2);
  return hashes;
}

/** `own` with what of `more` is not in it already. */
export function joinDependencies(own: Uint32Array, more: Uint32Array): Uint32Array {
  if (more.length === 0) return own;
  const known = new Set<string>();
  const joined: number[] = [];
  for (const hashes of [own, more]) {
    for (let i = 0; i < hashes.length; i += 2) {
      const [low, high] = [hashes[i]!, hashes[i + 1]!];
      const both = `${low} ${high}`;
      if (known.has(both)) continue;
      known.add(both);
      joined.push(low, high);
    }
  }
  return Uint32Array.from(joined);
}
