// The shared store on Redis 6 or newer, alone, with replicas, or as a cluster. docs/cache-stores.md explains it.

import { randomBytes } from "node:crypto";
import { coreErrors, resolveOptions, systemClock } from "../../core/index.ts";
import { type RedisScript, connectRedis, defineScript, redisErrors, taggedKey } from "../../redis/index.ts";
import { cacheErrors } from "../errors.ts";
import { bounded } from "../store-timeout.ts";
import type { Claim, Store, StoreClaimOptions, StoreSetOptions, Stored } from "../store.ts";
import { type RedisStoreOptions, redisStoreChecks, redisStoreDefaults } from "./options.ts";

// Two keys of one slot: the value, which begins with its version, and the lease, whose value is the token. Either may be evicted at
// any moment: a lost value is a miss, and a lost lease makes its holder's set() a refusal.

/** Bytes of a version: 72 random bits as 12 characters of base64url, before the value. */
const versionBytes = 12;
const freshVersion = (): string => randomBytes(9).toString("base64url");

/** KEYS: value, lease. ARGV: token, lease in ms, version that counts as missing or "". A value, 1 (lease given) or 0 (busy). */
const claimScript = defineScript(
  "claim",
  `local value = redis.call('GET', KEYS[1])
if value and #value >= ${versionBytes} and (ARGV[3] == '' or string.sub(value, 1, ${versionBytes}) ~= ARGV[3]) then return value end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
return 0`,
);

/** KEYS: value, lease. ARGV: token, version and bytes, time to live in ms. 1: kept. */
const setScript = defineScript(
  "set",
  `if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1`,
);

/** KEYS: lease. ARGV: token. */
const releaseScript = defineScript(
  "release",
  `if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return 1`,
);

/** The server has reached maxmemory and may not evict: it is well, and does not take the value. */
const isFull = (error: unknown): boolean =>
  error instanceof Error &&
  redisErrors.is(error.cause, "MILLRACE_REDIS_REFUSED") &&
  String(error.cause.details["reason"]).startsWith("OOM");

/** The client may hand out a view of a whole chunk of its socket, which a small value would keep alive. */
const owned = (bytes: Buffer): Uint8Array => (bytes.buffer.byteLength > bytes.byteLength * 2 + 64 ? new Uint8Array(bytes) : bytes);

function readStored(reply: unknown): Stored | undefined {
  // Shorter than a version: not ours.
  if (!Buffer.isBuffer(reply) || reply.byteLength < versionBytes) return undefined;
  return { version: reply.toString("latin1", 0, versionBytes), bytes: owned(reply.subarray(versionBytes)) };
}

/**
 * A store on Redis. It connects in the background: until then, and whenever Redis is away, its methods reject.
 * @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID, MILLRACE_REDIS_URL_INVALID, MILLRACE_REDIS_CLIENT_MISSING
 */
export function redisStore(given: RedisStoreOptions): Store {
  const options = resolveOptions("redisStore", given, redisStoreDefaults, redisStoreChecks);
  const clock = options.clock ?? systemClock;
  if (options.connection && (options.url !== undefined || options.client !== undefined)) {
    throw coreErrors.create("MILLRACE_OPTION_INVALID", {
      subject: "redisStore",
      option: "connection",
      value: "given together with url or client",
      expected: "one of the three",
    });
  }
  const connection = options.connection ?? connectRedis({ url: options.url, client: options.client });

  const unavailable = (operation: string, reason: string, cause?: unknown) =>
    cacheErrors.create("MILLRACE_CACHE_STORE_UNAVAILABLE", { store: "redis", operation, reason }, cause);

  /** One operation within the timeout, its failures under the contract's code. */
  async function within<Result>(operation: string, call: Promise<Result>, onLate?: (result: Result) => void): Promise<Result> {
    try {
      const expire = () => unavailable(operation, `no answer from ${connection.server} within ${options.timeout} ms`);
      return await bounded(clock, options.timeout, call, expire, onLate).promise;
    } catch (error) {
      if (redisErrors.is(error)) throw unavailable(operation, error.message, error);
      throw error;
    }
  }
  const run = (script: RedisScript, keys: readonly string[], args: readonly (string | Buffer | number)[]) =>
    connection.run(script, keys, args);

  const release = async (key: string, token: string): Promise<void> => {
    await within("release", run(releaseScript, [`${taggedKey(options.prefix, key)}:l`], [token]));
  };

  return {
    name: "redis",

    async get(key) {
      return readStored(await within("get", connection.command("get", [`${taggedKey(options.prefix, key)}:v`])));
    },

    async claim(key, { leaseMs, not }: StoreClaimOptions): Promise<Claim> {
      const tagged = taggedKey(options.prefix, key);
      const token = freshVersion();
      const reply = await within(
        "claim",
        run(claimScript, [`${tagged}:v`, `${tagged}:l`], [token, Math.max(1, Math.ceil(leaseMs)), not ?? ""]),
        // Granted when nobody waits for it any more: given back, so that the next does not wait until it runs out.
        (late) => void (late === 1 && release(key, token).catch(() => {})),
      );
      if (reply === 1) return { kind: "lease", token };
      if (reply === 0) return { kind: "busy" };
      const stored = readStored(reply);
      if (!stored) throw unavailable("claim", "the answer is not one that its script gives");
      return { kind: "value", stored };
    },

    async set(key, bytes, { ttlMs, token }: StoreSetOptions) {
      if (bytes.byteLength > options.maxBytes) {
        if (token !== undefined) await release(key, token);
        return false;
      }
      const tagged = taggedKey(options.prefix, key);
      const value = Buffer.allocUnsafe(versionBytes + bytes.byteLength);
      value.write(freshVersion(), 0, "latin1");
      value.set(bytes, versionBytes);
      const ttl = Math.max(1, Math.ceil(ttlMs));
      const call =
        token === undefined
          ? connection.command("set", [`${tagged}:v`, value, "PX", ttl]).then(() => 1)
          : run(setScript, [`${tagged}:v`, `${tagged}:l`], [token, value, ttl]);
      try {
        return (await within("set", call)) === 1;
      } catch (error) {
        if (!isFull(error)) throw error;
        if (token !== undefined) await release(key, token);
        return false;
      }
    },

    release,

    async delete(key) {
      // The lease too: a fill that began before must not put back what is deleted.
      const tagged = taggedKey(options.prefix, key);
      await within("delete", connection.command("del", [`${tagged}:v`, `${tagged}:l`]));
    },

    async close() {
      if (!options.connection) await connection.close();
    },
    async [Symbol.asyncDispose]() {
      if (!options.connection) await connection.close();
    },
  };
}
