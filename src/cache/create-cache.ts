// The cache around its tiers: what happens to a request for a key. docs/cache.md explains it.
//
// | what stands in memory                         | what happens                                                                  |
// | --------------------------------------------- | ----------------------------------------------------------------------------- |
// | fresh, and the ledger allows it               | served at once; now and then made anew behind it, the more likely the nearer  |
// |                                               | its end (XFetch)                                                              |
// | past its ttl, within `stale`                  | a flight; served stale after `softTimeout`, or when the flight fails          |
// | written to since, `staleAfterWrite`           | the same                                                                      |
// | fresh, for less than the caller's `freshFor`  | a flight that replaces it; served, as stale, when the flight fails            |
// | written to since; of another generation; past | a flight; its failure is the caller's                                         |
// | `stale`; nothing                              |                                                                               |
// | the ledger cannot judge (feed silent)         | a flight that does not ask the store; its answer is not kept                  |
//
// A flight (flight.ts, flight-runner.ts): ask the store → fresh there: land. A lease: fill. Busy: ask again soon. No store, or it is
// down: fill. It is one per key. Who comes while it runs joins it, unless the ledger says that its answer could miss what the caller must see;
// who joined after the fill began to read gets its answer only if the ledger still stands by it at the end, else that of the next.

import { type Ending, onEnding } from "../concurrency/index.ts";
import { type Clock, type Duration, coreErrors, formatDuration, parseDuration, resolveOptions } from "../core/index.ts";
import type { Cache, CachePolicy, CacheStats, Codec, Fill, Outcome, ReadOptions, Why } from "./cache.ts";
import { cacheInvalidationChannel, cacheRefusalChannel } from "./channels.ts";
import { EarlyRefresh } from "./early-refresh.ts";
import { Entry, bytesOfEntry, filledOf, hitOf, memoryHitOf, staleOf } from "./entry.ts";
import { cacheErrors } from "./errors.ts";
import { FillBreaker } from "./fill-breaker.ts";
import { Flight, type Landing, type Origin, type Waiter } from "./flight.ts";
import { FlightRunner } from "./flight-runner.ts";
import type { Demand, Ledger, Refusal } from "./ledger.ts";
import { createLocalLedger } from "./local-ledger.ts";
import { type MemoryTier, createMemoryTier } from "./memory.ts";
import { nameToInvalidate, namesOfKey } from "./names.ts";
import { OnlineCheck } from "./online-check.ts";
import { type CacheOptions, cacheChecks, cacheDefaults } from "./options.ts";
import { Policies, type Policy } from "./policy.ts";
import { messageOf, refusalSentence } from "./refusals.ts";
import { SharedTier } from "./shared-tier.ts";
import { UnkeptKeys } from "./unkept.ts";

/** The wait of a late joiner may begin anew this often; then it fills for itself. */
const mostFlights = 3;

const noDependencies = new Uint32Array(0);

/**
 * Creates a cache. Without options: 64 MiB of memory, and invalidation within the process.
 * @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID, MILLRACE_CACHE_LEDGER_MISSING
 */
export function createCache(options: CacheOptions = {}): Cache {
  return new TieredCache(options);
}

/** Whether it stays fresh for so long. What is no duration is left to the search, whose promise can say so. */
function isFreshFor(entry: Entry, nowMs: number, duration: Duration): boolean {
  try {
    return entry.freshUntilMs - nowMs >= parseDuration(duration);
  } catch {
    return false;
  }
}

/** An answer with where it comes from. */
interface Found<Value> {
  readonly outcome: Outcome<Value>;
  /** Undefined: it may not be kept by a fill that uses it. */
  readonly origin: Origin | undefined;
  /** Findings.shareable, without an origin. */
  readonly shareable?: boolean;
}

