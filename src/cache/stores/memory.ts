// A store in this process: the reference for the contract, and what stands for a shared one in tests. Several caches may share it.

import { randomUUID } from "node:crypto";
import { type Clock, coreErrors, systemClock } from "../../core/index.ts";
import type { Claim, Store, StoreClaimOptions, StoreSetOptions, Stored } from "../store.ts";

export interface MemoryStoreOptions {
  /** Largest value that is taken, in bytes. Default 16 MiB. */
  readonly maxValueBytes?: number;
  readonly clock?: Clock;
}

interface Slot {
  stored: Stored | undefined;
  expiresAtMs: number;
  lease: string | undefined;
  leaseUntilMs: number;
}

/** Creates an empty store. It has no bound on what it holds altogether: it is not for production. */
export function memoryStore(options: MemoryStoreOptions = {}): Store {
  return new MemoryStore(options.maxValueBytes ?? 16 * 2 ** 20, options.clock ?? systemClock);
}

class MemoryStore implements Store {
  readonly name = "memory";
  readonly #slots = new Map<string, Slot>();
  readonly #maxValueBytes: number;
  readonly #clock: Clock;
  #isClosed = false;

  constructor(maxValueBytes: number, clock: Clock) {
    this.#maxValueBytes = maxValueBytes;
    this.#clock = clock;
  }

  async get(key: string): Promise<Stored | undefined> {
    const stored = this.#slot(key)?.stored;
    // A copy: what a reader does to its bytes must not reach the others.
    return stored && { bytes: stored.bytes.slice(), version: stored.version };
  }

  async claim(key: string, { leaseMs, not }: StoreClaimOptions): Promise<Claim> {
    const slot = this.#slot(key);
    if (slot?.stored && slot.stored.version !== not) {
      return { kind: "value", stored: { bytes: slot.stored.bytes.slice(), version: slot.stored.version } };
    }
    if (slot?.lease !== undefined) return { kind: "busy" };
    const token = randomUUID();
    const leaseUntilMs = this.#clock.monotonic() + leaseMs;
    if (slot) {
      slot.lease = token;
      slot.leaseUntilMs = leaseUntilMs;
    } else {
      this.#slots.set(key, { stored: undefined, expiresAtMs: 0, lease: token, leaseUntilMs });
    }
    return { kind: "lease", token };
  }

  async set(key: string, bytes: Uint8Array, { ttlMs, token }: StoreSetOptions): Promise<boolean> {
    const slot = this.#slot(key);
    if (token !== undefined && slot?.lease !== token) return false;
    if (bytes.byteLength > this.#maxValueBytes) {
      if (slot && token !== undefined) slot.lease = undefined;
      return false;
    }
    this.#slots.set(key, {
      stored: { bytes: bytes.slice(), version: randomUUID() },
      expiresAtMs: this.#clock.monotonic() + ttlMs,
      // A set without a token takes nobody's lease away.
      lease: token === undefined ? slot?.lease : undefined,
      leaseUntilMs: slot?.leaseUntilMs ?? 0,
    });
    return true;
  }

  async release(key: string, token: string): Promise<void> {
    const slot = this.#slot(key);
    if (slot?.lease !== token) return;
    slot.lease = undefined;
    this.#slot(key);
  }

  async delete(key: string): Promise<void> {
    this.#slot(key);
    this.#slots.delete(key); // the lease too: what its holder brings is of before
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#slots.clear();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** What stands under `key`, without what is over. */
  #slot(key: string): Slot | undefined {
    if (this.#isClosed) throw coreErrors.create("MILLRACE_CLOSED", { subject: "the memory store" });
    const slot = this.#slots.get(key);
    if (slot === undefined) return undefined;
    const nowMs = this.#clock.monotonic();
    if (slot.stored && nowMs >= slot.expiresAtMs) slot.stored = undefined;
    if (slot.lease !== undefined && nowMs >= slot.leaseUntilMs) slot.lease = undefined;
    if (slot.stored !== undefined || slot.lease !== undefined) return slot;
    this.#slots.delete(key);
    return undefined;
  }
}
