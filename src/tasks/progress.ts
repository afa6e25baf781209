// Progress on its way to the store: the latest of each task, at a pace that a handler may ignore.

import type { Clock, Timer } from "../core/index.ts";
import type { ClaimedTask, TaskStore } from "./store.ts";

/** People look at it; more often says no more. */
const intervalMs = 1_000;

/** What is larger is not kept: it is a number or two. */
const maxLength = 100_000;

export interface ProgressKeeperOptions {
  readonly store: TaskStore;
  readonly clock: Clock;
  readonly onFailure: (error: unknown) => void;
}

export class ProgressKeeper {
  readonly #options: ProgressKeeperOptions;
  readonly #latest = new Map<ClaimedTask, string>();
  #timer: Timer | undefined;

  constructor(options: ProgressKeeperOptions) {
    this.#options = options;
  }

  /** Keeps it within a second. What is no JSON, or too large, is ignored: progress must not make a task fail. */
  save(task: ClaimedTask, value: unknown): void {
    let json: string | undefined;
    try {
      json = JSON.stringify(value) as string | undefined;
    } catch {
      return;
    }
    if (json === undefined || json.length > maxLength) return;
    this.#latest.set(task, json);
    this.#timer ??= this.#options.clock.timer(intervalMs, () => {
      this.#timer = undefined;
      void this.#send([...this.#latest.keys()]);
    });
  }

  /** Before the end of a task is told: its last progress, if there is any that has not been kept. */
  flush(task: ClaimedTask): Promise<void> | undefined {
    return this.#latest.has(task) ? this.#send([task]) : undefined;
  }

  close(): void {
    this.#timer?.clear();
  }

  async #send(tasks: readonly ClaimedTask[]): Promise<void> {
    const updates = tasks.map((task) => ({ task, progress: this.#latest.get(task)! }));
    for (const task of tasks) this.#latest.delete(task);
    try {
      await this.#options.store.saveProgress(updates);
    } catch (error) {
      this.#options.onFailure(error); // the next one says more
    }
  }
}
