// Keys whose fills keep failing: after some failures in a row their callers get the last error at once, and a trial is let through
// only now and then. A failure is forgotten when what it was read from has been written: it is an answer like others.

import type { Clock } from "../core/index.ts";
import type { Ledger, Stamp } from "./ledger.ts";

/** Failures in a row until a key is broken off: one may be chance, and so may two. */
const failuresUntilBroken = 3;

/** How long the first time, and at most: each further failure doubles it. */
const firstPauseMs = 500;
const longestPauseMs = 30_000;

/** Failing keys that are remembered; beyond it the oldest is forgotten, and tried again. */
const mostKeys = 1_000;

interface Failing {
  failures: number;
  untilMs: number;
  error: unknown;
  stamp: Stamp | undefined;
  order: number;
  dependencies: Uint32Array;
}

export class FillBreaker {
  readonly #failing = new Map<string, Failing>();
  readonly #clock: Clock;
  readonly #ledger: Ledger;

  constructor(clock: Clock, ledger: Ledger) {
    this.#clock = clock;
    this.#ledger = ledger;
  }

  /** The last error, when the key is not to be filled now. */
  broken(key: string): { readonly error: unknown } | undefined {
    const failing = this.#failing.get(key);
    if (failing === undefined || failing.failures < failuresUntilBroken) return undefined;
    if (this.#clock.monotonic() >= failing.untilMs) return undefined;
    const { stamp, order, dependencies } = failing;
    const isOvertaken = stamp ? this.#ledger.judge(stamp, order, dependencies) !== undefined : !this.#ledger.mayJoin(order);
    if (isOvertaken) {
      this.#failing.delete(key);
      return undefined;
    }
    return failing;
  }

  /** What the fill had read when it failed decides how long the failure counts. */
  failed(key: string, error: unknown, stamp: Stamp | undefined, order: number, dependencies: Uint32Array): void {
    const failures = (this.#failing.get(key)?.failures ?? 0) + 1;
    this.#failing.delete(key); // to the end of the line
    const pauseMs = Math.min(longestPauseMs, firstPauseMs * 2 ** Math.max(0, failures - failuresUntilBroken));
    this.#failing.set(key, { failures, untilMs: this.#clock.monotonic() + pauseMs, error, stamp, order, dependencies });
    if (this.#failing.size > mostKeys) this.#failing.delete(this.#failing.keys().next().value!);
  }

  succeeded(key: string): void {
    if (this.#failing.size > 0) this.#failing.delete(key);
  }

  /** For why(). */
  lastError(key: string): unknown {
    return this.#failing.get(key)?.error;
  }
}
