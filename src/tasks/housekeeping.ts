// What has to be done now and then by any process: give the tasks of dead workers to others, and remove what was kept long enough.

import type { Clock, Timer } from "../core/index.ts";
import { taskRecoveredChannel } from "./channels.ts";
import type { TaskStore } from "./store.ts";

/** Tasks per call. */
const recoverLimit = 200;
const cleanUpLimit = 1_000;

/** A task that has just killed its worker does not get the next one at once. */
const recoverDelayMs = 1_000;

/** How long what was to be cancelled, and whose worker has died, can still be asked for. */
const keepCancelledMs = 3_600_000;

const cleanUpIntervalMs = 60_000;

export interface HousekeepingOptions {
  readonly store: TaskStore;
  readonly clock: Clock;
  readonly random: () => number;
  readonly leaseMs: number;
  readonly onFailure: (error: unknown) => void;
  readonly onRecovered: () => void;
}

export class Housekeeping {
  readonly #options: HousekeepingOptions;
  readonly #timers = new Map<"recover" | "cleanUp", Timer>();
  readonly #running = new Set<Promise<void>>();
  #stopped = false;

  constructor(options: HousekeepingOptions) {
    this.#options = options;
  }

  start(): void {
    // A quarter of a lease after it has run out at the latest; by chance, so that many processes do not do it together.
    this.#every("recover", this.#options.leaseMs / 4, () => this.#recover());
    this.#every("cleanUp", cleanUpIntervalMs, () => this.#cleanUp());
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#timers.values()) timer.clear();
    await Promise.all(this.#running);
  }

  #every(name: "recover" | "cleanUp", intervalMs: number, work: () => Promise<void>): void {
    const { clock, random, onFailure } = this.#options;
    const timer = clock.timer(
      intervalMs * (0.5 + random() / 2),
      () => {
        const running = work()
          .catch(onFailure)
          .finally(() => {
            this.#running.delete(running);
            if (!this.#stopped) this.#every(name, intervalMs, work);
          });
        this.#running.add(running);
      },
      true,
    );
    this.#timers.set(name, timer);
  }

  async #recover(): Promise<void> {
    const { store, onRecovered } = this.#options;
    for (let recovered = recoverLimit; recovered >= recoverLimit && !this.#stopped;) {
      const tasks = await store.recover({ limit: recoverLimit, delayMs: recoverDelayMs, keepMs: keepCancelledMs });
      recovered = tasks.length;
      if (taskRecoveredChannel.hasSubscribers) for (const task of tasks) taskRecoveredChannel.publish(task);
      if (recovered > 0) onRecovered();
    }
  }

  async #cleanUp(): Promise<void> {
    while (!this.#stopped && (await this.#options.store.cleanUp({ limit: cleanUpLimit })) >= cleanUpLimit);
  }
}
