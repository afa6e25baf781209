// What a flight does: the store is asked, then the fill runs, and what it brings is kept where it may be kept. The table of
// create-cache.ts says when there is one.

import type { Clock } from "../core/index.ts";
import { cacheFillChannel } from "./channels.ts";
import { hashDependencies, joinDependencies } from "./dependency-hash.ts";
import type { Entry } from "./entry.ts";
import type { FillBreaker } from "./fill-breaker.ts";
import { runFill } from "./fill-run.ts";
import type { Flight, Landing } from "./flight.ts";
import type { Demand, Ledger, Refusal } from "./ledger.ts";
import { type Made, type MakeOptions, makeEntry, mostDependencies, namesOfRun } from "./make-entry.ts";
import type { MemoryTier } from "./memory.ts";
import { refusalSentence } from "./refusals.ts";
import type { SharedTier } from "./shared-tier.ts";
import type { UnkeptKeys } from "./unkept.ts";

/** While another process fills, the store is asked again after so long, doubling: an answer is found soon, and seldom asked for. */
const firstPauseMs = 5;
const mostPauseMs = 25;

const noDependencies = new Uint32Array(0);

/** What the cache lends to its flights. */
export interface FlightRunnerOptions extends MakeOptions {
  /** The cache's, in messages. */
  readonly name: string;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly memory: MemoryTier<Entry> | undefined;
  readonly shared: SharedTier | undefined;
  readonly leaseMs: number;
  readonly breaker: FillBreaker;
  readonly unkept: UnkeptKeys;
  readonly counts: { fills: number; fillErrors: number };
  readonly isClosed: () => boolean;
  readonly refusalOf: (entry: Entry, nowMs: number, demand: Demand | undefined) => Refusal | "expired" | undefined;
  /** Counts a refusal of what a tier held. */
  readonly refuse: (key: string, refusal: Refusal | "expired", tier: "memory" | "store") => void;
  /** Ends a flight: `land` tells its callers. */
  readonly over: (flight: Flight, land: () => void) => void;
}

export class FlightRunner {
  readonly #with: FlightRunnerOptions;

  constructor(options: FlightRunnerOptions) {
    this.#with = options;
  }

  /** Resolves when the flight has landed or failed, or was over before; rejects when it could do neither. */
  async run(flight: Flight): Promise<void> {
    await Promise.resolve(); // who asks in this turn takes part before it begins to read
    if (flight.isOver) return;
    const shared = flight.alone || flight.silence !== undefined ? undefined : this.#with.shared;
    const token = shared && (await this.#askStore(shared, flight));
    if (flight.isOver) {
      if (token !== undefined) shared!.release(flight.key, flight.namespace, token);
      return;
    }
    if (token !== undefined) {
      // Given back when the flight ends without it: at its timeout at once, so that another process can try.
      flight.giveBack = () => shared!.release(flight.key, flight.namespace, token);
    }
    await this.#fillFor(flight, token);
  }

  /**
   * Asks the store until it has a fresh answer (the flight has landed), or this process is to fill (the token), or it cannot be
   * asked (undefined, and this process fills).
   */
  async #askStore(shared: SharedTier, flight: Flight): Promise<string | undefined> {
    const { key, namespace, codec, previous } = flight;
    let not: string | undefined;
    for (let waits = 0; !flight.isOver;) {
      const claim = await shared.claim(key, namespace, codec, this.#with.leaseMs, not);
      if (claim.kind === "down") return undefined;
      if (claim.kind === "lease") return claim.token;
      if (flight.isOver) return undefined;
      if (claim.kind === "busy") {
        // Another process refreshes it already, and nobody waits here.
        if (previous && flight.waiters.size === 0) {
          this.#with.over(flight, () => flight.fail(undefined));
          return undefined;
        }
        await this.#pause(flight, Math.min(mostPauseMs, firstPauseMs * 2 ** waits++) * (0.5 + this.#with.random() / 2));
        continue;
      }
      not = claim.version;
      const { entry } = claim;
      if (entry === undefined || (previous && entry.freshUntilMs <= previous.freshUntilMs + 1)) continue;
      const refusal = this.#refusalFor(flight, entry);
      if (refusal === undefined) {
        this.#with.memory?.set(key, entry);
        this.#with.over(flight, () => flight.land({ kind: "found", entry }));
        return undefined;
      }
      this.#with.refuse(key, refusal, "store");
      flight.offer(entry, refusal);
    }
    return undefined;
  }

  /** Why an entry of the store is no answer to everybody who waits. */
  #refusalFor(flight: Flight, entry: Entry): Refusal | "expired" | undefined {
    const nowMs = this.#with.clock.monotonic();
    let refusal = this.#with.refusalOf(entry, nowMs, undefined);
    for (const { demand } of flight.waiters) {
      if (refusal === undefined && demand) refusal = this.#with.refusalOf(entry, nowMs, demand);
    }
    return refusal;
  }

