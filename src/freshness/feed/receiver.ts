// What this process makes of the bus: batches that follow on each other go to the listener; where one does not, or none came before, the
// process joins anew. No database here: what joining asks of it is given as a function.
//
// | state   | a batch that follows on          | a batch that does not                      |
// | ------- | -------------------------------- | ------------------------------------------ |
// | waiting | joining, from its `prev`         | the same                                   |
// | joining | kept until the answers are there | the same; looked at then                   |
// | joined  | given to the listener            | joining, from its `prev`                   |

import { type FeedBatchMessage, type FeedFollowedMessage, type FeedRestartMessage, feedBatchChannel } from "../channels.ts";
import { feedFollowedChannel, feedRestartChannel } from "../channels.ts";
import type { FeedListener } from "../feed.ts";
import type { Followed } from "./source.ts";
import { BatchReader, type WireBatch } from "./wire.ts";

/** What a process must know of the database at some moment after `from` was decided. */
export interface Joining {
  /** The next transaction number: whatever was under way before is below it. */
  readonly horizon: bigint;
  /** What is followed, each with a number that lies behind the commit that began it. */
  readonly followed: readonly Followed[];
}

export interface ReceiverParts {
  readonly feed: string;
  readonly listener: FeedListener;
  /** Asks the database. A rejection leaves the receiver waiting for the next batch. */
  join(): Promise<Joining>;
  /** What is still followed after a change of the schema that transaction `xid` made. */
  refollow(xid: bigint | undefined): Promise<readonly Followed[]>;
  /** How long ago this process sent the oldest mark that `upTo` passes, and the batches before did not. */
  delayOf(upTo: number): number | undefined;
  onProblem(error: unknown): void;
}

/** Batches kept while the database is asked. It answers within the session's timeout, so this is never reached by an honest bus. */
const maxKept = 10_000;

export class Receiver {
  readonly #parts: ReceiverParts;
  #reader = new BatchReader();
  #joined: { readonly generation: number } | undefined;
  #joining: WireBatch[] | undefined;
  /** Changes of the schema seen so far: an answer to an earlier one is obsolete. */
  #changes = 0;
  #applied = 0;
  #closed = false;

  constructor(parts: ReceiverParts) {
    this.#parts = parts;
  }

  /** `upTo` of the last batch that was given to the listener; undefined before the first. */
  get applied(): number | undefined {
    return this.#joined && this.#applied;
  }

  /** Takes a payload of the bus. */
  receive(payload: string): void {
    if (this.#closed) return;
    let batch: WireBatch | undefined;
    try {
      batch = this.#reader.read(payload);
    } catch (error) {
      // What was in it is unknown: the next batch will not follow on what is applied, unless this one had nothing in it.
      this.#reader = new BatchReader();
      this.#joined = undefined;
      this.#parts.onProblem(error);
      return;
    }
    if (batch === undefined) return;
    if (this.#joining === undefined) this.#take(batch);
    else if (this.#joining.push(batch) > maxKept) this.#joining = undefined;
  }

  /** The session was lost: what was being joined is not. What was applied stays, because the next batch may follow on it. */
  disconnected(): void {
    this.#reader = new BatchReader();
    this.#joining = undefined;
  }

  close(): void {
    this.#closed = true;
    this.disconnected();
  }

  #take(batch: WireBatch): void {
    if (this.#joined?.generation !== batch.generation || batch.prev > this.#applied) void this.#join(batch);
    else this.#apply(batch);
  }

  async #join(first: WireBatch): Promise<void> {
    const { feed, listener } = this.#parts;
    const kept = [first];
    this.#joining = kept;
    this.#joined = undefined;
    let joining: Joining;
    try {
      joining = await this.#parts.join();
    } catch (error) {
      if (this.#joining === kept) this.#joining = undefined;
      this.#parts.onProblem(error);
      return;
    }
    if (this.#joining !== kept) return;
    this.#joining = undefined;
    const { generation, prev: floor } = first;
    this.#joined = { generation };
    this.#applied = floor;
    listener.onRestart({ generation, floor, horizon: joining.horizon });
    if (feedRestartChannel.hasSubscribers) {
      feedRestartChannel.publish({ feed, generation, floor } satisfies FeedRestartMessage);
    }
    this.#tell(joining.followed);
    for (const [i, batch] of kept.entries()) {
      this.#take(batch);
      if (this.#joining === undefined) continue;
      (this.#joining as WireBatch[]).push(...kept.slice(i + 1)); // it did not follow on: the rest is looked at after joining again
      return;
    }
  }

  #apply(batch: WireBatch): void {
    const { feed, listener } = this.#parts;
    if (batch.upTo <= this.#applied) return; // published a second time, by the process that took over
    const commits = batch.commits.filter((commit) => commit.number > this.#applied);
    this.#applied = batch.upTo;
    const delayMs = this.#parts.delayOf(batch.upTo);
    listener.onCommits(commits, batch.upTo);
    if (feedBatchChannel.hasSubscribers) {
      const { generation, upTo } = batch;
      feedBatchChannel.publish({ feed, generation, upTo, commits: commits.length, delayMs } satisfies FeedBatchMessage);
    }
    const ddl = commits.findLast((commit) => commit.everything);
    if (ddl === undefined) this.#tell(batch.followed);
    else void this.#refollow(ddl.xid);
  }

  /** Tells again what is followed, unless another restart or change comes in between: that one will tell. */
  async #refollow(xid: bigint | undefined): Promise<void> {
    const change = ++this.#changes;
    const joined = this.#joined;
    const isCurrent = (): boolean => change === this.#changes && joined === this.#joined && !this.#closed;
    try {
      const followed = await this.#parts.refollow(xid);
      if (isCurrent()) this.#tell(followed);
    } catch (error) {
      if (isCurrent()) this.#joined = undefined; // joins again with the next batch, and asks again then
      this.#parts.onProblem(error);
    }
  }

  #tell(followed: readonly Followed[]): void {
    const { feed, listener } = this.#parts;
    for (const { table, column, number } of followed) {
      listener.onFollowed({ table, column, number });
      if (feedFollowedChannel.hasSubscribers) {
        feedFollowedChannel.publish({ feed, table, column, number } satisfies FeedFollowedMessage);
      }
    }
  }
}
