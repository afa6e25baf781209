// Leaves an upstream alone that fails too often, and finds out when it is well again. See docs/upstream.md#breaker.
//
// | state     | left by                                                              | what then happens                       |
// | --------- | -------------------------------------------------------------------- | --------------------------------------- |
// | closed    | enough calls in the window, and too many of them failed              | open                                    |
// | open      | its time is over and somebody asks                                   | half-open: that call is the first probe |
// | half-open | enough probes have reported, and enough of them succeeded            | closed, with an empty window            |
// | half-open | so many have failed that enough successes are impossible             | open, twice as long as before           |
// | half-open | no verdict in the time that open lasts, and somebody asks            | half-open anew                          |
//
// Each state has a number, and a ticket carries that of the state in which it was given: what it reports later than that is ignored.
// The last row is what keeps it from wedging when probes never report.

import type { Clock } from "../core/index.ts";

export interface BreakerOptions {
  /** Share of failures in the window that opens it. */
  readonly failureRatio: number;
  /** Calls in the window below which it does not open. */
  readonly minimumCalls: number;
  readonly windowMs: number;
  readonly openMs: number;
  readonly maxOpenMs: number;
  /** Probes that half-open lets through. */
  readonly probes: number;
  /** Share of successes among them that closes it. */
  readonly probeSuccessRatio: number;
}

export type BreakerState = "closed" | "open" | "half-open";

/** Leave to make one call. Report once; not reporting is allowed, and says nothing. */
export interface Ticket {
  report(succeeded: boolean): void;
  /** Gives the ticket back unused, or says that the call tells nothing of the upstream (its caller left). */
  giveBack(): void;
}

const buckets = 10;

export class Breaker {
  readonly #options: BreakerOptions;
  readonly #clock: Clock;
  readonly #changed: (state: BreakerState) => void;
  #state: BreakerState = "closed";
  #number = 0;
  #sinceMs: number;
  /** How long open lasts this time. */
  #openMs: number;
  // closed: successes and failures per tenth of the window.
  readonly #succeeded: number[] = Array.from({ length: buckets }, () => 0);
  readonly #failed: number[] = Array.from({ length: buckets }, () => 0);
  #bucket = 0;
  // half-open
  #probesOut = 0;
  #probesGood = 0;
  #probesBad = 0;

  constructor(options: BreakerOptions, clock: Clock, changed: (state: BreakerState) => void = () => {}) {
    this.#options = options;
    this.#clock = clock;
    this.#changed = changed;
    this.#sinceMs = clock.monotonic();
    this.#openMs = options.openMs;
  }

  /** As of the last call: open stays open until somebody asks. */
  get state(): BreakerState {
    return this.#state;
  }

  /** Milliseconds until open lets a probe through; 0 in other states. */
  get retryAfterMs(): number {
    return this.#state === "open" ? Math.max(0, this.#sinceMs + this.#openMs - this.#clock.monotonic()) : 0;
  }

  /** Leave to make a call, or undefined. */
  admit(): Ticket | undefined {
    if (this.#state === "closed") return this.#ticket(false);
    const elapsedMs = this.#clock.monotonic() - this.#sinceMs;
    if (elapsedMs >= this.#openMs) this.#enter("half-open"); // also from half-open: its probes are given up
    if (this.#state !== "half-open") return undefined;
    if (this.#probesOut + this.#probesGood + this.#probesBad >= this.#options.probes) return undefined;
    this.#probesOut++;
    return this.#ticket(true);
  }

  #ticket(probe: boolean): Ticket {
    const number = this.#number;
    let used = false;
    const once = (report: () => void) => {
      if (used) return;
      used = true;
      if (number === this.#number) report();
    };
    return {
      report: (succeeded) => once(() => (probe ? this.#probeReported(succeeded) : this.#callReported(succeeded))),
      giveBack: () => once(() => void (probe && this.#probesOut--)),
    };
  }

  #callReported(succeeded: boolean): void {
    this.#turn();
    const at = this.#bucket % buckets;
    if (succeeded) {
      this.#succeeded[at]!++;
      return;
    }
    this.#failed[at]!++;
    const failed = sum(this.#failed);
    const calls = failed + sum(this.#succeeded);
    const { minimumCalls, failureRatio } = this.#options;
    if (calls >= minimumCalls && failed >= failureRatio * calls) this.#enter("open");
  }

  #probeReported(succeeded: boolean): void {
    this.#probesOut--;
    if (succeeded) this.#probesGood++;
    else this.#probesBad++;
    const { probes, probeSuccessRatio, maxOpenMs } = this.#options;
    const needed = Math.ceil(probes * probeSuccessRatio);
    if (this.#probesGood >= needed) {
      this.#openMs = this.#options.openMs;
      this.#enter("closed");
    } else if (this.#probesBad > probes - needed) {
      this.#openMs = Math.min(this.#openMs * 2, maxOpenMs);
      this.#enter("open");
    }
  }

  #enter(state: BreakerState): void {
    const before = this.#state;
    this.#state = state;
    this.#number++;
    this.#sinceMs = this.#clock.monotonic();
    this.#succeeded.fill(0);
    this.#failed.fill(0);
    this.#probesOut = 0;
    this.#probesGood = 0;
    this.#probesBad = 0;
    if (state !== before) this.#changed(state);
  }

  /** Empties what has left the window. */
  #turn(): void {
    const now = Math.floor(this.#clock.monotonic() / (this.#options.windowMs / buckets));
    for (let steps = Math.min(buckets, now - this.#bucket); steps > 0; steps--) {
      this.#succeeded[(now - steps + 1) % buckets] = 0;
      this.#failed[(now - steps + 1) % buckets] = 0;
    }
    this.#bucket = now;
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((all, one) => all + one, 0);
