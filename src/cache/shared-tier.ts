// The shared store as the cache uses it: entries instead of bytes, behind a breaker, and never an error: a store that fails is a
// store that has nothing.

import { createHash } from "node:crypto";
import type { Clock } from "../core/index.ts";
import type { Codec } from "./cache.ts";
import { Entry } from "./entry.ts";
import { decodeEntry, encodeEntry } from "./entry-codec.ts";
import { type BreakerStore, behindBreaker } from "./store-breaker.ts";
import type { Store, Stored } from "./store.ts";
import { settleValue } from "./value.ts";
import { decodeValue, encodeValue } from "./value-codec.ts";

/** The answer to claim(). "down": the store cannot be asked now. */
export type SharedClaim =
  | { readonly kind: "entry"; readonly entry: Entry | undefined; readonly version: string }
  | { readonly kind: "lease"; readonly token: string }
  | { readonly kind: "busy" }
  | { readonly kind: "down" };

/** The wall clocks of two machines may differ by so much; what was made later than that in our future counts as expired. */
const clockToleranceMs = 10_000;

const noBytes = new Uint8Array(0);

export class SharedTier {
  readonly store: BreakerStore;
  readonly #name: string;
  readonly #clock: Clock;
  readonly #maxValueBytes: number;
  readonly #refreshFrom: (madeAtMs: number, ttlMs: number, computeMs: number) => number;
  /** Sets and releases that nobody waits for; close() does. */
  readonly #pending = new Set<Promise<unknown>>();
  #namespace = "";
  #prefix = "";

  constructor(
    store: Store,
    name: string,
    clock: Clock,
    maxValueBytes: number,
    refreshFrom: (madeAtMs: number, ttlMs: number, computeMs: number) => number,
  ) {
    this.store = behindBreaker(store, clock);
    this.#name = name;
    this.#clock = clock;
    this.#maxValueBytes = maxValueBytes;
    this.#refreshFrom = refreshFrom;
  }

  /** What stands there, without its value: for why(). Undefined: nothing, or the store is down. */
  async look(key: string, namespace: string): Promise<Entry | undefined> {
    try {
      const stored = await this.store.get(this.#keyOf(key, namespace));
      return stored && (await this.#entryOf(stored, namespace, { id: 0, encode: () => noBytes, decode: () => undefined }));
    } catch {
      return undefined;
    }
  }

  async claim(
    key: string,
    namespace: string,
    codec: Codec<unknown> | undefined,
    leaseMs: number,
    not: string | undefined,
  ): Promise<SharedClaim> {
    try {
      const claim = await this.store.claim(this.#keyOf(key, namespace), { leaseMs, not });
      if (claim.kind !== "value") return claim;
      return { kind: "entry", entry: await this.#entryOf(claim.stored, namespace, codec), version: claim.stored.version };
    } catch {
      return { kind: "down" };
    }
  }

  /** Says whether the store has taken the entry. Never rejects; nobody needs to wait: what is not kept costs another process a fill. */
  set(key: string, entry: Entry, codec: Codec<unknown> | undefined, token: string | undefined): Promise<boolean> {
    const taken = this.#set(key, entry, codec, token).catch(() => false);
    this.#behind(taken);
    return taken;
  }

  release(key: string, namespace: string, token: string): void {
    this.#behind(this.store.release(this.#keyOf(key, namespace), token));
  }

  /** Resolves when nothing is under way. The store stays open: whoever made it closes it. */
  async idle(): Promise<void> {
    await Promise.all(this.#pending);
  }

  #behind(work: Promise<unknown>): void {
    const quiet: Promise<unknown> = work.catch(() => {}).finally(() => this.#pending.delete(quiet));
    this.#pending.add(quiet);
  }

  /** The namespace may be long and hold anything; its hash is short, and ends where it ends. */
  #keyOf(key: string, namespace: string): string {
    if (this.#prefix === "" || namespace !== this.#namespace) {
      this.#namespace = namespace;
      this.#prefix = `${this.#name}:${createHash("sha256").update(namespace).digest("base64url").slice(0, 16)}:`;
    }
    return this.#prefix + key;
  }

  async #set(key: string, entry: Entry, codec: Codec<unknown> | undefined, token: string | undefined): Promise<boolean> {
    const storeKey = this.#keyOf(key, entry.namespace);
    const release = async () => {
      if (token !== undefined) await this.store.release(storeKey, token);
      return false;
    };
    const nowMs = this.#clock.monotonic();
    let bytes: Uint8Array;
    try {
      const { value } = entry;
      bytes = await encodeEntry({
        payload: value === undefined ? "undefined" : value === null ? "null" : encodeValue(value, codec),
        generation: entry.stamp.generation,
        upTo: entry.stamp.upTo,
        createdMs: this.#clock.now() - (nowMs - entry.madeAtMs),
        freshForMs: entry.freshUntilMs - entry.madeAtMs,
        staleForMs: entry.staleUntilMs - entry.freshUntilMs,
        computeMs: entry.computeMs,
        timeDependent: entry.timeDependent,
        dependencies: entry.dependencies,
        names: entry.names,
      });
    } catch {
      return release(); // it cannot be encoded: memory has it all the same
    }
    const ttlMs = Math.ceil(entry.staleUntilMs - this.#clock.monotonic());
    if (ttlMs < 1) return release();
    return this.store.set(storeKey, bytes, { ttlMs, token });
  }

  async #entryOf({ bytes }: Stored, namespace: string, codec: Codec<unknown> | undefined): Promise<Entry | undefined> {
    const decoded = await decodeEntry(bytes, this.#maxValueBytes);
    if (decoded === undefined) return undefined;
    const { payload } = decoded;
    let value: unknown;
    let valueBytes = 0;
    if (payload === "null") value = null;
    else if (payload !== "undefined") {
      try {
        value = codec?.id === 0 ? undefined : decodeValue(payload.codecId, payload.bytes, codec);
        valueBytes = codec ? (codec.sizeOf?.(value) ?? payload.bytes.byteLength) : settleValue(value, Infinity).bytes;
      } catch {
        return undefined;
      }
    }
    const nowMs = this.#clock.monotonic();
    const ageMs = this.#clock.now() - decoded.createdMs;
    const madeAtMs = nowMs - Math.max(0, ageMs);
    const freshUntilMs = ageMs < -clockToleranceMs ? nowMs : madeAtMs + decoded.freshForMs;
    return new Entry({
      value,
      codecId: codec?.id ?? 0,
      namespace,
      stamp: { generation: decoded.generation, upTo: decoded.upTo },
      order: 0,
      dependencies: decoded.dependencies,
      names: decoded.names,
      madeAtMs,
      freshUntilMs,
      staleUntilMs: Math.max(freshUntilMs, madeAtMs + decoded.freshForMs + decoded.staleForMs),
      refreshFromMs: this.#refreshFrom(madeAtMs, decoded.freshForMs, decoded.computeMs),
      computeMs: decoded.computeMs,
      valueBytes,
      timeDependent: decoded.timeDependent,
    });
  }
}
