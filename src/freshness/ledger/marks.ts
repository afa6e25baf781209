// Marks in the log: when a mark that was sent at a moment comes back through the feed, everything that was acknowledged before that
// moment has been applied here. They bound how old an answer may be and end the time in which own writes are pending.

import { type Clock, type Timer, coreErrors, systemClock } from "../../core/index.ts";
import { freshnessErrors } from "../errors.ts";
import type { Feed } from "../feed.ts";

interface Mark {
  readonly number: number;
  readonly sentAtMs: number;
  readonly order: number;
  readonly passed: PromiseWithResolvers<void>;
}

export interface MarksOptions {
  readonly feed: Pick<Feed, "mark">;
  /** Between marks that nobody asked for. */
  readonly everyMs: number;
  /** This process's writes so far. */
  readonly order: () => number;
  /** Everything acknowledged here at or before `order` has been applied. */
  readonly onPassed: (order: number) => void;
  readonly clock?: Clock;
}

const closed = () => coreErrors.create("MILLRACE_CLOSED", { subject: "The change feed" });
const began = () => freshnessErrors.create("MILLRACE_FRESHNESS_RESTARTED", {});

/** After a mark could not be written: half of what a new connection takes, so that recovery is not held up. */
const retryMs = 50;

export class Marks {
  /** Everything that was acknowledged anywhere before this moment has been applied; -Infinity: nothing yet. */
  asOfMs = -Infinity;
  readonly #options: Required<MarksOptions>;
  readonly #sent: Mark[] = [];
  #applied = 0;
  /** Grows when continuity is lost: numbers asked for before are not waited for. */
  #era = 0;
  #asking: Promise<Mark> | undefined;
  #next: Promise<Mark> | undefined;
  #timer: Timer | undefined;
  #closed = false;

  constructor(options: MarksOptions) {
    this.#options = { clock: systemClock, ...options };
    this.#beat();
  }

  /** A mark that is sent from now on. Rejects when it cannot be written. */
  send(): Promise<Mark> {
    if (!this.#asking) {
      return (this.#asking = this.#ask().finally(() => {
        this.#asking = undefined;
      }));
    }
    return (this.#next ??= this.#asking
      .catch(() => {})
      .then(() => {
        this.#next = undefined;
        return this.send();
      }));
  }

  /** Resolves when everything acknowledged before the call has been applied. */
  async settled(): Promise<void> {
    await (
      await this.send()
    ).passed.promise;
  }

  /** Sends a mark for a write that was just acknowledged, again and again until one is written. */
  request(): void {
    this.send().catch(() => {
      if (!this.#closed) this.#options.clock.timer(retryMs, () => this.request());
    });
  }

  /** The feed has applied everything up to `number`. */
  advance(number: number): void {
    this.#applied = number;
    while (this.#sent.length > 0 && this.#sent[0]!.number <= number) this.#pass(this.#sent.shift()!);
  }

  /** The marks that were sent are not awaited any more: continuity is lost. What was pending stays pending until a new one passes. */
  restart(): void {
    this.asOfMs = -Infinity;
    this.#applied = 0;
    this.#era++;
    for (const { passed } of this.#sent.splice(0)) passed.reject(began());
    this.request();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.clear();
    for (const { passed } of this.#sent.splice(0)) passed.reject(closed());
  }

  #pass({ sentAtMs, order, passed }: Mark): void {
    if (sentAtMs > this.asOfMs) this.asOfMs = sentAtMs;
    this.#options.onPassed(order);
    passed.resolve();
  }

  async #ask(): Promise<Mark> {
    const { feed, order, clock } = this.#options;
    const sentAtMs = clock.monotonic();
    const at = order();
    const era = this.#era;
    const number = await feed.mark();
    if (this.#closed) throw closed();
    if (era !== this.#era) throw began();
    const passed = Promise.withResolvers<void>();
    passed.promise.catch(() => {}); // most marks are awaited by nobody
    const mark: Mark = { number, sentAtMs, order: at, passed };
    if (number <= this.#applied) this.#pass(mark);
    else this.#sent.push(mark);
    return mark;
  }

  #beat(): void {
    if (this.#closed) return;
    this.send().catch(() => {}); // the feed tells people why
    this.#timer = this.#options.clock.timer(this.#options.everyMs, () => this.#beat());
  }
}
