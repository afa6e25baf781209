// A connection to Redis over ioredis, with the settings that a service under load needs. docs/cache-stores.md explains them.

import { type Closeable, type ResolvedOptions, type Timer, coreErrors, resolveOptions, systemClock } from "../core/index.ts";
import { redisConnectionChannel } from "./channels.ts";
import type { RedisArgument, RedisClient } from "./client.ts";
import { redisErrors } from "./errors.ts";
import { type RedisLocation, readRedisUrl } from "./location.ts";
import { type RedisOptions, redisChecks, redisDefaults } from "./options.ts";
import { type RedisScript, isUnknownScript } from "./script.ts";

/** Commands to one server. Texts in replies are Buffers. */
export interface RedisConnection extends Closeable {
  /** Host and port, or the socket's path; "a client of yours" for a client that was passed. For messages. */
  readonly server: string;
  /** Whether a command would be sent now. */
  readonly ready: boolean;
  /** Resolves when commands can be sent. @throws MILLRACE_REDIS_UNAVAILABLE after the connect timeout. */
  whenReady(): Promise<void>;
  /**
   * One command. Without a connection it fails at once, except that commands given before the first attempt has ended wait for it.
   * @throws MILLRACE_REDIS_UNAVAILABLE, MILLRACE_REDIS_REFUSED
   */
  command(name: string, args: readonly RedisArgument[]): Promise<unknown>;
  /** A script with its keys, all of one slot. Sent by hash, in full only to a server that does not know it. */
  run(script: RedisScript, keys: readonly string[], args: readonly RedisArgument[]): Promise<unknown>;
  /**
   * Calls `listener` with the messages of a channel, over a connection of its own that comes back by itself. Messages published
   * while it is away are lost. `onSubscribed` is called whenever the subscription stands (again).
   */
  subscribe(channel: string, listener: (message: Buffer) => void, onSubscribed?: () => void): Closeable;
}

/** First pause between attempts to connect; doubled up to maxRetryDelay. */
const firstRetryDelayMs = 50;

/** Between half and all of the exponential pause, so that processes which lost their server together do not return together. */
function retryDelay(attempt: number, maxMs: number): number {
  const fullMs = Math.min(maxMs, firstRetryDelayMs * 2 ** Math.min(attempt - 1, 20));
  return Math.ceil(fullMs * (0.5 + Math.random() / 2));
}

/** ioredis' errors carry the command with its arguments, passwords and values among them: only the words are kept. */
const reasonOf = (error: unknown): string => (error instanceof Error ? error.message || error.name : String(error)).slice(0, 300);

/** What a server says when it cannot take commands now and may soon: loading, failing over, without its primary. */
const passing = /^(?:LOADING|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|READONLY|NOREPLICAS|BUSY|UNBLOCKED)\b/;

type Ioredis = (typeof import("ioredis"))["Redis"];

async function importIoredis(): Promise<Ioredis> {
  try {
    return (await import("ioredis")).Redis;
  } catch (error) {
    throw redisErrors.create("MILLRACE_REDIS_CLIENT_MISSING", {}, error);
  }
}

/**
 * Connects in the background and goes on trying; it returns at once and does not fail because Redis is down.
 * @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID, MILLRACE_REDIS_URL_INVALID, MILLRACE_REDIS_CLIENT_MISSING
 */
export function connectRedis(given: RedisOptions): RedisConnection {
  const options = resolveOptions("connectRedis", given, redisDefaults, redisChecks);
  if ((options.url === undefined) === (options.client === undefined)) {
    throw coreErrors.create("MILLRACE_OPTION_INVALID", {
      subject: "connectRedis",
      option: "url",
      value: options.url === undefined ? "absent, like client" : "given together with client",
      expected: "either url or client",
    });
  }
  if (options.client) return new Connection(options.client, "a client of yours", false, options);
  const location = readRedisUrl(options.url);
  try {
    import.meta.resolve("ioredis");
  } catch (error) {
    throw redisErrors.create("MILLRACE_REDIS_CLIENT_MISSING", {}, error);
  }
  return new Connection(
    importIoredis().then((Redis) => openClient(Redis, location, options)),
    location.server,
    true,
    options,
  );
}

