// One queue as this process works on it: its slots, what was fetched ahead, and how much to fetch next.

import type { ClaimedTask, FetchDemand } from "./store.ts";

/** A buffer of what is finished in this time keeps the slots busy while the next batch is on its way. Slow tasks make it nothing. */
const aheadMs = 50;

/** Tasks fetched ahead, beyond those that have a slot. More makes a batch no cheaper, and a crash dearer. */
const maxAhead = 1_000;

/** A measurement of less than this says nothing. */
const minWindowMs = 5;

export class WorkQueue {
  readonly name: string;
  readonly concurrency: number;
  readonly rate: FetchDemand["rate"];
  /** Whether there may be something to fetch. False after a fetch that brought less than was asked for, until something is heard. */
  mayHaveMore = true;
  running = 0;
  readonly buffer: ClaimedTask[] = [];
  #ended = 0;
  #endedAtWindow = 0;
  #windowStartMs = 0;
  #perMs = 0;

  constructor(name: string, concurrency: number, rate: FetchDemand["rate"]) {
    this.name = name;
    this.concurrency = concurrency;
    this.rate = rate;
  }

  /** One has ended. */
  end(): void {
    this.running--;
    this.#ended++;
  }

  /** Takes the next that has a slot. */
  next(): ClaimedTask | undefined {
    if (this.running >= this.concurrency) return undefined;
    const claimed = this.buffer.shift();
    if (claimed) this.running++;
    return claimed;
  }

  /** What to ask for now; undefined: there is enough, or nothing to be had. */
  demand(nowMs: number): FetchDemand | undefined {
    if (!this.mayHaveMore || this.concurrency === 0) return undefined;
    this.#measure(nowMs);
    // Not ahead of a rate: what is started counts when it is fetched.
    const ahead = this.rate ? 0 : Math.min(maxAhead, Math.floor(this.#perMs * aheadMs));
    const wanted = this.concurrency + ahead - this.running - this.buffer.length;
    // Half a buffer at a time: single tasks would make as many round trips.
    return wanted > 0 && (this.buffer.length === 0 || wanted >= ahead / 2)
      ? { queue: this.name, limit: wanted, ...(this.rate && { rate: this.rate }) }
      : undefined;
  }

  /** Tasks per millisecond, lately. */
  #measure(nowMs: number): void {
    const elapsedMs = nowMs - this.#windowStartMs;
    if (elapsedMs < minWindowMs) return;
    const perMs = (this.#ended - this.#endedAtWindow) / elapsedMs;
    // Down at once, up by half: a pause must not leave a process with a thousand tasks that have become slow.
    this.#perMs = perMs < this.#perMs ? perMs : (this.#perMs + perMs) / 2;
    this.#endedAtWindow = this.#ended;
    this.#windowStartMs = nowMs;
  }
}
