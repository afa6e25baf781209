// The elected process writes down what it knows of all writes, when a process that has joined asks for it and when it ends in order.

import type { Clock, Timer } from "../../core/index.ts";
import type { FeedHistory } from "../feed.ts";
import { keepHistory } from "./history.ts";
import type { Session } from "./session.ts";

/** A dump is megabytes and a pass over the versions: processes that start together share one. */
const mostOftenMs = 2_000;

/** Between looks whether this process itself has heard of everything that was asked for. */
const appliedEveryMs = 20;

/** How long the end of a process may wait for the bus to bring what it published last. */
const finishMs = 2_000;

export interface HistoryWriterParts {
  readonly clock: Clock;
  readonly channel: string;
  readonly generation: number;
  connect(purpose: string): Promise<Session>;
  /** What this process knows now; it may be of another generation, for a moment. */
  history(): Promise<FeedHistory>;
  /** Up to where this process has heard; undefined before it joined. */
  applied(): number | undefined;
  /** Resolves when this process does not wait for a history itself. */
  settled(): Promise<void>;
}

export class HistoryWriter implements AsyncDisposable {
  readonly #parts: HistoryWriterParts;
  /** The largest number that somebody wants to know everything up to; undefined: nobody asks. */
  #wanted: number | undefined;
  #timer: Timer | undefined;
  #writing: Promise<void> | undefined;
  #wroteAtMs = -Infinity;
  #closed = false;

  constructor(parts: HistoryWriterParts) {
    this.#parts = parts;
  }

  /** A process that began at `floor` asks. */
  wanted(generation: number, floor: number): void {
    if (generation !== this.#parts.generation || this.#closed) return;
    this.#wanted = Math.max(this.#wanted ?? 0, floor);
    this.#schedule();
  }

  /** This process ends in order: writes what it knows, once it has heard of all that it published (up to `upTo`) itself. */
  async finish(upTo: number): Promise<void> {
    await this[Symbol.asyncDispose]();
    const { clock } = this.#parts;
    const endMs = clock.monotonic() + finishMs;
    while ((this.#parts.applied() ?? 0) < upTo) {
      if (clock.monotonic() > endMs) return; // incomplete, so of no use to whoever goes on from `upTo`
      await this.#pause(appliedEveryMs);
    }
    await this.#write(upTo);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#timer?.clear();
    await this.#writing;
  }

  #schedule(): void {
    if (this.#closed || this.#writing !== undefined || this.#wanted === undefined) return;
    const { clock } = this.#parts;
    const isBehind = (this.#parts.applied() ?? -1) < this.#wanted;
    const delayMs = Math.max(isBehind ? appliedEveryMs : 0, this.#wroteAtMs + mostOftenMs - clock.monotonic());
    this.#timer?.clear();
    this.#timer = clock.timer(delayMs, () => {
      const wanted = this.#wanted!;
      if ((this.#parts.applied() ?? -1) < wanted) {
        this.#schedule();
        return;
      }
      this.#wroteAtMs = clock.monotonic();
      this.#wanted = undefined;
      this.#writing = this.#write(wanted)
        .catch(() => {}) // who asked asks again
        .finally(() => {
          this.#writing = undefined;
          this.#schedule();
        });
    });
  }

  async #write(floor: number): Promise<void> {
    await this.#parts.settled();
    const { generation, upTo, dump } = await this.#parts.history();
    if (generation !== this.#parts.generation || upTo < floor) return;
    const session = await this.#parts.connect("history");
    try {
      await keepHistory(session, this.#parts.channel, { generation, upTo, dump });
    } finally {
      await session.close();
    }
  }

  async #pause(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    using _timer = this.#parts.clock.timer(ms, resolve);
    await promise;
  }
}