  #pause(flight: Flight, ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.#with.clock.timer(ms, resolve);
    const stop = flight.deadline.onAbort(() => resolve());
    return promise.finally(() => {
      timer.clear();
      stop();
    });
  }

  async #fillFor(flight: Flight, token: string | undefined): Promise<void> {
    const { key, deadline } = flight;
    this.#with.counts.fills++;
    const run = await runFill(flight.fill, {
      ledger: this.#with.ledger,
      clock: this.#with.clock,
      deadline,
      onBegun: (order) => (flight.order = order),
    });
    if (flight.isOver) return; // its time was over or everybody gone: what it came back with may be half of the truth
    if (run.failure) {
      const { error } = run.failure;
      this.#with.counts.fillErrors++;
      const dependencies = joinDependencies(hashDependencies(namesOfRun(flight, run)), run.findings.inherited);
      const isTooMuch = dependencies.length > 2 * mostDependencies; // then time alone decides
      this.#with.breaker.failed(key, error, run.findings.stamp, run.order, isTooMuch ? noDependencies : dependencies);
      this.report(flight, run.computeMs, false, undefined, error);
      this.#with.over(flight, () => flight.fail(error));
      return;
    }
    this.#with.breaker.succeeded(key);
    const made = makeEntry(flight, run, this.#with);
    const keeping = this.#keep(flight, made, token);
    const reason = keeping instanceof Promise ? await keeping : keeping;
    this.report(flight, run.computeMs, reason === undefined, reason, undefined);
    const landing: Landing = {
      kind: "filled",
      value: run.value,
      entry: made.entry,
      origin: made.origin,
      reason,
      shareable: made.shareable,
      admitted: made.admitted,
    };
    this.#with.over(flight, () => flight.land(landing));
  }

  report(flight: Flight, durationMs: number, kept: boolean, reason: string | undefined, error: unknown): void {
    if (!cacheFillChannel.hasSubscribers) return;
    const purpose = flight.previous ? "refresh" : "miss";
    cacheFillChannel.publish({ cache: this.#with.name, key: flight.key, durationMs, purpose, kept, reason, error });
  }

  /**
   * Keeps it where it may be kept; says why it is not. What memory has taken is kept, and goes to the store behind the caller; only
   * what memory does not take is held up until the store has said whether it does.
   */
  #keep(flight: Flight, made: Made, token: string | undefined): string | undefined | Promise<string | undefined> {
    const { key } = flight;
    const { entry, shareable } = made;
    if (entry === undefined) {
      this.#with.unkept.add(key, made.reason!, shareable);
      return made.reason;
    }
    const refusal = this.#with.ledger.judge(entry.stamp, entry.order, entry.dependencies, undefined, entry);
    if (refusal !== undefined) return refusalSentence[refusal];
    if (this.#with.isClosed()) return "the cache is closed";
    // An older flight that ends after a newer one must not undo it; both would be judged, but one of them sooner refused.
    const there = this.#with.memory?.look(key);
    const isOlder =
      there !== undefined &&
      there.namespace === entry.namespace &&
      there.codecId === entry.codecId &&
      there.stamp.generation === entry.stamp.generation &&
      there.stamp.upTo > entry.stamp.upTo;
    const fits = isOlder || this.#with.memory?.set(key, entry) === true;
    const kept = (isKept: boolean): string | undefined => {
      if (isKept) this.#with.unkept.kept(key);
      else if (this.#with.shared) this.#with.unkept.add(key, "neither memory nor the store has taken it", true);
      else
        this.#with.unkept.add(key, this.#with.memory ? "the value is larger than the memory tier takes" : "there is no tier", true);
      return this.#with.unkept.reason(key);
    };
    if (!this.#with.shared || flight.silence !== undefined) return kept(fits);
    flight.giveBack = undefined; // the token is used
    const stored = this.#with.shared.set(key, entry, flight.codec, token);
    return fits ? kept(true) : stored.then(kept);
  }
}
