// How long attempts take: the 95th percentile of the last few hundred, which is when a hedge is worth it.

/** Attempts that are remembered: enough for a stable 95th percentile (26 lie above it), few enough to follow a change in seconds. */
const remembered = 512;

/** Fewer say nothing about a percentile. */
const fewest = 40;

/** Attempts after which the percentile is computed anew. */
const every = 16;

export class Latencies {
  readonly #ms: number[] = [];
  #next = 0;
  #sinceComputed = every;
  #p95: number | undefined;

  record(ms: number): void {
    this.#ms[this.#next] = ms;
    this.#next = (this.#next + 1) % remembered;
    this.#sinceComputed++;
  }

  /** An attempt was given up after `ms`: counts when that was late already, else it would make attempts look quicker than they are. */
  recordLonger(ms: number): void {
    if (ms > (this.p95 ?? 0)) this.record(ms);
  }

  /** Undefined while there are too few. */
  get p95(): number | undefined {
    if (this.#ms.length < fewest) return undefined;
    if (this.#sinceComputed >= every) {
      this.#sinceComputed = 0;
      this.#p95 = this.#ms.toSorted((a, b) => a - b)[Math.floor(this.#ms.length * 0.95)];
    }
    return this.#p95;
  }
}
