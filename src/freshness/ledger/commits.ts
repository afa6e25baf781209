// The commits that the feed has brought, seen from the fills that are running: up to which of them has a fill read? A commit stands in
// the log before it is visible, so a fill that begins after its delivery may still not see it. See docs/freshness.md, "The rule".

import type { FeedCommit } from "../feed.ts";
import type { Sees, Snapshot } from "./snapshot.ts";

/** A snapshot after which fills read. */
export interface Sample {
  readonly snapshot: Snapshot;
  /** The number of this process's writes that were acknowledged when it was asked for, and one. */
  readonly order: number;
  /** On the monotonic clock. */
  readonly askedAtMs: number;
  /**
   * What had been applied when it was asked for, and on a standby also replayed: whatever began to be followed by then has no writes from
   * before that the snapshot does not see.
   */
  readonly reached: number;
}

/** A sample that fills use, and how much of the log it certainly has behind it. */
export interface OpenSample extends Sample {
  readonly generation: number;
  /** Whether everything that is in no message is behind it. */
  readonly beyondHorizon: boolean;
  /** The number that the feed told of before the first commit that it does not see; undefined: it sees all that have been applied. */
  bound: number | undefined;
  /** Fills that read after it and have not ended. */
  fills: number;
}

interface Unseen {
  /**
   * The number before its own that the feed told of. Not its own less one: commits of the log table share a number, and one less may lie
   * behind a mark whose writes are among them.
   */
  readonly before: number;
  readonly xid: number;
}

/** Beyond this many commits that no sample has seen, the older half is forgotten: a sample must then have all of it behind itself. */
const maxUnseen = 10_000;

export class Commits {
  /** 0: the feed has not begun. */
  generation = 0;
  /** Everything up to this number has been applied. */
  applied = 0;
  /** A sample counts only if every transaction below is behind it: what was under way is in no message, or forgotten. */
  #horizon = 0;
  #newestXid = 0;
  /** Applied, in order, and not seen by the newest sample. */
  #unseen: Unseen[] = [];
  readonly #open = new Set<OpenSample>();
  readonly #sees: Sees;

  constructor(sees: Sees) {
    this.#sees = sees;
  }

  apply(commits: readonly FeedCommit[], upTo: number): void {
    let before = this.applied;
    let latest = this.applied;
    for (const { number, xid, everything } of commits) {
      if (number > latest) {
        before = latest;
        latest = number;
      }
      const id = xid === undefined ? undefined : Number(xid);
      for (const sample of this.#open) {
        if (sample.bound !== undefined) continue;
        // A name that was invalidated by hand is no transaction: fills that are running began before it.
        const isSeen = id !== undefined && !everything && this.#sees(sample.snapshot, id);
        if (!isSeen) sample.bound = before;
      }
      if (id === undefined) continue;
      if (id > this.#newestXid) this.#newestXid = id;
      this.#unseen.push({ before, xid: id });
    }
    if (upTo > this.applied) this.applied = upTo;
    if (this.#unseen.length > maxUnseen) {
      for (const { xid } of this.#unseen.splice(0, maxUnseen / 2)) this.#horizon = Math.max(this.#horizon, xid + 1);
    }
  }

  /**
   * Takes in a sample. They come one after the other: each was asked for after the one before had been answered, by the same server, so
   * that what one has seen all later ones see.
   */
  open(sample: Sample): OpenSample {
    const { snapshot } = sample;
    this.#unseen = this.#unseen.filter(({ xid }) => !this.#sees(snapshot, xid));
    const first = this.#unseen[0];
    const open: OpenSample = {
      ...sample,
      generation: this.generation,
      beyondHorizon: snapshot.xmin >= this.#horizon,
      bound: first?.before,
      fills: 0,
    };
    this.#open.add(open);
    return open;
  }

  /** No fill uses it any more, and none will. */
  close(sample: OpenSample): void {
    this.#open.delete(sample);
  }

  /** The number up to which a fill after `sample` reflects every commit, if it ended now. */
  boundOf(sample: OpenSample): number {
    return sample.bound ?? this.applied;
  }

  /** Continuity is lost, or begins: fills that are running may miss what no message will ever bring. */
  restart(generation: number, floor: number, horizon: number): void {
    for (const sample of this.#open) sample.bound = -1;
    this.generation = generation;
    this.applied = floor;
    this.#horizon = Math.max(this.#horizon, horizon);
    this.#unseen = [];
  }

  /** Samples come from another server from now on, on which less may be visible than on the one before. */
  serverChanged(): void {
    this.#horizon = Math.max(this.#horizon, this.#newestXid + 1);
  }
}
