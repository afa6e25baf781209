// What redis publishes. Metrics, logs and traces subscribe.

import { defineChannel } from "../core/index.ts";

/** A connection that the kit opened has changed. Clients of the user's own are theirs to watch. */
export interface RedisConnectionMessage {
  /** Host and port, or the socket's path. Never the user or the password. */
  readonly server: string;
  /** ready: commands are taken. lost: it was ready and broke. retry: the next attempt is made in `delayMs`. closed: by close(). */
  readonly event: "ready" | "lost" | "retry" | "closed";
  readonly delayMs?: number;
  /** Why, as far as it is known. */
  readonly reason?: string | undefined;
}

export const redisConnectionChannel = defineChannel<RedisConnectionMessage>("millrace:redis:connection");
