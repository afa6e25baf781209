// A loader fetches single things by key and asks for all that one turn of the event loop wants at once. What it remembers belongs
// to one handle, one request and one principal, and to nobody else. See docs/eager-loading.md.

import DataLoader from "dataloader";
import { type WorkContext, currentContext, runInContext, wholeOf } from "../concurrency/index.ts";
import { type OptionChecks, integer, resolveOptions } from "../core/index.ts";
import { databaseErrors } from "./errors.ts";
import type { Queryable } from "./queryable.ts";

/** What a loader can load by: compared as a Map compares, so 5 and "5" are two keys. */
export type LoaderKey = string | number | bigint;

export interface LoaderOptions {
  /** Keys in one call at the most; more are split over several calls. Default 1,000. */
  readonly maxBatch?: number;
  /** Values remembered per handle, request and principal; the oldest go first. Default 10,000. 0: none. */
  readonly maxRemembered?: number;
}

export const loaderDefaults = {
  maxBatch: 1_000, // an array parameter of a few KB; the planner still expects few enough rows to use the index
  maxRemembered: 10_000, // more than a request needs; bounds a task that walks through millions of rows in one context
} as const satisfies LoaderOptions;

const loaderChecks = {
  maxBatch: integer(1, 100_000),
  maxRemembered: integer(0),
} satisfies OptionChecks<LoaderOptions>;

/** Loads values by key. */
export interface Loader<Key extends LoaderKey, Value> {
  readonly name: string;
  /** The value of a key, or undefined when there is none. */
  load(queryable: Queryable, key: Key): Promise<Value | undefined>;
  /** The values of several keys, in their order. */
  loadAll(queryable: Queryable, keys: readonly Key[]): Promise<(Value | undefined)[]>;
  /** Forgets a key in the running work: call it after changing what the key stands for. */
  forget(queryable: Queryable, key: Key): void;
}

/** First in, first out. */
class BoundedMap<Key, Value> extends Map<Key, Value> {
  readonly #maxSize: number;

  constructor(maxSize: number) {
    super();
    this.#maxSize = maxSize;
  }

  override set(key: Key, value: Value): this {
    if (this.size >= this.#maxSize && !this.has(key)) this.delete(this.keys().next().value!);
    return super.set(key, value);
  }
}

/** Work outside of any context shares this one, which remembers nothing beyond a turn. */
const noContext = {};

/**
 * Declares a loader; once, at the top of a module. `fetch` gets each key once and returns what it found: keys that it leaves
 * out load as undefined. What is remembered is per database or transaction handle, WorkContext and principal; outside of any
 * context nothing is remembered, and keys are only batched within one turn.
 * @throws MILLRACE_LOADER_KEY_UNKNOWN from load() when `fetch` returns a key that nobody asked for
 */
export function defineLoader<Key extends LoaderKey, Value>(
  name: string,
  fetch: (keys: Key[], queryable: Queryable) => Promise<ReadonlyMap<Key, Value>>,
  options: LoaderOptions = {},
): Loader<Key, Value> {
  const { maxBatch, maxRemembered } = resolveOptions<LoaderOptions, typeof loaderChecks>(
    `defineLoader "${name}"`,
    options,
    loaderDefaults,
    loaderChecks,
  );
  type Batches = DataLoader<Key, Value | undefined>;
  const loaders = new WeakMap<Queryable, WeakMap<object, Map<string | undefined, Batches>>>();

  const fetchBatch = async (queryable: Queryable, keys: readonly Key[]): Promise<(Value | undefined)[]> => {
    const asked = new Set(keys);
    const found = await fetch([...asked], queryable);
    for (const key of found.keys()) {
      if (!asked.has(key)) throw databaseErrors.create("MILLRACE_LOADER_KEY_UNKNOWN", { name, key: String(key), type: typeof key });
    }
    return keys.map((key) => found.get(key));
  };

  const batchesOf = (queryable: Queryable): Batches => {
    const running = currentContext();
    // The parts of one request (groups, timeouts) share what it remembers and what it asks for in one turn.
    const context: WorkContext | undefined = running && wholeOf(running);
    const principal = context?.principalId;
    let byContext = loaders.get(queryable);
    if (!byContext) loaders.set(queryable, (byContext = new WeakMap()));
    let byPrincipal = byContext.get(context ?? noContext);
    if (!byPrincipal) byContext.set(context ?? noContext, (byPrincipal = new Map()));
    let batches = byPrincipal.get(principal);
    if (!batches) {
      const remembers = context !== undefined && maxRemembered > 0;
      // Under the whole's deadline: a batch is for several parts, and none of them may end it for the others.
      const fetchInWhole = (keys: readonly Key[]) =>
        context ? runInContext(context, () => fetchBatch(queryable, keys)) : fetchBatch(queryable, keys);
      batches = new DataLoader<Key, Value | undefined>(fetchInWhole, {
        maxBatchSize: maxBatch,
        cache: remembers,
        cacheMap: remembers ? new BoundedMap(maxRemembered) : null,
      });
      byPrincipal.set(principal, batches);
    }
    return batches;
  };

  return {
    name,
    load: (queryable, key) => batchesOf(queryable).load(key),
    loadAll: (queryable, keys) => {
      const batches = batchesOf(queryable);
      return Promise.all(keys.map((key) => batches.load(key)));
    },
    forget: (queryable, key) => void batchesOf(queryable).clear(key),
  };
}
