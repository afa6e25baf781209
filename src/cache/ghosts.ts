// Who was evicted lately without having been asked for again: fingerprints and ages in two arrays, no key is kept.
// Part of the memory tier; see docs/memory-tier.md.

/** Fingerprints that share a place. Eight are one cache line of ages and one of fingerprints, and overflow rarely at half load. */
const ways = 8;

const leastSlots = 128;

/**
 * A FIFO of fingerprints with membership. `limit` is given with every question, as the tier grows and shrinks: a fingerprint is
 * in it when fewer than `limit` others were added since. A full place forgets its oldest, and two keys with one fingerprint are
 * taken for each other (less than 1 in 1,000 with a million entries); both only put an entry into the wrong queue.
 */
export class Ghosts {
  /** 0: free. */
  #fingerprints = new Int32Array(leastSlots);
  /** The value of `#added` when the fingerprint came. */
  #times = new Uint32Array(leastSlots);
  #places = leastSlots / ways;
  #added = 0;

  /** Bytes that the arrays take. */
  get bytes(): number {
    return this.#fingerprints.byteLength + this.#times.byteLength;
  }

  /** Adds `hash`, with room for `limit` fingerprints at half load. Growing copies, which doubling makes rare. */
  add(hash: number, limit: number): void {
    while (limit * 2 > this.#fingerprints.length) this.#grow();
    this.#added = (this.#added + 1) >>> 0;
    this.#put(hash === 0 ? 1 : hash, this.#added);
  }

  /** Whether `hash` was added lately; if so it is forgotten, because its key is about to live again. */
  take(hash: number, limit: number): boolean {
    const fingerprint = hash === 0 ? 1 : hash;
    const first = (fingerprint & (this.#places - 1)) * ways;
    for (let slot = first; slot < first + ways; slot++) {
      if (this.#fingerprints[slot] !== fingerprint) continue;
      const isYoung = this.#age(slot) < limit;
      this.#fingerprints[slot] = 0;
      return isYoung;
    }
    return false;
  }

  clear(): void {
    this.#fingerprints = new Int32Array(leastSlots);
    this.#times = new Uint32Array(leastSlots);
    this.#places = leastSlots / ways;
    this.#added = 0;
  }

  /** How many were added after it. The counter wraps after 2^32; a fingerprint that old and still there looks young once. */
  #age(slot: number): number {
    return (this.#added - this.#times[slot]!) >>> 0;
  }

  #put(fingerprint: number, time: number): void {
    const first = (fingerprint & (this.#places - 1)) * ways;
    let chosen = first;
    let oldest = -1;
    for (let slot = first; slot < first + ways; slot++) {
      const there = this.#fingerprints[slot]!;
      if (there === fingerprint) {
        chosen = slot;
        break;
      }
      const age = there === 0 ? Number.POSITIVE_INFINITY : this.#age(slot);
      if (age > oldest) {
        oldest = age;
        chosen = slot;
      }
    }
    this.#fingerprints[chosen] = fingerprint;
    this.#times[chosen] = time;
  }

  #grow(): void {
    const fingerprints = this.#fingerprints;
    const times = this.#times;
    this.#fingerprints = new Int32Array(fingerprints.length * 2);
    this.#times = new Uint32Array(fingerprints.length * 2);
    this.#places *= 2;
    for (const [slot, fingerprint] of fingerprints.entries()) {
      if (fingerprint !== 0) this.#put(fingerprint, times[slot]!);
    }
  }
}
