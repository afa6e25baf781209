// A breaker before a shared store: a store that is down, slow or stopped costs its callers one short wait, together, and then
// nothing until it has answered a probe that nobody waits for. docs/cache-stores.md explains it.
//
// | state     | a call                                              | leaves it                                                |
// | --------- | --------------------------------------------------- | -------------------------------------------------------- |
// | closed    | goes to the store, for `timeout` at most            | at the first failure or timeout → open                   |
// | open      | is refused; after the pause it also sends the probe | the first call after the pause → half-open               |
// | half-open | is refused                                          | the probe answers → closed; fails → open, for longer     |
//
// Whoever waits when it opens is refused in the same moment, however little he has waited.

import { type Clock, type MillraceError, resolveOptions, systemClock } from "../core/index.ts";
import { storeBreakerChannel } from "./channels.ts";
import { cacheErrors } from "./errors.ts";
import { type Bounded, bounded } from "./store-timeout.ts";
import type { Claim, Store, StoreClaimOptions, StoreSetOptions, Stored } from "./store.ts";
import { type StoreBreakerOptions, storeBreakerChecks, storeBreakerDefaults } from "./stores/options.ts";

export type StoreBreakerState = "closed" | "open" | "half-open";

/** A store behind its breaker. */
export interface BreakerStore extends Store {
  /** Unless it is "closed", every call is refused at once: who looks first saves the rejection. */
  readonly state: StoreBreakerState;
  /** Calls and probes that failed or were not answered in time; calls that were refused do not count. */
  readonly errors: number;
}

/** A write may take longer by its size: ten megabytes a second, less than any network between a service and its store. */
const writtenBytesPerMs = 10 * 1024;

/** Asked for by probes; nothing is ever stored there. */
const probeKey = "millrace probe";

/**
 * Puts a breaker before `store`. Closing it closes the store.
 * @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID
 */
export function withBreaker(store: Store, given: StoreBreakerOptions = {}): BreakerStore {
  const options = resolveOptions("withBreaker", given, storeBreakerDefaults, storeBreakerChecks);
  return new Breaker(store, options.timeout, options.openFor, options.maxOpenFor, options.clock ?? systemClock);
}

/** `store` when it has a breaker already, whose times are its maker's; else the store behind one with the defaults. */
export const behindBreaker = (store: Store, clock: Clock): BreakerStore =>
  store instanceof Breaker ? store : withBreaker(store, { clock });

const wordsOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

class Breaker implements BreakerStore {
  readonly name: string;
  state: StoreBreakerState = "closed";
  errors = 0;
  readonly #store: Store;
  readonly #timeoutMs: number;
  readonly #openForMs: number;
  readonly #maxOpenForMs: number;
  readonly #clock: Clock;
  /** Who waits now. */
  readonly #waiting = new Set<Bounded<never>>();
  /** Openings without a good while between them. */
  #openings = 0;
  #probeAtMs = 0;
  #closedAtMs = -Infinity;
  #refusal: MillraceError | undefined;
  #isClosed = false;

  constructor(store: Store, timeoutMs: number, openForMs: number, maxOpenForMs: number, clock: Clock) {
    this.name = store.name;
    this.#store = store;
    this.#timeoutMs = timeoutMs;
    this.#openForMs = openForMs;
    this.#maxOpenForMs = Math.max(openForMs, maxOpenForMs);
    this.#clock = clock;
  }

  get(key: string): Promise<Stored | undefined> {
    return this.#call("get", this.#timeoutMs, () => this.#store.get(key));
  }

  claim(key: string, options: StoreClaimOptions): Promise<Claim> {
    return this.#call(
      "claim",
      this.#timeoutMs,
      () => this.#store.claim(key, options),
      // A lease that was given when its asker had already gone on without it.
      (late) => {
        if (late.kind === "lease") this.#store.release(key, late.token).catch(() => {});
      },
    );
  }

  set(key: string, bytes: Uint8Array, options: StoreSetOptions): Promise<boolean> {
    return this.#call("set", this.#timeoutMs + bytes.byteLength / writtenBytesPerMs, () => this.#store.set(key, bytes, options));
  }

  release(key: string, token: string): Promise<void> {
    return this.#call("release", this.#timeoutMs, () => this.#store.release(key, token));
  }

  delete(key: string): Promise<void> {
    return this.#call("delete", this.#timeoutMs, () => this.#store.delete(key));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#store.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #call<Result>(
    operation: string,
    timeoutMs: number,
    call: () => Promise<Result>,
    onLate?: (result: Result) => void,
  ): Promise<Result> {
    if (this.state !== "closed") {
      if (this.state === "open" && this.#clock.monotonic() >= this.#probeAtMs && !this.#isClosed) void this.#probe();
      throw this.#refusal!;
    }
    const wait = this.#bounded(operation, timeoutMs, call, onLate);
    this.#waiting.add(wait as Bounded<never>);
    try {
      return await wait.promise;
    } catch (error) {
      this.#fail(error);
      throw error;
    } finally {
      this.#waiting.delete(wait as Bounded<never>);
    }
  }

  #bounded<Result>(
    operation: string,
    timeoutMs: number,
    call: () => Promise<Result>,
    onLate?: (result: Result) => void,
  ): Bounded<Result> {
    const expire = () => this.#unavailable(operation, `no answer within ${Math.ceil(timeoutMs)} ms`);
    // Inside a promise, so that a store that throws is a store that fails.
    return bounded(this.#clock, timeoutMs, (async () => call())(), expire, onLate);
  }

  #unavailable(operation: string, reason: string, cause?: unknown): MillraceError {
    return cacheErrors.create("MILLRACE_CACHE_STORE_UNAVAILABLE", { store: this.name, operation, reason }, cause);
  }

  #fail(error: unknown): void {
    // The others who waited are refused with the same error; and a call that began before it opened says nothing new.
    if (this.state !== "closed" || error === this.#refusal) return;
    this.errors++;
    if (this.#clock.monotonic() - this.#closedAtMs >= this.#maxOpenForMs) this.#openings = 0;
    this.#open(error);
  }

  #open(error: unknown): void {
    const fullMs = Math.min(this.#maxOpenForMs, this.#openForMs * 2 ** Math.min(this.#openings++, 30));
    const openForMs = fullMs * (0.75 + Math.random() / 2);
    this.#probeAtMs = this.#clock.monotonic() + openForMs;
    // One error for all who are refused: a stack for each of thousands would cost more than the store did.
    this.#refusal = this.#unavailable("anything", `it is left alone since it failed: ${wordsOf(error)}`, error);
    this.#become("open", { reason: wordsOf(error), openForMs });
    for (const wait of [...this.#waiting]) wait.abandon(this.#refusal);
  }

  async #probe(): Promise<void> {
    this.#become("half-open", {});
    try {
      await this.#bounded("probe", this.#timeoutMs, () => this.#store.get(probeKey)).promise;
      this.#closedAtMs = this.#clock.monotonic();
      this.#become("closed", {});
    } catch (error) {
      this.errors++;
      this.#open(error);
    }
  }

  #become(state: StoreBreakerState, about: { readonly reason?: string; readonly openForMs?: number }): void {
    this.state = state;
    if (storeBreakerChannel.hasSubscribers) storeBreakerChannel.publish({ store: this.name, state, ...about });
  }
}
