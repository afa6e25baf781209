// The memory tier: what this process keeps at hand, bounded in bytes, evicted by S3-FIFO (Yang et al., "FIFO queues are all you
// need for cache eviction", SOSP 2023). docs/memory-tier.md explains it, docs/decisions/memory-tier.md why this algorithm.

import { resolveOptions } from "../core/index.ts";
import { type EvictionMessage, evictionChannel } from "./channels.ts";
import { hashDependency } from "./dependency-hash.ts";
import { Ghosts } from "./ghosts.ts";
import { type MemoryTierOptions, memoryTierChecks, memoryTierDefaults } from "./options.ts";

/**
 * What an entry costs beside the characters of its key and its value: the entry, its place in the Map, the string's header and its
 * share of the ghosts. Measured on Node 24 with 50,000 to 1,000,000 entries: 156 to 223 bytes, as the Map and the ghosts double now
 * and then.
 */
export const entryOverheadBytes = 224;

/** Two-bit counter: a fourth request adds nothing, as in the paper. */
const mostUses = 3;

/** Requests while in the small queue that earn a place in the main one. */
const usesForMain = 2;

/**
 * Entries that one eviction may spare because they were used. The paper has no bound, so one eviction could walk over the whole
 * main queue three times when everything in it is hot; then any victim is as good as another, and the oldest is taken.
 */
export const mostSpared = 128;

/** What a tier holds and what has become of its requests since it was created. clear() does not reset the counts. */
export interface MemoryTierStats {
  readonly entries: number;
  /** At most `maxBytes`. */
  readonly bytes: number;
  readonly maxBytes: number;
  readonly smallEntries: number;
  readonly smallBytes: number;
  readonly mainEntries: number;
  readonly mainBytes: number;
  readonly hits: number;
  readonly misses: number;
  /** Entries dropped to make room. */
  readonly evictions: number;
  /** New entries that went to the main queue at once, because they had been evicted too early. */
  readonly returns: number;
  /** Values that were not taken: larger than `maxEntryRatio` allows, or of no size. */
  readonly refusals: number;
}

/** A bounded map from strings to values. All operations take constant time, amortised over the calls; none allocates on a hit. */
export interface MemoryTier<Value> {
  /** The value, or undefined. Counts as a use, which keeps the entry longer. */
  get(key: string): Value | undefined;
  /** The value, or undefined. Does not count as a use, a hit or a miss. */
  look(key: string): Value | undefined;
  /** Whether there is an entry. Does not count as a use, a hit or a miss. */
  has(key: string): boolean;
  /**
   * Keeps `value`, evicting others as needed, and returns true. A value that is too large is refused: false, and what stood under
   * the key before is gone, so that no older value is taken for it. Replacing a value is not a use and keeps its place in the
   * queue.
   */
  set(key: string, value: Value): boolean;
  /** Removes the entry, if there is one, and says whether there was. */
  delete(key: string): boolean;
  clear(): void;
  stats(): MemoryTierStats;
}

class Entry<Value> {
  readonly key: string;
  value: Value;
  bytes: number;
  uses = 0;
  queue: Queue<Value>;
  older: Entry<Value> | undefined = undefined;
  newer: Entry<Value> | undefined = undefined;

  constructor(key: string, value: Value, bytes: number, queue: Queue<Value>) {
    this.key = key;
    this.value = value;
    this.bytes = bytes;
    this.queue = queue;
  }
}

/** A FIFO of entries, linked through them. */
class Queue<Value> {
  readonly name: "small" | "main";
  oldest: Entry<Value> | undefined = undefined;
  newest: Entry<Value> | undefined = undefined;
  entries = 0;
  bytes = 0;

  constructor(name: "small" | "main") {
    this.name = name;
  }

  push(entry: Entry<Value>): void {
    entry.queue = this;
    entry.older = this.newest;
    entry.newer = undefined;
    if (this.newest) this.newest.newer = entry;
    else this.oldest = entry;
    this.newest = entry;
    this.entries++;
    this.bytes += entry.bytes;
  }

  remove(entry: Entry<Value>): void {
    if (entry.older) entry.older.newer = entry.newer;
    else this.oldest = entry.newer;
    if (entry.newer) entry.newer.older = entry.older;
    else this.newest = entry.older;
    entry.older = undefined;
    entry.newer = undefined;
    this.entries--;
    this.bytes -= entry.bytes;
  }

  clear(): void {
    this.oldest = undefined;
    this.newest = undefined;
    this.entries = 0;
    this.bytes = 0;
  }
}

const sizeOfText = (value: string | Uint8Array): number => (typeof value === "string" ? value.length * 2 : value.byteLength);

/**
 * Creates an empty tier. It holds nothing open and needs no closing. Values that are neither strings nor bytes need `sizeOf`.
 * `undefined` is not a value: get() could not tell it from a miss.
 * @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID
 */
export function createMemoryTier<Value extends string | Uint8Array>(options?: MemoryTierOptions<Value>): MemoryTier<Value>;
export function createMemoryTier<Value>(
  options: MemoryTierOptions<Value> & { readonly sizeOf: (value: Value) => number },
): MemoryTier<Value>;
export function createMemoryTier<Value>(given: MemoryTierOptions<Value> = {}): MemoryTier<Value> {
  const options = resolveOptions("createMemoryTier", given, memoryTierDefaults, memoryTierChecks);
  return new S3FifoTier<Value>(
    options.name,
    options.maxBytes,
    Math.floor(options.maxBytes * options.maxEntryRatio),
    Math.floor(options.maxBytes * options.smallRatio),
    // The overloads see to it that a tier without `sizeOf` has strings or bytes.
    given.sizeOf ?? (sizeOfText as (value: never) => number as (value: Value) => number),
  );
}

