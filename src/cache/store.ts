// The contract of a shared store: bytes under keys with a time to live, and leases so that one process fills and the others wait.
// Stores: memory (one process, tests), Redis, memcached. millrace/testing has the suite that every store must pass.

import type { Closeable } from "../core/index.ts";

/** What stands under a key. */
export interface Stored {
  readonly bytes: Uint8Array;
  /** Changes with every set(); opaque. */
  readonly version: string;
}

/** The answer to claim(). */
export type Claim =
  | { readonly kind: "value"; readonly stored: Stored }
  /** The caller fills now: `token` goes into set() or release(). */
  | { readonly kind: "lease"; readonly token: string }
  /** Somebody else fills. */
  | { readonly kind: "busy" };

export interface StoreClaimOptions {
  /** How long the lease holds when its holder neither sets nor releases: at most two fills run when it dies. */
  readonly leaseMs: number;
  /** A version that the caller has seen and cannot use: a value of this version counts as missing. */
  readonly not?: string | undefined;
}

export interface StoreSetOptions {
  /** Whole milliseconds, at least 1: from now until the store may forget it. */
  readonly ttlMs: number;
  /** Fencing: with a token, the value is kept only while no later lease was given on the key. Without one it is always kept. */
  readonly token?: string | undefined;
}

/**
 * A shared store. Every method rejects with MILLRACE_CACHE_STORE_UNAVAILABLE when the store cannot be reached or does not answer
 * within its timeout; none waits longer. A value is what was set, byte for byte, or nothing. It may be forgotten at any moment.
 */
export interface Store extends Closeable {
  /** "redis", "memcached", "memory": for messages and metrics. */
  readonly name: string;
  get(key: string): Promise<Stored | undefined>;
  /** In one round trip: the value, or the right to fill it, or that somebody else has that right. */
  claim(key: string, options: StoreClaimOptions): Promise<Claim>;
  /** False: it was not kept, because the token's lease was lost or the value is larger than the store takes. */
  set(key: string, bytes: Uint8Array, options: StoreSetOptions): Promise<boolean>;
  /** Gives a lease back without a value (the fill failed or may not be kept), so that the next claim gets it at once. */
  release(key: string, token: string): Promise<void>;
  delete(key: string): Promise<void>;
}
