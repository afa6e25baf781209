// Many of the same: as Array.prototype.map with asynchronous work, a limit, and an end. See docs/task-groups.md.

import { resolveOptions } from "../core/index.ts";
import type { Deadline } from "./deadline.ts";
import { type GroupOptions, group } from "./group.ts";
import { mapChecks, mapDefaults } from "./options.ts";

export interface MapConcurrentOptions extends GroupOptions {
  /** Items in work at once. Default 10. */
  readonly limit?: number | undefined;
}

/**
 * Calls `work` for every item, `limit` at once, and resolves with the results in the order of the items. Items are taken from the
 * iterable only when they are worked on. The first failure aborts the rest and ends the iteration.
 * @throws as group() does, and what the iterable throws
 */
export async function mapConcurrent<Item, Result>(
  items: Iterable<Item> | AsyncIterable<Item>,
  work: (item: Item, index: number, deadline: Deadline) => Result | PromiseLike<Result>,
  options: MapConcurrentOptions = {},
): Promise<Result[]> {
  const { limit } = resolveOptions<MapConcurrentOptions, typeof mapChecks>("mapConcurrent", options, mapDefaults, mapChecks);
  const results: Result[] = [];
  const iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  let exhausted = false;
  let taken = 0;
  // One after the other: iterators need not stand two calls of next() at once.
  let pulling: Promise<unknown> = Promise.resolve();
  const pull = (): Promise<{ readonly item: Item; readonly index: number } | undefined> => {
    const pulled = pulling.then(async () => {
      if (exhausted) return undefined;
      try {
        const next = await iterator.next();
        if (!next.done) return { item: next.value, index: taken++ };
      } catch (error) {
        exhausted = true;
        throw error;
      }
      exhausted = true;
      return undefined;
    });
    pulling = pulled.catch(() => {});
    return pulled;
  };
  try {
    await group(
      (tasks) => {
        const runner = async (deadline: Deadline): Promise<void> => {
          for (let next = await pull(); next; next = await pull()) {
            deadline.throwIfAborted();
            // As many runners as there are items to run, up to the limit: a short list makes a small group.
            if (tasks.running < limit && !exhausted) void tasks.start(runner);
            results[next.index] = await work(next.item, next.index, deadline);
            deadline.throwIfAborted();
          }
        };
        void tasks.start(runner);
      },
      { deadline: options.deadline, signal: options.signal, clock: options.clock },
    );
  } finally {
    if (!exhausted) {
      exhausted = true;
      await pulling; // no next() may be under way when it is told to end
      await iterator.return?.();
    }
  }
  return results;
}
