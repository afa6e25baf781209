// The readings of ledgers that count invalidations: a fill reflects every one up to the number at its beginning. What its answers of
// the cache were read from it inherits.

import { AsyncLocalStorage } from "node:async_hooks";
import type { Findings, Inherited, Reading, Stamp } from "./ledger.ts";

/** Nothing is found out by itself: what a fill depends on is what its caller names. */
const nothingFound: readonly string[] = Object.freeze([]);

/** The generation of answers that no write makes stale (time-ledger.ts): they hold beside the answers of every ledger. */
export const unnumbered = 0;

/** The reading that runs around the code. */
const running = new AsyncLocalStorage<CountedReading>();

/** A fill that reflects every invalidation up to `upTo` of `generation`. */
export class CountedReading implements Reading {
  readonly order: number;
  readonly generation: number;
  #upTo: number;
  #reason: string | undefined;
  /** Of an answer without a stamp. */
  #isShareable = false;
  #freshUntilMs = Infinity;
  readonly #inherited = new Set<Uint32Array>();

  constructor(generation: number, upTo: number) {
    this.order = upTo;
    this.generation = generation;
    this.#upTo = upTo;
  }

  run<Result>(fill: () => Result): Result {
    return running.run(this, fill);
  }

  /** Its answer may not be kept, because the ledger cannot judge now. */
  refuse(reason: string): void {
    this.#reason ??= reason;
    this.#isShareable = true;
  }

  inherit(stamp: Stamp | undefined, dependencies: Uint32Array, reason: string | undefined, answer?: Inherited): void {
    if (answer !== undefined && answer.freshUntilMs < this.#freshUntilMs) this.#freshUntilMs = answer.freshUntilMs;
    if (stamp === undefined) {
      this.#isShareable = (this.#isShareable || this.#reason === undefined) && answer?.shareable === true;
      this.#reason ??= reason ?? "it uses an answer that may not be kept";
    } else if (stamp.generation === unnumbered) {
      // There is nothing that it could have missed.
    } else if (stamp.generation !== this.generation) this.#reason ??= "it uses an answer of another ledger";
    else this.#upTo = Math.min(this.#upTo, stamp.upTo);
    if (dependencies.length > 0) this.#inherited.add(dependencies);
  }

  finish(): Findings {
    const inherited = new Uint32Array([...this.#inherited].reduce((length, each) => length + each.length, 0));
    let at = 0;
    for (const each of this.#inherited) {
      inherited.set(each, at);
      at += each.length;
    }
    return {
      stamp: this.#reason === undefined ? { generation: this.generation, upTo: this.#upTo } : undefined,
      reason: this.#reason,
      dependencies: nothingFound,
      inherited,
      timeDependent: false,
      shareable: this.#isShareable,
      freshUntilMs: this.#freshUntilMs,
    };
  }

  [Symbol.dispose](): void {}
}

/** Ledger.inherit() of these ledgers: the fill that runs around the call, if there is one, inherits. */
export function inheritInRunningReading(
  stamp: Stamp | undefined,
  dependencies: Uint32Array,
  reason: string | undefined,
  answer: Inherited | undefined,
): void {
  running.getStore()?.inherit(stamp, dependencies, reason, answer);
}

/** Whether a demand for writes to `demanded` (empty: to anything) concerns an entry with `dependencies`. */
export function overlaps(demanded: Uint32Array, dependencies: Uint32Array): boolean {
  if (demanded.length === 0) return true;
  for (let i = 0; i < demanded.length; i += 2) {
    for (let j = 0; j < dependencies.length; j += 2) {
      if (demanded[i] === dependencies[j] && demanded[i + 1] === dependencies[j + 1]) return true;
    }
  }
  return false;
}
