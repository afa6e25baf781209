// When an answer is made anew before its time is over: XFetch (Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache
// Stampede Prevention", VLDB 2015). The more likely the nearer the end, and the longer the fill takes.

import type { Entry } from "./entry.ts";

/** An early refresh never begins before this share of the ttl: a fill that takes as long as its ttl would never stop running. */
const earliestRefresh = 0.5;

/** exp(-16) is one in nine million: before that many compute times from the end, XFetch need not draw. */
const refreshHorizon = 16;

export class EarlyRefresh {
  readonly #eagerness: number;
  readonly #random: () => number;

  /** `eagerness` is the paper's beta. 0: never. */
  constructor(eagerness: number, random: () => number) {
    this.#eagerness = eagerness;
    this.#random = random;
  }

  /** From when on a hit has to draw. */
  from(madeAtMs: number, ttlMs: number, computeMs: number): number {
    if (this.#eagerness === 0) return Infinity;
    return madeAtMs + Math.max(ttlMs * earliestRefresh, ttlMs - computeMs * this.#eagerness * refreshHorizon);
  }

  /** Draws. */
  isDue(entry: Entry, nowMs: number): boolean {
    const aheadMs = -entry.computeMs * this.#eagerness * Math.log(1 - this.#random());
    return nowMs + aheadMs >= entry.freshUntilMs;
  }
}
