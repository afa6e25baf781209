// The options of redis, their checks, and every default in one literal with its reason.

import type { ConnectionOptions } from "node:tls";
import { type Duration, type OptionCheck, type OptionChecks, duration, given, string } from "../core/index.ts";
import type { RedisClient } from "./client.ts";

/** Where Redis is: exactly one of `url` and `client`. */
export interface RedisOptions {
  /** `redis://user:password@host:6379/0`, `rediss://` for TLS, `unix:///path/to/redis.sock?db=0`. Needs the package ioredis 6. */
  readonly url?: string | undefined;
  /** A client of ioredis, Cluster and Sentinel included. It stays the caller's: the kit does not close it. */
  readonly client?: RedisClient | undefined;
  /** How long opening a connection may take. Default "5s". */
  readonly connectTimeout?: Duration;
  /** How long any command may take; parts of the kit that are in more of a hurry have their own. Default "2s". */
  readonly commandTimeout?: Duration;
  /** A connection that owes an answer and has sent nothing for this long is closed and opened anew. Default "10s". */
  readonly silenceTimeout?: Duration;
  /** The longest pause between two attempts to connect. They grow from 50 ms to it, with jitter. Default "2s". */
  readonly maxRetryDelay?: Duration;
  /** Certificates and what else node:tls takes; only with rediss://. */
  readonly tls?: ConnectionOptions;
  /** Shown in CLIENT LIST. Default "millrace". */
  readonly connectionName?: string;
}

export const redisDefaults = {
  connectTimeout: "5s", // a TLS handshake across regions takes under one
  commandTimeout: "2s", // far above any healthy command; it ends the wait of those that have no timeout of their own
  silenceTimeout: "10s", // a server that loads or saves may pause for seconds; a cut cable is silent for minutes
  maxRetryDelay: "2s", // a server that is back is used two seconds later; a hundred processes make fifty attempts a second
  connectionName: "millrace",
} as const satisfies RedisOptions;

const secretText: OptionCheck<string, string> = { ...string, secret: true };

export const redisChecks = {
  url: secretText,
  client: given<RedisClient>("a client of ioredis"),
  connectTimeout: duration("1ms"),
  commandTimeout: duration("1ms"),
  silenceTimeout: duration("1ms"),
  maxRetryDelay: duration("1ms"),
  tls: given<ConnectionOptions>("options of node:tls"),
  connectionName: string,
} as const satisfies OptionChecks<RedisOptions>;