/** What a caller asks for, through all of its waiting. */
interface Ask {
  readonly key: string;
  readonly given: CachePolicy;
  readonly policy: Policy;
  readonly fill: Fill<unknown>;
  readonly codec: Codec<unknown> | undefined;
  readonly demand: Demand | undefined;
  readonly signal: Ending | undefined;
  readonly admit: ReadOptions<unknown>["admit"];
  readonly freshForMs: number;
  /** What stood in memory. */
  readonly stood: Entry | undefined;
  readonly refusal: Refusal | "expired" | undefined;
  /** How many flights it has waited for. */
  readonly flights: number;
}

class TieredCache implements Cache {
  readonly name: string;
  readonly ledger: Ledger;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #earlyRefresh: EarlyRefresh;
  readonly #memory: MemoryTier<Entry> | undefined;
  readonly #shared: SharedTier | undefined;
  readonly #checkRatio: number;
  readonly #onlineCheck: OnlineCheck;
  readonly #policies: Policies;
  readonly #flights = new Map<string, Flight>();
  /** All of them, those that nobody can join included: close() waits for them. */
  readonly #flying = new Set<Flight>();
  readonly #breaker: FillBreaker;
  readonly #unkept: UnkeptKeys;
  readonly #runner: FlightRunner;
  readonly #refusals: Partial<Record<Refusal | "expired", number>> = {};
  readonly #counts = {
    hits: 0,
    storeHits: 0,
    staleHits: 0,
    misses: 0,
    joined: 0,
    bypasses: 0,
    fills: 0,
    fillErrors: 0,
    refreshes: 0,
  };
  /** Drawn by readNow(), which cannot do either, and left to the next read(). */
  #checksOwed: 0 | 1 = 0;
  #refreshOwed: string | undefined;
  #closed: Promise<void> | undefined;

  constructor(given: CacheOptions) {
    const options = resolveOptions<CacheOptions, typeof cacheChecks>("createCache", given, cacheDefaults, cacheChecks);
    if (options.store && !options.ledger) {
      throw cacheErrors.create("MILLRACE_CACHE_LEDGER_MISSING", { cache: options.name, store: options.store.name });
    }
    this.name = options.name;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#earlyRefresh = new EarlyRefresh(options.earlyRefresh, options.random);
    this.#policies = new Policies(options.policy);
    this.ledger = options.ledger ?? createLocalLedger();
    this.#memory =
      options.memory === false
        ? undefined
        : createMemoryTier<Entry>({ ...options.memory, name: options.name, sizeOf: bytesOfEntry });
    this.#checkRatio = options.check.ratio;
    this.#onlineCheck = new OnlineCheck(this.name, this.ledger, this.#clock);
    this.#shared =
      options.store &&
      new SharedTier(options.store, this.name, this.#clock, options.maxValueBytes, (madeAtMs, ttlMs, computeMs) =>
        this.#earlyRefresh.from(madeAtMs, ttlMs, computeMs),
      );
    this.#breaker = new FillBreaker(this.#clock, this.ledger);
    this.#unkept = new UnkeptKeys(this.#clock);
    this.#runner = new FlightRunner({
      name: options.name,
      ledger: this.ledger,
      clock: options.clock,
      random: options.random,
      maxValueBytes: options.maxValueBytes,
      earlyRefresh: this.#earlyRefresh,
      memory: this.#memory,
      shared: this.#shared,
      leaseMs: options.lease,
      breaker: this.#breaker,
      unkept: this.#unkept,
      counts: this.#counts,
      isClosed: () => this.#closed !== undefined,
      refusalOf: (entry, nowMs, demand) => this.#refusalOf(entry, nowMs, demand),
      refuse: (key, refusal, tier) => this.#refuse(key, refusal, tier),
      over: (flight, land) => this.#over(flight, land),
    });
  }

  get<Value>(key: string, policy: CachePolicy, fill: Fill<Value>): Promise<Value> {
    const outcome = this.read(key, policy, fill);
    return outcome instanceof Promise ? outcome.then(({ value }) => value) : Promise.resolve(outcome.value);
  }

  read<Value>(
    key: string,
    policy: CachePolicy,
    fill: Fill<Value>,
    options?: ReadOptions<Value>,
  ): Outcome<Value> | Promise<Outcome<Value>> {
    const entry = this.#standing(key, options?.codec?.id ?? 0);
    let refusal: Refusal | "expired" | undefined;
    if (entry !== undefined) {
      const nowMs = this.#clock.monotonic();
      refusal = this.#refusalOf(entry, nowMs, options?.demand);
      if (refusal === undefined && (options?.freshFor === undefined || isFreshFor(entry, nowMs, options.freshFor))) {
        this.#counts.hits++;
        if (this.#checkRatio > 0 && this.#isToBeChecked()) this.#check(key, policy, fill, options, entry);
        if (nowMs >= entry.quietUntilMs) this.#refreshEarly(key, policy, fill, options, entry, nowMs);
        this.ledger.inherit(entry.stamp, entry.dependencies, undefined, entry);
        return memoryHitOf(entry, nowMs);
      }
    }
    return this.#search(key, policy, fill, options, entry, refusal);
  }

  peek<Value>(key: string, demand?: Demand): Outcome<Value> | undefined {
    const entry = this.#closed ? undefined : this.#memory?.get(key);
    if (entry === undefined || entry.namespace !== this.ledger.namespace) return undefined;
    const nowMs = this.#clock.monotonic();
    if (this.#refusalOf(entry, nowMs, demand) !== undefined) return undefined;
    this.#counts.hits++;
    this.ledger.inherit(entry.stamp, entry.dependencies, undefined, entry);
    return memoryHitOf(entry, nowMs);
  }

  readNow<Value>(key: string, codecId = 0): Outcome<Value> | undefined {
    const entry = this.#closed ? undefined : this.#memory?.look(key);
    if (entry === undefined || entry.namespace !== this.ledger.namespace || entry.codecId !== codecId) return undefined;
    const nowMs = this.#clock.monotonic();
    if (this.#refusalOf(entry, nowMs, undefined) !== undefined) return undefined;
    if (nowMs >= entry.quietUntilMs && this.#isToBeRefreshed(key, entry, nowMs)) {
      this.#refreshOwed = key;
      return undefined;
    }
    if (this.#checkRatio > 0 && (this.#checksOwed > 0 || this.#random() < this.#checkRatio)) {
      this.#checksOwed = 1;
      return undefined;
    }
    this.#memory!.get(key); // a use
    this.#counts.hits++;
    this.ledger.inherit(entry.stamp, entry.dependencies, undefined, entry);
    return memoryHitOf(entry, nowMs);
  }

  /** Drawn by readNow(), which has no fill to check by, for the next hit; else drawn now. */
  #isToBeChecked(): boolean {
    if (this.#checksOwed === 0) return this.#random() < this.#checkRatio;
    this.#checksOwed = 0;
    return true;
  }

  async invalidate(...names: readonly string[]): Promise<void> {
    const written = names.map((name) => nameToInvalidate(this.name, name));
    if (written.length === 0) return;
    await this.ledger.invalidate(written);
    if (cacheInvalidationChannel.hasSubscribers) cacheInvalidationChannel.publish({ cache: this.name, names: written });
  }

  async why(key: string): Promise<Why> {
    const { namespace } = this.ledger;
    const inMemory = this.#memory?.look(key);
    const standing = inMemory?.namespace === namespace ? inMemory : undefined;
    const inStore = await this.#shared?.look(key, namespace);
    const nowMs = this.#clock.monotonic();
    const refusalOf = (entry: Entry | undefined) => entry && this.#refusalOf(entry, nowMs, undefined);
    // The one that would be served; else the one at hand.
    const entry =
      standing && (refusalOf(standing) === undefined || refusalOf(inStore) !== undefined) ? standing : (inStore ?? standing);
    const refusal = refusalOf(entry);
    const isStale =
      entry !== undefined &&
      refusal === "expired" &&
      nowMs < entry.staleUntilMs &&
      this.ledger.judge(entry.stamp, entry.order, entry.dependencies) === undefined;
    const failure = this.#breaker.lastError(key);
    const unkept = this.#unkept.reason(key);
    return {
      key,
      tiers: [...(standing ? (["memory"] as const) : []), ...(inStore ? (["store"] as const) : [])],
      dependencies: entry?.names ?? [],
      generation: entry?.stamp.generation,
      upTo: entry?.stamp.upTo,
      bytes: entry && bytesOfEntry(entry),
      ageMs: entry && nowMs - entry.madeAtMs,
      remainingMs: entry && entry.freshUntilMs - nowMs,
      verdict: entry === undefined ? "miss" : refusal === undefined ? "hit" : isStale ? "stale" : "miss",
      reason:
        refusal !== undefined
          ? `It is not fresh: ${refusalSentence[refusal]}.`
          : failure !== undefined
            ? `Its last fill failed: ${messageOf(failure)}`
            : unkept !== undefined
              ? `The last answer was not kept: ${unkept}.`
              : undefined,
    };
  }

  stats(): CacheStats {
    const { checked, mismatches } = this.#onlineCheck;
    return {
      memory: this.#memory?.stats(),
      ...this.#counts,
      checked,
      mismatches,
      refusals: { ...this.#refusals },
      store: this.#storeStats(),
    };
  }

  #storeStats(): CacheStats["store"] {
    if (!this.#shared) return undefined;
    const { name, state, errors } = this.#shared.store;
    return { name, state, errors };
  }

  close(): Promise<void> {
    return (this.#closed ??= this.#end());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #end(): Promise<void> {
    this.#onlineCheck.close();
    for (const flight of [...this.#flying]) {
      if (flight.waiters.size === 0) this.#abandon(flight);
      else flight.inBackground = false; // ends with its last caller
    }
    await Promise.all([...this.#flying].map(({ ended }) => ended));
    await this.#shared?.idle();
  }

  /** What memory holds under `key`, if it is of this namespace and kind. */
  #standing(key: string, codecId: number): Entry | undefined {
    if (this.#closed !== undefined) return undefined;
    const entry = this.#memory?.get(key);
    return entry !== undefined && entry.namespace === this.ledger.namespace && entry.codecId === codecId ? entry : undefined;
  }

  #refusalOf(entry: Entry, nowMs: number, demand: Demand | undefined): Refusal | "expired" | undefined {
    if (nowMs >= entry.quietUntilMs && nowMs >= entry.freshUntilMs) return "expired";
    return this.ledger.judge(entry.stamp, entry.order, entry.dependencies, demand, entry);
  }

  #refuse(key: string, refusal: Refusal | "expired", tier: "memory" | "store"): void {
    this.#refusals[refusal] = (this.#refusals[refusal] ?? 0) + 1;
    if (cacheRefusalChannel.hasSubscribers) cacheRefusalChannel.publish({ cache: this.name, key, tier, refusal });
  }

  /** The answer of an entry that may not be served as fresh, if it may be served for want of a better one. */
  #stale<Value>(entry: Entry, ask: Ask, reason: string | undefined): Outcome<Value> | undefined {
    const nowMs = this.#clock.monotonic();
    if (nowMs >= entry.staleUntilMs) return undefined;
    // Judged again: what was only past its ttl may have been written to while its caller waited.
    const refusal = this.ledger.judge(entry.stamp, entry.order, entry.dependencies, ask.demand);
    if (refusal !== undefined && !(refusal === "written" && ask.policy.staleAfterWrite)) return undefined;
    return staleOf<Value>(entry, nowMs, refusal ?? "expired", reason);
  }

  #search<Value>(
    key: string,
    given: CachePolicy,
    fill: Fill<Value>,
    options: ReadOptions<Value> | undefined,
    stood: Entry | undefined,
    refusal: Refusal | "expired" | undefined,
  ): Promise<Outcome<Value>> {
    try {
      if (typeof key !== "string" || key === "") {
        throw cacheErrors.create("MILLRACE_CACHE_NAME_INVALID", { cache: this.name, name: key, problem: "is no key" });
      }
      const codecId = options?.codec?.id;
      if (codecId !== undefined && !(Number.isInteger(codecId) && codecId >= 16 && codecId <= 255)) {
        throw coreErrors.create("MILLRACE_OPTION_INVALID", {
          subject: "a codec",
          option: "id",
          value: String(codecId),
          expected: "a whole number from 16 to 255",
        });
      }
      options?.signal?.throwIfAborted();
      if (refusal !== undefined) this.#refuse(key, refusal, "memory");
      const found = this.#take<Value>({
        key,
        given,
        policy: this.#policies.resolve(given),
        fill,
        codec: options?.codec,
        demand: options?.demand,
        signal: options?.signal,
        admit: options?.admit,
        freshForMs: options?.freshFor === undefined ? 0 : parseDuration(options.freshFor),
        stood,
        refusal,
        flights: 0,
      });
      // Here, and not where it was found: this runs in the context of the caller, which may be a fill itself.
      return found.then(({ outcome, origin, shareable }) => {
        if (origin) this.ledger.inherit(origin.stamp, origin.dependencies, outcome.reason, origin);
        else this.ledger.inherit(undefined, noDependencies, outcome.reason, { freshUntilMs: Infinity, shareable });
        return outcome;
      });
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Joins a flight, or begins one. */
  #take<Value>(ask: Ask): Promise<Found<Value>> {
    const { key } = ask;
    if (this.#closed || ask.flights >= mostFlights || this.#unkept.fillsAlone(key))
      return this.#wait<Value>(this.#begin(ask, { alone: true }), ask, "first");
    const flight = this.#flights.get(key);
    if (flight && flight.namespace === this.ledger.namespace && flight.codecId === (ask.codec?.id ?? 0)) {
      if (flight.order === undefined) return this.#wait<Value>(flight, ask, "early");
      if (this.ledger.mayJoin(flight.order)) return this.#wait<Value>(flight, ask, "late");
    }
    const broken = this.#breaker.broken(key);
    if (broken) {
      const stale = ask.stood && this.#stale<Value>(ask.stood, ask, `its fill keeps failing: ${messageOf(broken.error)}`);
      if (!stale) return Promise.reject(broken.error);
      this.#counts.staleHits++;
      return Promise.resolve({ outcome: stale, origin: ask.stood });
    }
    const alone = flight !== undefined && flight.order !== undefined;
    // What is fresh, but not for long enough, is replaced; also where the store has it, too.
    const previous = ask.refusal === undefined ? ask.stood : undefined;
    return this.#wait<Value>(this.#begin(ask, { alone, ...(previous && { previous }) }), ask, "first");
  }

  /** For a caller that could not have what its flight has brought: another may have landed since. */
  #takeAgain<Value>(ask: Ask): Found<Value> | Promise<Found<Value>> {
    const entry = this.#standing(ask.key, ask.codec?.id ?? 0);
    const nowMs = this.#clock.monotonic();
    if (entry === undefined || this.#refusalOf(entry, nowMs, ask.demand) !== undefined) return this.#take<Value>(ask);
    if (entry.freshUntilMs - nowMs < ask.freshForMs) return this.#take<Value>({ ...ask, stood: entry, refusal: undefined });
    this.#counts.hits++;
    return { outcome: hitOf<Value>(entry, nowMs, "memory", ask.refusal), origin: entry };
  }

  #begin(ask: Omit<Ask, "given">, how: { readonly alone?: boolean; readonly previous?: Entry } = {}): Flight {
    const flight = new Flight({
      key: ask.key,
      namespace: this.ledger.namespace,
      policy: ask.policy,
      codec: ask.codec,
      fill: ask.fill,
      admit: ask.admit,
      clock: this.#clock,
      previous: how.previous,
      alone: how.alone ?? false,
      silence: this.#silence(),
    });
    flight.deadline.onAbort((reason) => this.#over(flight, () => flight.fail(this.#reasonOf(flight, reason))));
    // One that serves its caller alone is still the newest, and who comes before it reads may share it, unless answers of this key
    // are for one only.
    if (!this.#closed && !this.#unkept.fillsAlone(ask.key)) this.#flights.set(ask.key, flight);
    this.#flying.add(flight);
    this.#runner.run(flight).catch((error: unknown) => this.#over(flight, () => flight.fail(error)));
    return flight;
  }

  /** Why the ledger would refuse whatever it is asked about. */
  #silence(): Refusal | undefined {
    const stamp = { generation: this.ledger.generation, upTo: Number.MAX_SAFE_INTEGER };
    const refusal = this.ledger.judge(stamp, Infinity, noDependencies);
    return refusal === "feed-silent" || refusal === "feed-starting" ? refusal : undefined;
  }

  #reasonOf(flight: Flight, reason: unknown): unknown {
    if (cacheErrors.is(reason)) return reason;
    const timeout = formatDuration(flight.policy.hardTimeoutMs);
    const error = cacheErrors.create("MILLRACE_CACHE_FILL_TIMEOUT", { cache: this.name, key: flight.key, timeout });
    this.#breaker.failed(flight.key, error, undefined, flight.order ?? Infinity, noDependencies);
    this.#counts.fillErrors++;
    this.#runner.report(flight, flight.policy.hardTimeoutMs, false, undefined, error);
    return error;
  }

  #abandon(flight: Flight): void {
    flight.deadline.abort(cacheErrors.create("MILLRACE_CACHE_FILL_ABANDONED", { cache: this.name, key: flight.key }));
  }

  /** Takes the flight off the map before its callers hear of it: one that asks again begins the next. */
  #over(flight: Flight, land: () => void): void {
    if (this.#flights.get(flight.key) === flight) this.#flights.delete(flight.key);
    this.#flying.delete(flight);
    land();
  }

  #wait<Value>(flight: Flight, ask: Ask, joined: "first" | "early" | "late"): Promise<Found<Value>> {
    const { promise, resolve, reject } = Promise.withResolvers<Found<Value>>();
    const { policy, signal } = ask;
    let fallback = ask.stood;
    let softTimer: Disposable | undefined;
    let stopListening: (() => void) | undefined;
    const done = (): void => {
      softTimer?.[Symbol.dispose]();
      stopListening?.();
    };
    const serveStale = (reason: string | undefined): boolean => {
      const stale = fallback && this.#stale<Value>(fallback, ask, reason);
      if (stale === undefined) return false;
      this.#counts.staleHits++;
      done();
      resolve({ outcome: stale, origin: fallback });
      return true;
    };
    const onSoftTimeout = (): void => {
      if (!serveStale(undefined)) return; // written to in the meantime: only a new answer will do
      flight.inBackground = true;
      flight.leave(waiter);
    };
    const arm = (): void => {
      if (ask.freshForMs > 0) return;
      if (softTimer === undefined && fallback && this.#stale(fallback, ask, undefined)) {
        if (policy.softTimeoutMs === 0) onSoftTimeout();
        else softTimer = this.#clock.timer(policy.softTimeoutMs, onSoftTimeout);
      }
    };
    const onAbort = (reason: unknown): void => {
      done();
      if (flight.leave(waiter)) this.#abandon(flight);
      reject(reason);
    };
    const again = (): void => {
      done();
      resolve(this.#takeAgain<Value>({ ...ask, flights: ask.flights + 1 }));
    };
    const waiter: Waiter = {
      demand: ask.demand,
      land: (landing) => {
        if (!this.#suits(landing, ask, joined)) return again();
        done();
        const outcome = this.#outcomeOf<Value>(landing, flight, ask, joined);
        if (landing.kind === "found") resolve({ outcome, origin: landing.entry });
        else resolve({ outcome, origin: landing.origin, shareable: landing.shareable });
      },
      fail: (error) => {
        if (serveStale(messageOf(error))) return;
        done();
        reject(error);
      },
      offer: (entry) => {
        fallback ??= entry;
        arm();
      },
    };
    stopListening = signal && onEnding(signal, onAbort);
    flight.add(waiter);
    arm();
    return promise;
  }

  /** Whether what a flight has brought is an answer for this caller. */
  #suits(landing: Landing, ask: Ask, joined: "first" | "early" | "late"): boolean {
    if (landing.kind === "found") return landing.entry.freshUntilMs - this.#clock.monotonic() >= ask.freshForMs;
    if (joined === "first") return true;
    if (!landing.shareable) return false;
    if (joined === "early") return true;
    const { origin } = landing;
    return origin !== undefined && this.ledger.judge(origin.stamp, origin.order, origin.dependencies, ask.demand) === undefined;
  }

  #outcomeOf<Value>(landing: Landing, flight: Flight, ask: Ask, joined: "first" | "early" | "late"): Outcome<Value> {
    const nowMs = this.#clock.monotonic();
    if (landing.kind === "found") {
      this.#counts.storeHits++;
      return hitOf<Value>(landing.entry, nowMs, "store", ask.refusal);
    }
    const bypass = flight.silence !== undefined || this.#closed !== undefined;
    const state = bypass ? "bypass" : joined === "first" ? "miss" : "joined";
    this.#counts[bypass ? "bypasses" : joined === "first" ? "misses" : "joined"]++;
    const { entry, reason, value } = landing;
    return filledOf(
      value as Value,
      state,
      ask.refusal ?? flight.silence,
      reason,
      landing.admitted,
      entry ? nowMs - entry.madeAtMs : 0,
      entry && reason === undefined ? entry.freshUntilMs - nowMs : 0,
      entry && reason === undefined ? entry.dependencies : noDependencies,
    );
  }

  #isToBeRefreshed(key: string, entry: Entry, nowMs: number): boolean {
    return !this.#flights.has(key) && this.#earlyRefresh.isDue(entry, nowMs) && !this.#breaker.broken(key);
  }

  #refreshEarly<Value>(
    key: string,
    given: CachePolicy,
    fill: Fill<Value>,
    options: ReadOptions<Value> | undefined,
    entry: Entry,
    nowMs: number,
  ): void {
    if (this.#refreshOwed === key) this.#refreshOwed = undefined;
    else if (!this.#isToBeRefreshed(key, entry, nowMs)) return;
    if (this.#flights.has(key)) return;
    this.#counts.refreshes++;
    this.#begin(
      {
        key,
        policy: this.#policies.resolve(given),
        fill,
        codec: options?.codec,
        demand: undefined,
        signal: undefined,
        admit: options?.admit,
        freshForMs: 0,
        stood: entry,
        refusal: undefined,
        flights: 0,
      },
      { previous: entry },
    );
  }

  #check<Value>(key: string, given: CachePolicy, fill: Fill<Value>, options: ReadOptions<Value> | undefined, entry: Entry): void {
    // What depends on nothing but its key is nobody's to invalidate when something changes: only its ttl ends it.
    if (entry.names.length <= namesOfKey(key).length) return;
    const timeoutMs = this.#policies.resolve(given).hardTimeoutMs;
    this.#onlineCheck.begin({ key, entry, fill, codec: options?.codec, timeoutMs });
  }
}
