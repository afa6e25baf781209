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

export const feedStateChannel = defineChannel<FeedStateMessage>("millrace:freshness:feed-state");
export const feedBatchChannel = defineChannel<FeedBatchMessage>("millrace:freshness:feed-batch");
export const feedRestartChannel = defineChannel<FeedRestartMessage>("millrace:freshness:feed-restart");
export const feedElectedChannel = defineChannel<FeedElectedMessage>("millrace:freshness:feed-elected");
export const feedFollowedChannel = defineChannel<FeedFollowedMessage>("millrace:freshness:feed-followed");