/**
 * New entries stand in `small`; its oldest goes to `main` if it was used twice meanwhile, otherwise it is evicted and leaves a
 * ghost. A new entry with a ghost goes to `main` at once. The oldest of `main` is put back, with one use less, until none is left.
 */
class S3FifoTier<Value> implements MemoryTier<Value> {
  readonly #name: string;
  readonly #maxBytes: number;
  readonly #maxEntryBytes: number;
  readonly #smallBytes: number;
  readonly #sizeOf: (value: Value) => number;
  readonly #entries = new Map<string, Entry<Value>>();
  readonly #small = new Queue<Value>("small");
  readonly #main = new Queue<Value>("main");
  readonly #ghosts = new Ghosts();
  readonly #hash = new Uint32Array(2);
  #hits = 0;
  #misses = 0;
  #evictions = 0;
  #returns = 0;
  #refusals = 0;

  constructor(name: string, maxBytes: number, maxEntryBytes: number, smallBytes: number, sizeOf: (value: Value) => number) {
    this.#name = name;
    this.#maxBytes = maxBytes;
    this.#maxEntryBytes = maxEntryBytes;
    this.#smallBytes = smallBytes;
    this.#sizeOf = sizeOf;
  }

  get(key: string): Value | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) {
      this.#misses++;
      return undefined;
    }
    this.#hits++;
    if (entry.uses < mostUses) entry.uses++;
    return entry.value;
  }

  look(key: string): Value | undefined {
    return this.#entries.get(key)?.value;
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  set(key: string, value: Value): boolean {
    const valueBytes = this.#sizeOf(value);
    const bytes = Math.ceil(valueBytes) + key.length * 2 + entryOverheadBytes;
    const before = this.#entries.get(key);
    // Negated, so that NaN is refused as well.
    if (!(valueBytes >= 0 && bytes <= this.#maxEntryBytes)) {
      this.#refusals++;
      if (before) this.#remove(before);
      return false;
    }
    const evicted: EvictionMessage[] | undefined = evictionChannel.hasSubscribers ? [] : undefined;
    if (before) {
      before.value = value;
      before.queue.bytes += bytes - before.bytes;
      before.bytes = bytes;
      this.#makeRoom(0, evicted);
    } else {
      const returns = this.#ghosts.take(this.#fingerprint(key), this.#entries.size);
      if (returns) this.#returns++;
      this.#makeRoom(bytes, evicted);
      const queue = returns ? this.#main : this.#small;
      const entry = new Entry(key, value, bytes, queue);
      this.#entries.set(key, entry);
      queue.push(entry);
    }
    // Last, when everything is in order again: a listener may use the tier.
    if (evicted) for (const message of evicted) evictionChannel.publish(message);
    return true;
  }

  delete(key: string): boolean {
    const entry = this.#entries.get(key);
    if (entry) this.#remove(entry);
    return entry !== undefined;
  }

  clear(): void {
    this.#entries.clear();
    this.#small.clear();
    this.#main.clear();
    this.#ghosts.clear();
  }

  stats(): MemoryTierStats {
    return {
      entries: this.#entries.size,
      bytes: this.#small.bytes + this.#main.bytes,
      maxBytes: this.#maxBytes,
      smallEntries: this.#small.entries,
      smallBytes: this.#small.bytes,
      mainEntries: this.#main.entries,
      mainBytes: this.#main.bytes,
      hits: this.#hits,
      misses: this.#misses,
      evictions: this.#evictions,
      returns: this.#returns,
      refusals: this.#refusals,
    };
  }

  #fingerprint(key: string): number {
    hashDependency(key, this.#hash, 0);
    return this.#hash[0]! | 0;
  }

  #remove(entry: Entry<Value>): void {
    this.#entries.delete(entry.key);
    entry.queue.remove(entry);
  }

  #makeRoom(bytes: number, evicted: EvictionMessage[] | undefined): void {
    let spared = 0;
    while (this.#small.bytes + this.#main.bytes + bytes > this.#maxBytes) {
      const fromSmall = this.#main.entries === 0 || (this.#small.entries > 0 && this.#small.bytes >= this.#smallBytes);
      const queue = fromSmall ? this.#small : this.#main;
      const entry = queue.oldest;
      if (entry === undefined) return; // empty: and no entry is larger than the tier
      const isSpared = spared < mostSpared && (fromSmall ? entry.uses >= usesForMain : entry.uses > 0);
      if (isSpared) {
        spared++;
        queue.remove(entry);
        entry.uses = fromSmall ? 0 : entry.uses - 1;
        this.#main.push(entry);
      } else {
        spared = 0;
        if (fromSmall) this.#ghosts.add(this.#fingerprint(entry.key), this.#entries.size);
        this.#remove(entry);
        this.#evictions++;
        evicted?.push({ tier: this.#name, key: entry.key, bytes: entry.bytes, queue: queue.name });
      }
    }
  }
}