type Resolved = ResolvedOptions<typeof redisChecks>;

function openClient(Redis: Ioredis, location: RedisLocation, options: Resolved): RedisClient {
  const { server, host, port, path, username, password, db, tls } = location;
  const client = new Redis({
    ...(path === undefined ? { host: host!, port: port! } : { path }),
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    // Server Name Indication takes names only; for an address node:tls checks the certificate's addresses.
    ...(tls && { tls: { ...(/^[\d.]+$|:/.test(host!) ? {} : { servername: host! }), ...options.tls } }),
    db,
    connectionName: options.connectionName,
    connectTimeout: options.connectTimeout,
    commandTimeout: options.commandTimeout,
    socketTimeout: options.silenceTimeout,
    enableOfflineQueue: false, // what waits for a server that is away is sent in a flood when it returns, long after anybody cared
    maxRetriesPerRequest: 0, // what was on its way when the connection broke fails at once
    autoResendUnfulfilledCommands: false, // and is not done a second time: nobody knows whether it was done the first time
    // A primary that was made a replica: another connection may find the new primary (by name, or through a proxy).
    reconnectOnError: (error) => error.message.startsWith("READONLY"),
    retryStrategy(attempt) {
      const delayMs = retryDelay(attempt, options.maxRetryDelay);
      if (redisConnectionChannel.hasSubscribers) {
        redisConnectionChannel.publish({ server, event: "retry", delayMs, reason: lastReason });
      }
      return delayMs;
    },
  });
  let lastReason: string | undefined;
  let wasReady = false;
  client.on("error", (error: Error) => (lastReason = reasonOf(error)));
  client.on("ready", () => {
    wasReady = true;
    lastReason = undefined;
    if (redisConnectionChannel.hasSubscribers) redisConnectionChannel.publish({ server, event: "ready" });
  });
  client.on("close", () => {
    if (wasReady && redisConnectionChannel.hasSubscribers) {
      redisConnectionChannel.publish({ server, event: "lost", reason: lastReason });
    }
    wasReady = false;
  });
  client.on("end", () => {
    if (redisConnectionChannel.hasSubscribers) redisConnectionChannel.publish({ server, event: "closed" });
  });
  return client;
}

class Connection implements RedisConnection {
  readonly server: string;
  readonly #owned: boolean;
  readonly #commandTimeoutMs: number;
  readonly #connectTimeoutMs: number;
  readonly #opening: Promise<RedisClient>;
  readonly #subscriptions = new Set<Closeable>();
  #client: RedisClient | undefined;
  #lastReason = "it is not connected";
  #closed: Promise<void> | undefined;
  /** Settles when the first attempt has ended, either way; then commands no longer wait for a connection. */
  #firstAttempt: Promise<void>;
  #firstAttemptEnded = false;

