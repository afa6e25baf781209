// The options of the Redis task store, their checks, and every default in one literal with its reason.

import { type Clock, type Duration, type OptionChecks, duration, given, string, systemClock } from "../../core/index.ts";
import type { Database } from "../../database/index.ts";
import { type RedisClient, type RedisConnection, isPrefix } from "../../redis/index.ts";

export interface RedisTaskStoreOptions {
  /** As for connectRedis(): exactly one of `url`, `client` and `connection`. */
  readonly url?: string | undefined;
  readonly client?: RedisClient | undefined;
  /** A connection that is shared with other parts. It stays the caller's, and so does its timeout. */
  readonly connection?: RedisConnection | undefined;
  /**
   * The PostgreSQL in whose transactions tasks are enqueued. They go through a table there, millrace.task_outbox, and from there to Redis
   * once the transaction has committed. Default: none, and `enqueue(…, { in: tx })` is refused. It stays the caller's.
   */
  readonly outbox?: Database | undefined;
  /** Begins every key. Everything of a store is in one slot of a cluster; a store more is a slot more. Default "millrace:". */
  readonly prefix?: string;
  /** How long a command may take. Default "2s". */
  readonly timeout?: Duration;
  /** How often the outbox is looked at for what a process that died has left there, and what came while Redis was away. Default "1s". */
  readonly sweepInterval?: Duration;
  readonly clock?: Clock;
}

export const redisTaskStoreDefaults = {
  prefix: "millrace:",
  timeout: "2s", // far above any healthy command; it ends the wait of those that have no deadline of their own
  sweepInterval: "1s", // what a crash right after a commit costs its tasks; an idle look is one index probe
  clock: systemClock,
} as const satisfies RedisTaskStoreOptions;

export const redisTaskStoreChecks = {
  url: { ...string, secret: true },
  client: given<RedisClient>("a client of ioredis"),
  connection: given<RedisConnection>("what connectRedis() returned"),
  outbox: given<Database>("a database"),
  prefix: {
    expected: "a text without braces and spaces, at most 64 characters",
    read: (value: string) => (typeof value === "string" && isPrefix(value) && /^[!-~]{0,64}$/.test(value) ? value : undefined),
  },
  timeout: duration("1ms"),
  sweepInterval: duration("10ms"),
  clock: given<Clock>("a clock"),
} as const satisfies OptionChecks<RedisTaskStoreOptions>;
