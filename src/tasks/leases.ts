// What this process holds: prolongs every lease in time, hears which tasks shall stop and which are lost, and takes a lease for lost
// itself when it could not prolong it: by then another process may have the task.

import type { Clock, Timer } from "../core/index.ts";
import type { ClaimedTask, TaskStore } from "./store.ts";

/** Leases per call. */
const maxBatch = 1_000;

/** The heartbeat comes three times in a lease: one that fails, and the next, still leave time. */
const beatsPerLease = 3;

interface Held {
  readonly claimed: ClaimedTask;
  /** Monotonic time until which nobody else can have it. */
  untilMs: number;
  readonly stop: (why: "cancelled" | "lost") => void;
}

export interface LeasesOptions {
  readonly store: TaskStore;
  readonly clock: Clock;
  readonly leaseMs: number;
  readonly onFailure: (error: unknown) => void;
}

export class Leases {
  readonly #options: LeasesOptions;
  readonly #held = new Map<string, Held>();
  #timer: Timer | undefined;
  #beating: Promise<void> | undefined;
  #stopped = false;

  constructor(options: LeasesOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#held.size;
  }

  start(): void {
    this.#timer = this.#options.clock.timer(this.#options.leaseMs / beatsPerLease, () => void this.#beat(), true);
  }

  /** `stop` is called at most once with each reason. `sinceMs` is when the fetch was sent. */
  hold(claimed: ClaimedTask, sinceMs: number, stop: Held["stop"]): void {
    this.#held.set(claimed.id, { claimed, untilMs: sinceMs + this.#options.leaseMs, stop });
  }

  /** It was settled, or is lost. */
  drop({ id, lease }: ClaimedTask): void {
    if (this.#held.get(id)?.claimed.lease === lease) this.#held.delete(id);
  }

  /** Somebody wants it to stop. */
  cancel(id: string): void {
    this.#held.get(id)?.stop("cancelled");
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.clear();
    await this.#beating;
  }

  #beat(): Promise<void> {
    return (this.#beating ??= this.#extend().finally(() => {
      this.#beating = undefined;
      if (!this.#stopped) this.start();
    }));
  }

  async #extend(): Promise<void> {
    const { store, clock, leaseMs, onFailure } = this.#options;
    const all = [...this.#held.values()];
    for (let i = 0; i < all.length && !this.#stopped; i += maxBatch) {
      const batch = all.slice(i, i + maxBatch);
      const beforeMs = clock.monotonic();
      try {
        const states = await store.extend(
          batch.map(({ claimed: { id, attempt, lease } }) => ({ id, attempt, lease })),
          leaseMs,
        );
        for (const [at, held] of batch.entries()) {
          if (states[at] === "lost") held.stop("lost");
          else {
            held.untilMs = beforeMs + leaseMs;
            if (states[at] === "cancelled") held.stop("cancelled");
          }
        }
      } catch (error) {
        onFailure(error);
        const nowMs = clock.monotonic();
        for (const held of batch) if (held.untilMs <= nowMs) held.stop("lost");
      }
    }
  }
}