  constructor(client: RedisClient | Promise<RedisClient>, server: string, owned: boolean, options: Resolved) {
    this.server = server;
    this.#owned = owned;
    this.#commandTimeoutMs = options.commandTimeout;
    this.#connectTimeoutMs = options.connectTimeout;
    this.#opening = Promise.resolve(client);
    const ended = Promise.withResolvers<void>();
    const end = () => {
      this.#firstAttemptEnded = true;
      ended.resolve();
    };
    this.#firstAttempt = ended.promise;
    const adopt = (opened: RedisClient) => {
      this.#client = opened;
      if (!owned || opened.status === "ready") end();
      if (!owned) return; // listeners on a client of the user's would hide what it reports when nobody listens
      opened.on("ready", end);
      opened.on("close", end);
      opened.on("end", end);
      opened.on("error", (error) => (this.#lastReason = reasonOf(error)));
    };
    if (client instanceof Promise) {
      client.then(adopt, (error: unknown) => {
        this.#lastReason = reasonOf(error);
        end();
      });
    } else {
      adopt(client);
    }
  }

  get ready(): boolean {
    return this.#client?.status === "ready" && this.#closed === undefined;
  }

  async whenReady(): Promise<void> {
    const client = await this.#opening;
    if (client.status === "ready") return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onReady = () => resolve();
    const onEnd = () => reject(this.#unavailable("it is closed"));
    client.on("ready", onReady);
    client.on("end", onEnd);
    using _timer: Timer = systemClock.timer(this.#connectTimeoutMs, () => reject(this.#unavailable(this.#lastReason)), true);
    try {
      if (client.status === "wait") await this.command("ping", []);
      else await promise;
    } finally {
      client.off("ready", onReady);
      client.off("end", onEnd);
    }
  }

  async command(name: string, args: readonly RedisArgument[]): Promise<unknown> {
    if (this.#closed) throw coreErrors.create("MILLRACE_CLOSED", { subject: "The connection to Redis" });
    if (!this.#firstAttemptEnded) await this.#firstAttempt;
    const client = this.#client;
    // A client of the user's may have an offline queue; what is put there would be done at some later time.
    if (client === undefined || (client.status !== "ready" && client.status !== "wait")) throw this.#unavailable(this.#lastReason);
    try {
      const reply = client.callBuffer(name, args as RedisArgument[]);
      return await (this.#owned ? reply : this.#bounded(reply)); // an own client has the timeout among its options
    } catch (error) {
      throw this.#translated(name, error);
    }
  }

  async run(script: RedisScript, keys: readonly string[], args: readonly RedisArgument[]): Promise<unknown> {
    const rest = [keys.length, ...keys, ...args];
    try {
      return await this.command("evalsha", [script.sha, ...rest]);
    } catch (error) {
      if (!redisErrors.is(error, "MILLRACE_REDIS_REFUSED") || !isUnknownScript(String(error.details["reason"]))) throw error;
      return this.command("eval", [script.source, ...rest]);
    }
  }

  subscribe(channel: string, listener: (message: Buffer) => void, onSubscribed?: () => void): Closeable {
    const subscription = new Subscription(this.#opening, channel, listener, onSubscribed, () =>
      this.#subscriptions.delete(subscription),
    );
    this.#subscriptions.add(subscription);
    return subscription;
  }

  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    for (const subscription of [...this.#subscriptions]) await subscription.close();
    if (!this.#owned) return;
    const client = await this.#opening.catch(() => undefined);
    client?.disconnect();
  }

  async #bounded(reply: Promise<unknown>): Promise<unknown> {
    const { promise: timedOut, reject } = Promise.withResolvers<never>();
    using _timer = systemClock.timer(this.#commandTimeoutMs, () => reject(new Error("Command timed out")));
    return await Promise.race([reply, timedOut]);
  }

  #unavailable(reason: string) {
    return redisErrors.create("MILLRACE_REDIS_UNAVAILABLE", { server: this.server, reason });
  }

  #translated(command: string, error: unknown) {
    const reason = reasonOf(error);
    const refused = error instanceof Error && error.name === "ReplyError" && !passing.test(reason);
    if (!refused) return this.#unavailable(reason);
    return redisErrors.create("MILLRACE_REDIS_REFUSED", { server: this.server, command, reason });
  }
}

/** One channel over a client of its own. ioredis subscribes again after it has reconnected, which its "ready" tells. */
class Subscription implements Closeable {
  readonly #onClose: () => void;
  readonly #opening: Promise<RedisClient | undefined>;
  #closed: Promise<void> | undefined;

  constructor(
    opening: Promise<RedisClient>,
    channel: string,
    listener: (message: Buffer) => void,
    onSubscribed: (() => void) | undefined,
    onClose: () => void,
  ) {
    this.#onClose = onClose;
    const start = (client: RedisClient): RedisClient => {
      const own = client.duplicate();
      const subscribe = () => {
        own.callBuffer("subscribe", [channel]).then(
          () => onSubscribed?.(),
          () => {}, // the connection broke meanwhile; "ready" comes again
        );
      };
      own.on("error", () => {}); // the commands' own connection reports the same
      own.on("messageBuffer", (from, message) => {
        if (this.#closed === undefined && String(from) === channel) listener(message as Buffer);
      });
      own.on("ready", subscribe);
      if (own.status === "wait") subscribe();
      return own;
    };
    this.#opening = opening.then(start, () => undefined);
  }

  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#onClose();
    (await this.#opening)?.disconnect();
  }
}
