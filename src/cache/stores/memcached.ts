// The shared store on memcached 1.6 or newer, one server or several. Its leases are memcached's own. docs/cache-stores.md explains it.
//
// | item                      | what it is                       | claim()                                    |
// | ------------------------- | -------------------------------- | ------------------------------------------ |
// | none                      |                                  | `N` makes a stub and answers W → lease     |
// | client flag 0, no bytes   | a stub: somebody fills           | Z → busy                                   |
// | client flag 1             | a value, its version in front    | value                                      |
// | client flag 1, stale      | a value that somebody refreshes  | W → lease, Z → value, or busy if unusable  |
//
// The token of a lease is the item's CAS number: whatever happens to the item changes it, and a set() with the old one is refused.

import { createHash, randomBytes } from "node:crypto";
import { type Clock, coreErrors, resolveOptions, systemClock } from "../../core/index.ts";
import { hashDependency } from "../dependency-hash.ts";
import { cacheErrors } from "../errors.ts";
import { type BreakerStore, withBreaker } from "../store-breaker.ts";
import { bounded } from "../store-timeout.ts";
import type { Claim, Store, StoreClaimOptions, StoreSetOptions, Stored } from "../store.ts";
import { type MemcachedAddress, MemcachedClient } from "./memcached-client.ts";
import { type MemcachedReply, flagOf } from "./memcached-parser.ts";
import { type MemcachedStoreOptions, memcachedStoreChecks, memcachedStoreDefaults } from "./options.ts";

/** memcached's own limit. */
const longestKey = 250;

/** Larger numbers of seconds would be read as a date. */
const longestSeconds = 60 * 60 * 24 * 30;

/** 72 random bits before the value. The CAS number would do, but marking an item stale changes it. */
const versionBytes = 12;

/** With several servers each has a breaker; below the 25 ms of the breaker before the whole store, so that this one acts first. */
const shardTimeout = "15ms";

/**
 * A key that memcached takes: printable ASCII as it is, anything else by its SHA-256. A letter keeps the two apart.
 */
function itemKey(prefix: string, key: string): string {
  return /^[!-~]*$/.test(key) && prefix.length + key.length < longestKey
    ? `${prefix}k${key}`
    : `${prefix}h${createHash("sha256").update(key).digest("base64url")}`;
}

/** memcached counts whole seconds by a clock that ticks once a second: 1 may be over at once. */
const seconds = (ms: number): number => Math.min(longestSeconds, Math.max(2, Math.ceil(ms / 1_000)));

/** A lease holds at least as long as asked for. */
const leaseSeconds = (ms: number): number => Math.min(longestSeconds, Math.max(1, Math.ceil(ms / 1_000)) + 1);

