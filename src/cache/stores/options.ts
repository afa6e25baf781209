// The options of the stores and of the breaker before them, their checks, and every default in one literal with its reason.

import { type Clock, type Duration, type OptionChecks, duration, given, integer, string } from "../../core/index.ts";
import { type RedisClient, type RedisConnection, isPrefix } from "../../redis/index.ts";
import { versionsChecks } from "../options.ts";

/** What begins every key: two services on one server, or two releases of one, do not see each other's. */
const prefix = {
  expected: "a text without braces and spaces, at most 64 characters",
  read: (value: string) => (typeof value === "string" && isPrefix(value) && /^[!-~]{0,64}$/.test(value) ? value : undefined),
};

export interface RedisStoreOptions {
  /** As for connectRedis(): exactly one of `url`, `client` and `connection`. */
  readonly url?: string | undefined;
  readonly client?: RedisClient | undefined;
  /** A connection that is shared with other parts. It stays the caller's. */
  readonly connection?: RedisConnection | undefined;
  /** Default "millrace:". */
  readonly prefix?: string;
  /** How long any operation may take. Default "250ms"; the breaker before the store is stricter. */
  readonly timeout?: Duration;
  /** Largest value that is taken, in bytes. Default 8 MiB. */
  readonly maxBytes?: number;
  readonly clock?: Clock;
}

export const redisStoreDefaults = {
  prefix: "millrace:",
  timeout: "250ms", // a hundred times a healthy answer; who has the breaker never waits for it
  maxBytes: 8 * 2 ** 20, // Redis is one thread: 8 MiB keep it and a gigabit line busy for 70 ms, and everybody else waits
} as const satisfies RedisStoreOptions;

export const redisStoreChecks = {
  url: { ...string, secret: true },
  client: given<RedisClient>("a client of ioredis"),
  connection: given<RedisConnection>("what connectRedis() returned"),
  prefix,
  timeout: duration("1ms"),
  maxBytes: integer(1, 512 * 2 ** 20),
  clock: given<Clock>("a clock"),
} as const satisfies OptionChecks<RedisStoreOptions>;

export interface MemcachedStoreOptions {
  /** One server: "127.0.0.1:11211", "memcached://host", "unix:///path/to/socket". */
  readonly url?: string | undefined;
  /** Several; the order does not matter, the spelling does: it decides which keys are where. */
  readonly servers?: readonly string[] | undefined;
  /** Default "millrace:". */
  readonly prefix?: string;
  /** How long any operation may take. Default "250ms"; with several servers, each of which has a breaker, "15ms". */
  readonly timeout?: Duration;
  /** Largest value that is taken, in bytes. Default: 1 MiB less 1 KiB. The server has a limit of its own (-I). */
  readonly maxBytes?: number;
  /** Connections to each server. Default 2. */
  readonly connections?: number;
  /** How long opening a connection may take. Default "2s". */
  readonly connectTimeout?: Duration;
  /** A connection that owes an answer and has sent nothing for this long is closed. Default "2s". */
  readonly silenceTimeout?: Duration;
  readonly clock?: Clock;
}

export const memcachedStoreDefaults = {
  prefix: "millrace:",
  timeout: "250ms", // a hundred times a healthy answer; who has the breaker never waits for it
  maxBytes: 2 ** 20 - 1024, // memcached takes items of 1 MiB by default, with key, version and its own header
  connections: 2, // requests are pipelined; the second keeps a large value from holding up all others
  connectTimeout: "2s", // no handshake, and servers stand next to the service
  silenceTimeout: "2s", // memcached never forks or compacts: silence is a stopped server or a cut cable
} as const satisfies MemcachedStoreOptions;

export const memcachedStoreChecks = {
  url: string,
  servers: given<readonly string[]>("a list of servers"),
  prefix,
  timeout: duration("1ms"),
  maxBytes: integer(1, 128 * 2 ** 20 - 1024),
  connections: integer(1, 64),
  connectTimeout: duration("1ms"),
  silenceTimeout: duration("1ms"),
  clock: given<Clock>("a clock"),
} as const satisfies OptionChecks<MemcachedStoreOptions>;

export interface RedisLedgerOptions {
  /** As for connectRedis(): exactly one of `url`, `client` and `connection`. */
  readonly url?: string | undefined;
  readonly client?: RedisClient | undefined;
  /** A connection that is shared with other parts, a store for one. It stays the caller's. */
  readonly connection?: RedisConnection | undefined;
  /** Default "millrace:". Processes with the same prefix on the same Redis have one ledger. */
  readonly prefix?: string;
  /** How long an invalidation of another process may go unnoticed at the most: without news for longer nothing is served. Default "1s". */
  readonly staleness?: Duration;
  /** As in VersionsOptions. Default 2^20: 8 MiB. */
  readonly slots?: number;
  readonly clock?: Clock;
}

export const redisLedgerDefaults = {
  prefix: "millrace:",
  staleness: "1s", // a pause of Redis or of the network of half a second costs nothing, and people do not notice an answer of a second ago
  slots: 2 ** 20, // as for every ledger
} as const satisfies RedisLedgerOptions;

export const redisLedgerChecks = {
  url: { ...string, secret: true },
  client: given<RedisClient>("a client of ioredis"),
  connection: given<RedisConnection>("what connectRedis() returned"),
  prefix,
  staleness: duration("20ms"),
  slots: versionsChecks.slots,
  clock: given<Clock>("a clock"),
} as const satisfies OptionChecks<RedisLedgerOptions>;

export interface StoreBreakerOptions {
  /**
   * How long a caller waits for the store, once; for a value that is written, 1 ms more for every 10 KiB. Default "25ms".
   */
  readonly timeout?: Duration;
  /** How long the store is left alone after a failure, jittered by ±25 %. Doubled with every failed probe. Default "500ms". */
  readonly openFor?: Duration;
  /** The longest that it is left alone. Default "10s". */
  readonly maxOpenFor?: Duration;
  readonly clock?: Clock;
}

export const storeBreakerDefaults = {
  timeout: "25ms", // 25 times a round trip in a data centre; beyond it, a query for one row would have been faster
  openFor: "500ms", // a garbage collection or a fork of the server is over by then; at most two probes a second while it is down
  maxOpenFor: "10s", // a server that is back is used at most 12.5 s later
} as const satisfies StoreBreakerOptions;

export const storeBreakerChecks = {
  timeout: duration("1ms"),
  openFor: duration("1ms"),
  maxOpenFor: duration("1ms"),
  clock: given<Clock>("a clock"),
} as const satisfies OptionChecks<StoreBreakerOptions>;
