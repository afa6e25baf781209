// A bounded map that drops what was used least recently: the package lru-cache with the kit's options and clock, and nothing of its
// own. See docs/collections.md.

import { LRUCache } from "lru-cache";
import { type Clock, type Duration, resolveOptions, systemClock } from "../core/index.ts";
import { lruMapChecks } from "./options.ts";

export interface LruMapOptions<Key, Value> {
  /** Entries at the most. */
  readonly maxEntries: number;
  /** Bytes at the most, as `sizeOf` counts them. Needs `sizeOf`. Default: not counted. */
  readonly maxBytes?: number | undefined;
  /** Bytes of an entry, at least 1; called once per set(). */
  readonly sizeOf?: ((value: Value, key: Key) => number) | undefined;
  /** How long an entry is good from when it was set. Default: until it is dropped. */
  readonly ttl?: Duration | undefined;
  /** Called when an entry leaves the map, for whatever reason; a replaced value leaves it, too. Must not throw. */
  readonly onRemove?: ((value: Value, key: Key) => void) | undefined;
  readonly clock?: Clock | undefined;
}

/** What `createLruMap` gives; the methods mean what they mean on a Map. */
export interface LruMap<Key, Value> {
  readonly size: number;
  /** Bytes, when they are counted. */
  readonly bytes: number;
  /** Counts as a use. */
  get(key: Key): Value | undefined;
  /** Does not count as a use. */
  peek(key: Key): Value | undefined;
  has(key: Key): boolean;
  /** A value that is larger than `maxBytes` is not kept, and what stood under the key is gone. */
  set(key: Key, value: Value): void;
  delete(key: Key): boolean;
  clear(): void;
  /** From the most to the least recently used. */
  entries(): IterableIterator<[Key, Value]>;
}

/** `undefined` and `null` are neither keys nor values. @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID */
export function createLruMap<Key extends {}, Value extends {}>(given: LruMapOptions<Key, Value>): LruMap<Key, Value> {
  const options = resolveOptions<LruMapOptions<never, never>, typeof lruMapChecks>(
    "createLruMap",
    given, // the functions are taken from it below, with their types
    {},
    lruMapChecks,
  );
  const { sizeOf, onRemove } = given;
  const clock = options.clock ?? systemClock;
  const cache = new LRUCache<Key, Value>({
    max: options.maxEntries,
    ...(options.maxBytes !== undefined && { maxSize: options.maxBytes }),
    ...(sizeOf && { sizeCalculation: (value: Value, key: Key) => sizeOf(value, key) }),
    ...(options.ttl !== undefined && { ttl: options.ttl, ttlResolution: 0 }),
    ...(onRemove && { dispose: (value: Value, key: Key) => onRemove(value, key) }),
    perf: { now: () => clock.monotonic() + 1 }, // it takes a start of 0 for none
  });
  return {
    get size() {
      return cache.size;
    },
    get bytes() {
      return cache.calculatedSize;
    },
    get: (key) => cache.get(key),
    peek: (key) => cache.peek(key),
    has: (key) => cache.has(key),
    set: (key, value) => void cache.set(key, value),
    delete: (key) => cache.delete(key),
    clear: () => cache.clear(),
    entries: () => cache.entries(),
  };
}
