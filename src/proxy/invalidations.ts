// Which names were made worthless when, so that an answer that was on its way meanwhile is not stored, and a stored one that nobody
// can find any more (a variant, a member of a group) is not used. Bounded: what falls out makes everything older than it worthless.

import { hash } from "node:crypto";
import { createLruMap } from "../concurrency/index.ts";

/** Names that are remembered, at some 150 bytes each. */
const mostNames = 65_536;

/** 96 bits are enough for nobody to find two names with the same. */
const shortened = (name: string): string => hash("sha256", name, "base64url").slice(0, 16);

export class Invalidations {
  readonly #last = createLruMap<string, number>({ maxEntries: mostNames, onRemove: (order) => this.#forget(order) });
  #order = 0;
  /** Everything that has names and is not younger than this is worthless. */
  #floor = 0;
  #replacing = false;

  /** A point in time: what begins now is younger than every invalidation so far. */
  now(): number {
    return this.#order;
  }

  add(name: string): void {
    // A replaced value leaves the map as well; it is not forgotten.
    this.#replacing = true;
    const key = shortened(name);
    this.#last.delete(key);
    this.#replacing = false;
    this.#last.set(key, ++this.#order);
  }

  /** Whether something that began at `since` and goes by `names` has been made worthless. */
  hit(names: readonly string[], since: number): boolean {
    if (since < this.#floor) return true;
    return names.some((name) => (this.#last.peek(shortened(name)) ?? 0) > since);
  }

  #forget(order: number): void {
    if (!this.#replacing) this.#floor = Math.max(this.#floor, order);
  }
}
