// How many more calls than were asked for may be made: one budget for retries and hedges together, so that a failing upstream gets
// little more than its usual load. See docs/upstream.md#one-budget.
//
// In every stretch of time that begins with the first call:  extra calls <= ratio × calls + perSecond × (seconds + 1).

import type { Clock } from "../core/index.ts";

/** Calls whose unspent share may be saved up, in seconds of the floor: a quiet hour must not pay for a storm. */
const savedSeconds = 10;

export class RetryBudget {
  readonly #ratio: number;
  readonly #perSecond: number;
  readonly #clock: Clock;
  #saved = 0;
  #floor: number;
  #floorAtMs: number;

  /** `ratio`: extra calls per call; `perSecond`: extra calls that are always allowed. */
  constructor(ratio: number, perSecond: number, clock: Clock) {
    this.#ratio = ratio;
    this.#perSecond = perSecond;
    this.#clock = clock;
    this.#floor = perSecond;
    this.#floorAtMs = clock.monotonic();
  }

  /** A call has been asked for. */
  deposit(): void {
    this.#saved = Math.min(this.#saved + this.#ratio, Math.max(1, this.#perSecond * savedSeconds));
  }

  /** Whether one more call may be made. It is counted now, also when it only waits to be made. */
  withdraw(): boolean {
    const nowMs = this.#clock.monotonic();
    this.#floor = Math.min(this.#perSecond, this.#floor + ((nowMs - this.#floorAtMs) / 1000) * this.#perSecond);
    this.#floorAtMs = nowMs;
    if (this.#floor >= 1) this.#floor -= 1;
    else if (this.#saved >= 1) this.#saved -= 1;
    else return false;
    return true;
  }
}
