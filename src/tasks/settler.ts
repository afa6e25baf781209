// Tells the store how attempts have ended: many at once, and again until it answers. A settlement is never dropped because the store was
// away: asked again it counts once, by its lease.

import { type Clock, type Timer } from "../core/index.ts";
import { tasksErrors } from "./errors.ts";
import type { SettleOutcome, Settlement, TaskStore } from "./store.ts";

/** Per call. What has come meanwhile goes with the next. */
const maxBatch = 1_000;

/** Pauses while the store is away. */
const firstPauseMs = 50;
const longestPauseMs = 2_000;

/** What became of a settlement; "failed": the store refused it for good, and the task will be recovered. */
export type SettledAs = SettleOutcome | "failed";

interface Waiting {
  readonly settlement: Settlement;
  readonly resolve: (outcome: SettledAs) => void;
}

export interface SettlerOptions {
  readonly store: TaskStore;
  readonly clock: Clock;
  readonly random: () => number;
  /** Hears of every failed call. */
  readonly onFailure: (error: unknown) => void;
  readonly onSuccess: () => void;
}

export class Settler {
  readonly #options: SettlerOptions;
  #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;
  #pause: { readonly timer: Timer; readonly end: () => void } | undefined;
  #abandoned = false;

  constructor(options: SettlerOptions) {
    this.#options = options;
  }

  /** How many have not been answered yet. */
  get pending(): number {
    return this.#waiting.length + this.#inFlight;
  }

  #inFlight = 0;

  /** Resolves when the store has answered. Never rejects. */
  settle(settlement: Settlement): Promise<SettledAs> {
    return new Promise((resolve) => {
      this.#waiting.push({ settlement, resolve });
      this.#running ??= this.#run();
    });
  }

  /** Resolves when all is answered, or after `timeoutMs`; then what is left is given up, and its tasks will be recovered. */
  async close(timeoutMs: number): Promise<void> {
    if (!this.#running) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    using _timer = this.#options.clock.timer(timeoutMs, resolve, true);
    await Promise.race([this.#running, promise]);
    this.#abandoned = true;
    this.#pause?.end();
  }

  async #run(): Promise<void> {
    // What ends in this turn of the event loop goes together.
    await Promise.resolve();
    for (let failures = 0; this.#waiting.length > 0;) {
      const batch = this.#waiting.splice(0, maxBatch);
      this.#inFlight = batch.length;
      try {
        const outcomes = await this.#options.store.settle(batch.map(({ settlement }) => settlement));
        this.#options.onSuccess();
        failures = 0;
        for (let i = 0; i < batch.length; i++) batch[i]!.resolve(outcomes[i]!);
      } catch (error) {
        this.#options.onFailure(error);
        if (this.#abandoned) {
          for (const { resolve } of batch) resolve("failed");
        } else if (tasksErrors.is(error, "MILLRACE_TASKS_STORE_UNAVAILABLE")) {
          this.#waiting.unshift(...batch);
          this.#inFlight = 0;
          await this.#wait(
            Math.min(longestPauseMs, firstPauseMs * 2 ** Math.min(failures++, 10)) * (0.5 + this.#options.random() / 2),
          );
        } else {
          await this.#oneByOne(batch);
        }
      }
      this.#inFlight = 0;
    }
    this.#running = undefined;
  }

  /** One that the store cannot take must not keep the others from being told. */
  async #oneByOne(batch: readonly Waiting[]): Promise<void> {
    for (const { settlement, resolve } of batch) {
      try {
        resolve((await this.#options.store.settle([settlement]))[0]!);
      } catch (error) {
        if (tasksErrors.is(error, "MILLRACE_TASKS_STORE_UNAVAILABLE") && !this.#abandoned)
          this.#waiting.push({ settlement, resolve });
        else {
          this.#options.onFailure(error);
          resolve("failed");
        }
      }
    }
  }

  async #wait(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.#options.clock.timer(ms, resolve, true);
    this.#pause = { timer, end: resolve };
    await promise;
    timer.clear();
    this.#pause = undefined;
  }
}
