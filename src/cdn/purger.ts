// Purges for one CDN: keys are gathered, sent one purge at a time, tried until they are taken, and sent once more after the bound. No key
// is ever dropped: when there are too many, all of them become the one that every answer has.
//
// | a key                    | becomes                                                              |
// | ------------------------ | -------------------------------------------------------------------- |
// | is written               | waiting, first                                                       |
// | waits, the purge is taken | after the bound: waiting, again; then done                          |
// | waits, the purge fails   | waiting, as before, behind a pause that grows                        |
// | is written while it is purged or waits for its second | waiting, first                          |

import type { Clock, Timer } from "../core/index.ts";
import type { CdnAdapter } from "./adapter.ts";
import { cdnPurgeChannel } from "./channels.ts";

const firstRetryMs = 250;

export interface PurgerOptions {
  readonly adapter: CdnAdapter;
  readonly all: string;
  readonly boundMs: number;
  readonly gatherMs: number;
  readonly maxRetryMs: number;
  readonly maxWaiting: number;
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly random: () => number;
}

export interface PurgerStats {
  readonly cdn: string;
  /** Keys that wait for a purge, the second ones included. */
  readonly waiting: number;
  readonly purges: number;
  /** Attempts that have failed since the last one that was taken. 0: all is well. */
  readonly failures: number;
  readonly lastError: string | undefined;
}

interface Waiting {
  /** The second purge, after the bound. */
  readonly again: boolean;
  readonly sinceMs: number;
}

export class Purger {
  readonly #options: PurgerOptions;
  readonly #waiting = new Map<string, Waiting>();
  /** What is to be purged again, in order of time. */
  readonly #later: { readonly dueMs: number; readonly keys: readonly string[] }[] = [];
  #laterKeys = 0;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  readonly #controller = new AbortController();
  #closed = false;
  #purges = 0;
  #failures = 0;
  #lastError: string | undefined;
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(options: PurgerOptions) {
    this.#options = options;
  }