function readAddress(text: string): MemcachedAddress | undefined {
  if (text.startsWith("/")) return { name: text, path: text };
  const url = URL.parse(/^[a-z]+:\/\//.test(text) ? text : `memcached://${text}`);
  if (!url || url.search !== "" || url.username !== "" || url.password !== "") return undefined;
  if (url.protocol === "unix:" && url.pathname.length > 1) return { name: url.pathname, path: decodeURIComponent(url.pathname) };
  if (url.protocol !== "memcached:" || url.hostname === "" || !/^\/?$/.test(url.pathname)) return undefined;
  const port = url.port === "" ? 11211 : Number(url.port);
  return { name: `${url.hostname}:${port}`, host: url.hostname.replace(/^\[(.*)\]$/, "$1"), port };
}

/** The value of a reply, or undefined when there is none of ours. */
function readStored(reply: MemcachedReply): Stored | undefined {
  const { value } = reply;
  if (reply.code !== "VA" || flagOf(reply, "f") !== "1" || !value || value.byteLength < versionBytes) return undefined;
  const bytes = value.subarray(versionBytes);
  // A view may keep a whole chunk of the socket alive.
  const own = bytes.buffer.byteLength > value.byteLength * 2 + 64 ? new Uint8Array(bytes) : bytes;
  return { version: value.toString("latin1", 0, versionBytes), bytes: own };
}

/** The server is well and does not take the value: too large for it, or no room. */
const isRefusal = (words: string): boolean => /too large|out of memory/.test(words);

/**
 * A store on memcached. With several servers each key has its place on one of them (rendezvous hashing: when the list changes, only
 * the keys of the server that came or went move). It connects when it is first used.
 * @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID
 */
export function memcachedStore(given: MemcachedStoreOptions): Store {
  const options = resolveOptions("memcachedStore", given, memcachedStoreDefaults, memcachedStoreChecks);
  const texts = given.servers ?? (given.url === undefined ? [] : [given.url]);
  const addresses = texts.map(readAddress);
  if (texts.length === 0 || addresses.includes(undefined) || (given.servers !== undefined && given.url !== undefined)) {
    throw coreErrors.create("MILLRACE_OPTION_INVALID", {
      subject: "memcachedStore",
      option: given.servers === undefined ? "url" : "servers",
      value: "absent, given twice, or not readable",
      expected: 'either url or servers, such as "127.0.0.1:11211", "memcached://host" or "unix:///path/to/socket"',
    });
  }
  const clock = options.clock ?? systemClock;
  const stores = (addresses as MemcachedAddress[]).map((address) => {
    const client = new MemcachedClient({
      address,
      connections: options.connections,
      connectTimeoutMs: options.connectTimeout,
      silenceMs: options.silenceTimeout,
      // The server's own limit may be higher than what we write.
      largestValue: 128 * 2 ** 20,
      clock,
    });
    return new MemcachedServerStore(client, options.prefix, options.timeout, options.maxBytes, clock);
  });
  if (stores.length === 1) return stores[0]!;
  return new ShardedStore(
    stores.map((store) => withBreaker(store, { timeout: given.timeout ?? shardTimeout, clock })),
    stores.map(({ server }) => server),
  );
}

class MemcachedServerStore implements Store {
  readonly name = "memcached";
  readonly server: string;
  readonly #client: MemcachedClient;
  readonly #prefix: string;
  readonly #timeoutMs: number;
  readonly #maxBytes: number;
  readonly #clock: Clock;

  constructor(client: MemcachedClient, prefix: string, timeoutMs: number, maxBytes: number, clock: Clock) {
    this.server = client.name;
    this.#client = client;
    this.#prefix = prefix;
    this.#timeoutMs = timeoutMs;
    this.#maxBytes = maxBytes;
    this.#clock = clock;
  }

  async get(key: string): Promise<Stored | undefined> {
    const item = itemKey(this.#prefix, key);
    const [reply] = await this.#within("get", this.#client.send({ line: `mg ${item} v c f` }));
    // Reading a stale item hands out the right to refresh it; this caller will not, so the next one may have it.
    if (flagOf(reply!, "W") !== undefined) void this.release(key, `s${flagOf(reply!, "c")!}`).catch(() => {});
    return readStored(reply!);
  }

  async claim(key: string, { leaseMs, not }: StoreClaimOptions): Promise<Claim> {
    const item = itemKey(this.#prefix, key);
    const ask = { line: `mg ${item} v c f N${leaseSeconds(leaseMs)}` };
    const giveBack = (late: readonly MemcachedReply[]) => {
      const token = leaseOf(late.at(-1)!);
      if (token !== undefined) void this.release(key, token).catch(() => {});
    };
    const [first] = await this.#within("claim", this.#client.send(ask), giveBack);
    const claim = claimOf(first!, not);
    if (claim !== "unusable") return claim;
    // A value that the caller cannot use and nobody refreshes: it is marked, if it is still the same one, and then claimed. From
    // here on it lives as long as the lease. The second round trip is paid by the one who fills.
    const mark = { line: `md ${item} C${flagOf(first!, "c")!} I T${leaseSeconds(leaseMs)}` };
    const replies = await this.#within("claim", this.#client.send(mark, ask), giveBack);
    const second = claimOf(replies[1]!, not);
    return second === "unusable" ? { kind: "busy" } : second;
  }

  async set(key: string, bytes: Uint8Array, { ttlMs, token }: StoreSetOptions): Promise<boolean> {
    if (bytes.byteLength > this.#maxBytes) {
      if (token !== undefined) await this.release(key, token);
      return false;
    }
    const data = Buffer.allocUnsafe(versionBytes + bytes.byteLength);
    data.write(randomBytes(9).toString("base64url"), 0, "latin1");
    data.set(bytes, versionBytes);
    const fence = token === undefined ? "" : ` C${casOf(token)}`;
    const line = `ms ${itemKey(this.#prefix, key)} ${data.byteLength} T${seconds(ttlMs)} F1${fence}`;
    const [reply] = await this.#within("set", this.#client.send({ line, data }));
    if (reply!.code === "SERVER_ERROR") {
      // The connection is in order: the server has read the value and dropped it. What stood there, a stub too, is gone with it.
      if (isRefusal(reply!.flags[0]!)) return false;
      throw this.#unavailable("set", reply!.flags[0]!);
    }
    return reply!.code === "HD";
  }

  async release(key: string, token: string): Promise<void> {
    // A stub goes; a stale value stays, and the next who asks may refresh it.
    const mark = token.startsWith("s") ? " I" : "";
    await this.#within("release", this.#client.send({ line: `md ${itemKey(this.#prefix, key)} C${casOf(token)}${mark}` }));
  }

  async delete(key: string): Promise<void> {
    await this.#within("delete", this.#client.send({ line: `md ${itemKey(this.#prefix, key)}` }));
  }

  async close(): Promise<void> {
    this.#client.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client.close();
  }

  async #within(
    operation: string,
    call: Promise<MemcachedReply[]>,
    onLate?: (replies: MemcachedReply[]) => void,
  ): Promise<MemcachedReply[]> {
    const expire = () => this.#unavailable(operation, `no answer from ${this.server} within ${this.#timeoutMs} ms`);
    const named = call.catch((error: unknown) => {
      throw this.#unavailable(operation, `${this.server}: ${error instanceof Error ? error.message : String(error)}`, error);
    });
    const replies = await bounded(this.#clock, this.#timeoutMs, named, expire, onLate).promise;
    const failed = operation === "set" ? undefined : replies.find(({ code }) => code === "SERVER_ERROR");
    if (failed) throw this.#unavailable(operation, `${this.server}: ${failed.flags[0]!}`);
    return replies;
  }

  #unavailable(operation: string, reason: string, cause?: unknown) {
    return cacheErrors.create("MILLRACE_CACHE_STORE_UNAVAILABLE", { store: this.name, operation, reason }, cause);
  }
}

/** Tokens come back from callers: only digits ever reach the wire. A token that is not one of ours matches nothing. */
const casOf = (token: string): string => (/^[ns]\d{1,20}$/.test(token) ? token.slice(1) : "1");

/** The token when the reply gives a lease: n for a new stub, s for a stale value. */
function leaseOf(reply: MemcachedReply): string | undefined {
  if (flagOf(reply, "W") === undefined) return undefined;
  return `${flagOf(reply, "X") === undefined ? "n" : "s"}${flagOf(reply, "c")!}`;
}

function claimOf(reply: MemcachedReply, not: string | undefined): Claim | "unusable" {
  const token = leaseOf(reply);
  if (token !== undefined) return { kind: "lease", token };
  const stored = readStored(reply);
  if (!stored) return { kind: "busy" }; // a stub
  if (not === undefined || stored.version !== not) return { kind: "value", stored };
  return flagOf(reply, "X") === undefined ? "unusable" : { kind: "busy" };
}

/**
 * Several servers, each behind a breaker. While one is away and another is well, its keys are as if there were no store: nothing is
 * found, every process fills for itself, nothing is kept. When all are away the store is.
 */
class ShardedStore implements Store {
  readonly name = "memcached";
  readonly #shards: readonly BreakerStore[];
  readonly #names: readonly string[];
  readonly #score = new Uint32Array(2);

  constructor(shards: readonly BreakerStore[], names: readonly string[]) {
    this.#shards = shards;
    this.#names = names;
  }

  get(key: string): Promise<Stored | undefined> {
    return this.#on(key, (shard) => shard.get(key), undefined);
  }

  claim(key: string, options: StoreClaimOptions): Promise<Claim> {
    return this.#on<Claim>(key, (shard) => shard.claim(key, options), { kind: "lease", token: "n0" });
  }

  set(key: string, bytes: Uint8Array, options: StoreSetOptions): Promise<boolean> {
    return this.#on(key, (shard) => shard.set(key, bytes, options), false);
  }

  release(key: string, token: string): Promise<void> {
    return this.#on(key, (shard) => shard.release(key, token), undefined);
  }

  delete(key: string): Promise<void> {
    return this.#on(key, (shard) => shard.delete(key), undefined);
  }

  async close(): Promise<void> {
    for (const shard of this.#shards) await shard.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Rendezvous hashing (Thaler and Ravishankar, 1998): the server with the highest score for the key. */
  #shardOf(key: string): BreakerStore {
    let best = 0;
    let bestScore = -1;
    for (const [i, name] of this.#names.entries()) {
      hashDependency(`${name}\n${key}`, this.#score, 0);
      const score = this.#score[1]! * 2 ** 21 + (this.#score[0]! >>> 11);
      if (score > bestScore) {
        best = i;
        bestScore = score;
      }
    }
    return this.#shards[best]!;
  }

  async #on<Result>(key: string, call: (shard: BreakerStore) => Promise<Result>, without: Result): Promise<Result> {
    const shard = this.#shardOf(key);
    try {
      return await call(shard);
    } catch (error) {
      if (shard.state === "closed" || this.#shards.every(({ state }) => state !== "closed")) throw error;
      return without;
    }
  }
}
