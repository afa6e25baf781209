// A process that joins while others run asks what was written before it began, so that answers which they keep in a shared store can be
// judged. First it looks whether that is written down already (by a process that ended in order), then it asks the elected one.

import type { Clock, Timer } from "../../core/index.ts";
import { type FeedHistoryMessage, feedHistoryChannel } from "../channels.ts";
import type { FeedListener } from "../feed.ts";
import { type HistoryMessage, readHistory } from "./history.ts";
import type { Session } from "./session.ts";

/** Between questions: the elected process answers within a few seconds, unless there is none, or it is of an older version. */
const firstAgainMs = 3_000;
const lastAgainMs = 60_000;

export interface HistoryAskerParts {
  readonly feed: string;
  /** Whether this process wants to know at all. */
  readonly wanted: boolean;
  readonly clock: Clock;
  readonly onHistory: FeedListener["onHistory"];
  connect(purpose: string): Promise<Session>;
  /** Puts the question to the elected process. */
  ask(message: HistoryMessage): Promise<unknown>;
  /** Nobody knows more than the elected process would tell, so it does not ask itself. */
  isElected(): boolean;
}

export class HistoryAsker {
  readonly #parts: HistoryAskerParts;
  /** Where this process began, until it has a history or needs none. */
  #start: { readonly generation: number; readonly floor: number } | undefined;
  #looking: Promise<void> | undefined;
  #lookAgain = false;
  #againMs = firstAgainMs;
  #timer: Timer | undefined;
  #closed = false;

  constructor(parts: HistoryAskerParts) {
    this.#parts = parts;
  }

  /** This process has begun, or begun anew: what it knew from before `floor` is void. */
  began({ generation, floor }: { readonly generation: number; readonly floor: number }): void {
    if (!this.#parts.wanted || this.#closed) return;
    this.#start = { generation, floor };
    this.#againMs = firstAgainMs;
    this.#look();
  }

  heard({ kind, generation, number }: HistoryMessage): void {
    if (kind === "written" && this.#start?.generation === generation && number >= this.#start.floor) this.#look();
  }

  /** Resolves when the look that is under way, if any, has ended: until then this process may know less than it will in a moment. */
  async settled(): Promise<void> {
    await this.#looking;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#start = undefined;
    this.#timer?.clear();
    await this.#looking;
  }

  #look(): void {
    this.#timer?.clear();
    if (this.#looking) {
      this.#lookAgain = true;
      return;
    }
    this.#looking = this.#take()
      .catch(() => {}) // no server: the feed itself reports it, and it is tried again
      .finally(() => {
        this.#looking = undefined;
        const again = this.#lookAgain;
        this.#lookAgain = false;
        if (this.#start === undefined) return;
        if (again) this.#look();
        else this.#later();
      });
  }

  async #take(): Promise<void> {
    const { feed, onHistory } = this.#parts;
    const start = this.#start;
    if (start === undefined) return;
    const session = await this.#parts.connect("history");
    try {
      const { generation, floor } = start;
      const history = await readHistory(session, generation, floor);
      if (this.#start !== start) return; // it has begun anew meanwhile
      if (history !== undefined) {
        const { upTo, dump } = history;
        const taken = (await onHistory({ generation, dump })) ?? true;
        if (this.#start === start) this.#start = undefined; // one that was refused does not become better by asking again
        if (feedHistoryChannel.hasSubscribers) {
          feedHistoryChannel.publish({ feed, generation, upTo, bytes: dump.length, taken } satisfies FeedHistoryMessage);
        }
      } else if (this.#parts.isElected()) this.#start = undefined;
      else await this.#parts.ask({ kind: "wanted", generation, number: floor });
    } finally {
      await session.close();
    }
  }

  #later(): void {
    this.#timer = this.#parts.clock.timer(this.#againMs, () => this.#look());
    this.#againMs = Math.min(lastAgainMs, 2 * this.#againMs);
  }
}
