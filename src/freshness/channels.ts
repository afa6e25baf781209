// What freshness publishes. Metrics, logs and traces subscribe.

import { defineChannel } from "../core/index.ts";
import type { FeedState } from "./feed.ts";

/** The feed of this process has begun, failed, come back, or been elected. */
export interface FeedStateMessage extends FeedState {
  /** The feed's `name`. */
  readonly feed: string;
}

/** A batch was applied in this process. */
export interface FeedBatchMessage {
  readonly feed: string;
  readonly generation: number;
  readonly upTo: number;
  /** Commits that named something. */
  readonly commits: number;
  /**
   * Milliseconds from sending the oldest of this process's own marks that the batch passes to now: how late a commit of that moment
   * arrives, by one clock. Undefined when it passes none.
   */
  readonly delayMs: number | undefined;
}

/** Continuity began, or was lost: a gap in the bus, a new generation. What was cached before `floor` is void. */
export interface FeedRestartMessage {
  readonly feed: string;
  readonly generation: number;
  readonly floor: number;
}

/** The elected process began to read its source. */
export interface FeedElectedMessage {
  readonly feed: string;
  readonly source: "logical" | "triggers";
  readonly generation: number;
  /** Why it is a new generation; undefined when the one before goes on. */
  readonly reason: string | undefined;
}

/** A table, or a column of it, is followed from `number` on. */
export interface FeedFollowedMessage {
  readonly feed: string;
  readonly table: string;
  readonly column: string | undefined;
  readonly number: number;
}

/** What was written before this process began has been taken over from another one. */
export interface FeedHistoryMessage {
  readonly feed: string;
  readonly generation: number;
  /** Complete up to this number. */
  readonly upTo: number;
  readonly bytes: number;
  /** False: it was of no use, because the versions are of another size, or something has made everything stale since. */
  readonly taken: boolean;
}

export const feedStateChannel = defineChannel<FeedStateMessage>("millrace:freshness:feed-state");
export const feedBatchChannel = defineChannel<FeedBatchMessage>("millrace:freshness:feed-batch");
export const feedRestartChannel = defineChannel<FeedRestartMessage>("millrace:freshness:feed-restart");
export const feedElectedChannel = defineChannel<FeedElectedMessage>("millrace:freshness:feed-elected");
export const feedHistoryChannel = defineChannel<FeedHistoryMessage>("millrace:freshness:feed-history");
export const feedFollowedChannel = defineChannel<FeedFollowedMessage>("millrace:freshness:feed-followed");
