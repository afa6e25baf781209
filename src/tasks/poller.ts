// Fetches tasks: as soon as there is room and something to be had, by wake-ups when there is nothing, and by looking now and then in any
// case, because a wake-up is only a hint.

import type { Clock, Timer } from "../core/index.ts";
import type { ClaimedTask, FetchDemand, FetchOptions, TaskStore } from "./store.ts";
import type { WorkQueue } from "./work-queue.ts";

/** From one question for what is due next to the following: how exact a delay is that somebody else has enqueued. */
const dueIntervalMs = 40;

/** Pauses while the store is away. */
const firstPauseMs = 100;
const longestPauseMs = 5_000;

export interface PollerOptions {
  readonly store: TaskStore;
  readonly clock: Clock;
  readonly random: () => number;
  readonly queues: readonly WorkQueue[];
  readonly fetch: FetchOptions;
  readonly pollIntervalMs: number;
  /** Makes the store ready, or rejects. Awaited before the first fetch, and again after a failure. */
  readonly ready: () => Promise<void>;
  /** `beforeMs` is the monotonic time at which the fetch was sent: leases count from there, at the latest. */
  readonly onTasks: (claimed: readonly ClaimedTask[], beforeMs: number) => void;
  readonly onFailure: (error: unknown) => void;
  readonly onSuccess: () => void;
}

export class Poller {
  readonly #options: PollerOptions;
  readonly #byName: ReadonlyMap<string, WorkQueue>;
  #stopped = false;
  #running: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  /** Something happened while the loop was busy. */
  #poked = false;
  /** When all queues were last looked at, whatever was heard. */
  #lookedAtMs = -Infinity;
  /** When something that waits for its time is due, as far as is known. */
  #dueAtMs = Infinity;
  #dueIsKnown = false;
  #askedDueMs = -Infinity;

  constructor(options: PollerOptions) {
    this.#options = options;
    this.#byName = new Map(options.queues.map((queue) => [queue.name, queue]));
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Room was made: something may be fetched that could not be before. */
  poke(): void {
    this.#poked = true;
    this.#wake?.();
  }

  /** A queue, or without a name every one, may have something. */
  heardOf(queue?: string): void {
    for (const each of queue === undefined ? this.#options.queues : [this.#byName.get(queue)]) if (each) each.mayHaveMore = true;
    this.poke();
  }

  /** Something of ours falls due then: a retry. */
  dueIn(ms: number): void {
    this.#dueAtMs = Math.min(this.#dueAtMs, this.#options.clock.monotonic() + ms);
    this.poke();
  }

  /** Resolves when no fetch is on its way any more: what it brought has been handed over. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.poke();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, random, queues, pollIntervalMs, ready, onFailure, onSuccess } = this.#options;
    let isReady = false;
    for (let failures = 0; !this.#stopped;) {
      try {
        if (!isReady) {
          await ready();
          isReady = true;
          continue;
        }
        this.#poked = false;
        const nowMs = clock.monotonic();
        if (nowMs - this.#lookedAtMs >= pollIntervalMs || nowMs >= this.#dueAtMs) {
          for (const queue of queues) queue.mayHaveMore = true;
          if (nowMs - this.#lookedAtMs >= pollIntervalMs) this.#lookedAtMs = nowMs;
          this.#dueAtMs = Infinity;
        }
        const demands = queues.flatMap((queue) => queue.demand(nowMs) ?? []);
        if (demands.length > 0) await this.#fetch(demands, nowMs);
        else await this.#rest(nowMs);
        onSuccess();
        failures = 0;
      } catch (error) {
        isReady = false;
        onFailure(error);
        for (const queue of queues) queue.mayHaveMore = true;
        await this.#idle(Math.min(longestPauseMs, firstPauseMs * 2 ** Math.min(failures++, 10)) * (0.5 + random() / 2), true);
      }
    }
  }

  async #fetch(demands: readonly FetchDemand[], nowMs: number): Promise<void> {
    // A hint that comes while the answer is on its way is about what the answer may not have seen.
    for (const { queue } of demands) this.#byName.get(queue)!.mayHaveMore = false;
    const claimed = await this.#options.store.fetch(demands, this.#options.fetch);
    const brought = new Map<string, number>();
    for (const { queue } of claimed) brought.set(queue, (brought.get(queue) ?? 0) + 1);
    for (const { queue, limit } of demands) if (brought.get(queue) === limit) this.#byName.get(queue)!.mayHaveMore = true;
    this.#dueIsKnown = false;
    if (claimed.length > 0) this.#options.onTasks(claimed, nowMs);
  }

  /** There is no room, or nothing to be had: until something is heard, falls due, or it is time to look again. */
  async #rest(nowMs: number): Promise<void> {
    const { store, queues, pollIntervalMs } = this.#options;
    let untilMs = Math.min(this.#lookedAtMs + pollIntervalMs, this.#dueAtMs);
    const roomy = queues.filter(({ concurrency, running, buffer }) => running + buffer.length < concurrency);
    if (!this.#dueIsKnown && roomy.length > 0) {
      const askAtMs = this.#askedDueMs + dueIntervalMs;
      if (askAtMs <= nowMs) {
        this.#dueIsKnown = true;
        this.#askedDueMs = nowMs;
        const dueMs = await store.nextDue(roomy.map(demandOf));
        // What is due and was not given is held back by something that nextDue() cannot see: a moment's patience.
        if (dueMs !== undefined) this.#dueAtMs = Math.min(this.#dueAtMs, nowMs + Math.max(dueMs, dueIntervalMs / 4));
        return;
      }
      untilMs = Math.min(untilMs, askAtMs);
    }
    await this.#idle(untilMs - nowMs);
  }

  /** Waits for a wake-up, for at most `ms`. */
  async #idle(ms: number, onlyForStop = false): Promise<void> {
    if (this.#stopped || (this.#poked && !onlyForStop) || ms <= 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    let timer: Timer | undefined;
    this.#wake = () => {
      if (!onlyForStop || this.#stopped) resolve();
    };
    timer = this.#options.clock.timer(ms, resolve, true);
    await promise;
    timer.clear();
    this.#wake = undefined;
  }
}

const demandOf = ({ name, concurrency, rate }: WorkQueue) => ({ queue: name, limit: concurrency, ...(rate && { rate }) });