  add(keys: readonly string[]): void {
    if (this.#closed) return;
    this.#put(keys, false);
    this.#schedule(this.#options.gatherMs);
  }

  stats(): PurgerStats {
    return {
      cdn: this.#options.adapter.name,
      waiting: this.#waiting.size + this.#laterKeys,
      purges: this.#purges,
      failures: this.#failures,
      lastError: this.#lastError,
    };
  }

  /** Resolves when nothing waits any more, second purges included. */
  idle(): Promise<void> {
    if (this.#isIdle()) return Promise.resolve();
    return (this.#idle ??= Promise.withResolvers<void>()).promise;
  }

  /** Sends what waits, at once and without waiting for the bound, as far as that succeeds at the first attempt. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#timer?.clear();
    await this.#running;
    for (const { keys } of this.#later.splice(0)) this.#put(keys, true);
    this.#laterKeys = 0;
    this.#closed = true;
    while (this.#waiting.size > 0 && (await this.#purgeOnce()));
    this.#controller.abort();
    this.#idle?.resolve();
  }

  #put(keys: readonly string[], again: boolean): void {
    const { clock, all, maxWaiting } = this.#options;
    const sinceMs = clock.monotonic();
    for (const key of keys) {
      const before = this.#waiting.get(key);
      // A first purge stays one: its second is still to come.
      if (before === undefined || (before.again && !again)) this.#waiting.set(key, { again, sinceMs: before?.sinceMs ?? sinceMs });
    }
    if (this.#waiting.size <= maxWaiting) return;
    const isFirst = [...this.#waiting.values()].some((one) => !one.again);
    this.#waiting.clear();
    this.#waiting.set(all, { again: !isFirst, sinceMs });
  }

  #schedule(delayMs: number): void {
    if (this.#timer || this.#running || this.#closed) return;
    this.#timer = this.#options.clock.timer(
      delayMs,
      () => {
        this.#timer = undefined;
        this.#running = this.#run().finally(() => {
          this.#running = undefined;
          this.#next();
        });
      },
      true,
    );
  }

  /** Sends what waits until all is sent or one fails. */
  async #run(): Promise<void> {
    this.#takeDue();
    while (this.#waiting.size > 0 && !this.#closed) if (!(await this.#purgeOnce())) return;
  }

  #next(): void {
    const { clock, maxRetryMs, random } = this.#options;
    if (this.#isIdle()) {
      this.#idle?.resolve();
      this.#idle = undefined;
      return;
    }
    if (this.#failures > 0) {
      const fullMs = Math.min(maxRetryMs, firstRetryMs * 2 ** Math.min(this.#failures - 1, 20));
      this.#schedule(fullMs * (0.5 + random() / 2));
    } else if (this.#waiting.size > 0) this.#schedule(this.#options.gatherMs);
    else this.#schedule(Math.max(0, this.#later[0]!.dueMs - clock.monotonic()));
  }

  #isIdle(): boolean {
    return this.#waiting.size === 0 && this.#later.length === 0 && !this.#running;
  }

  #takeDue(): void {
    const nowMs = this.#options.clock.monotonic();
    while (this.#later[0] !== undefined && this.#later[0].dueMs <= nowMs) {
      const { keys } = this.#later.shift()!;
      this.#laterKeys -= keys.length;
      this.#put(keys, true);
    }
  }

  /** One purge of as many keys as one may have. False: it failed, and they wait again. */
  async #purgeOnce(): Promise<boolean> {
    const { adapter, all, boundMs, timeoutMs, clock } = this.#options;
    // Everything is said by the one key, and the others need not be.
    const isAll = this.#waiting.has(all);
    const chosen = isAll ? [...this.#waiting] : [...this.#waiting].slice(0, adapter.mostKeys);
    const keys = isAll ? [all] : chosen.map(([key]) => key);
    for (const [key] of chosen) this.#waiting.delete(key);
    const startedMs = clock.monotonic();
    let error: unknown;
    try {
      const abort = new AbortController();
      using _timeout = clock.timer(
        timeoutMs,
        () => abort.abort(new DOMException("The purge took too long.", "TimeoutError")),
        true,
      );
      const onClose = () => abort.abort(this.#controller.signal.reason);
      this.#controller.signal.addEventListener("abort", onClose, { once: true });
      try {
        await adapter.purge(keys, abort.signal);
      } finally {
        this.#controller.signal.removeEventListener("abort", onClose);
      }
    } catch (cause) {
      error = cause ?? new Error("without a reason");
    }
    const endedMs = clock.monotonic();
    const again = chosen.every(([, one]) => one.again);
    if (error === undefined) {
      this.#purges++;
      this.#failures = 0;
      this.#lastError = undefined;
      const first = isAll ? (again ? [] : [all]) : chosen.flatMap(([key, one]) => (one.again ? [] : [key]));
      if (first.length > 0 && !this.#closed) {
        this.#later.push({ dueMs: endedMs + boundMs, keys: first });
        this.#laterKeys += first.length;
      }
    } else {
      this.#failures++;
      this.#lastError = error instanceof Error ? error.message : "it gave no reason";
      for (const [key, one] of chosen) {
        const meanwhile = this.#waiting.get(key);
        this.#waiting.set(key, { again: one.again && (meanwhile?.again ?? true), sinceMs: one.sinceMs });
      }
      this.#put([], false);
    }
    if (cdnPurgeChannel.hasSubscribers) {
      cdnPurgeChannel.publish({
        cdn: adapter.name,
        keys: keys.length,
        everything: isAll,
        again,
        waitedMs: startedMs - Math.min(...chosen.map(([, { sinceMs }]) => sinceMs)),
        durationMs: endedMs - startedMs,
        error: this.#lastError,
        failures: this.#failures,
      });
    }
    return error === undefined;
  }
}
