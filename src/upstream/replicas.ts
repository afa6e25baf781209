// Which of several replicas an attempt goes to: the less loaded of two drawn by chance, among those that have not been put out for
// failing. See docs/upstream.md#replicas.

import type { Clock } from "../core/index.ts";

export interface ReplicaOptions {
  /** Failures in a row that put a replica out. */
  readonly ejectAfter: number;
  /** For how long the first time; each further time in a row as much longer. */
  readonly ejectMs: number;
  readonly maxEjectMs: number;
}

/** Weight of an attempt in the running mean of a replica's latency. */
const newest = 0.2;

/** After so long without an attempt the mean counts half: a replica that was slow is tried again. */
const halfLifeMs = 10_000;

export class Replica {
  readonly origin: string;
  /** For messages. */
  readonly name: string;
  inFlight = 0;
  #meanMs = 0;
  #attemptedAtMs = 0;
  #failuresInRow = 0;
  #ejections = 0;
  #ejectedUntilMs = -Infinity;
  #out = false;

  constructor(origin: string) {
    this.origin = origin;
    this.name = new URL(origin).host;
  }

  /** How long one attempt takes, as far as is known; undefined when nothing is. */
  get meanMs(): number | undefined {
    return this.#meanMs === 0 ? undefined : this.#meanMs;
  }

  /** Estimated waiting time: what is under way, times how long one takes. `usualMs` is what counts while nothing is known of this one. */
  load(nowMs: number, usualMs: number): number {
    if (this.#meanMs === 0) return (this.inFlight + 1) * (1 + usualMs);
    const idleMs = Math.max(0, nowMs - this.#attemptedAtMs);
    return (this.inFlight + 1) * (1 + this.#meanMs * 2 ** (-idleMs / halfLifeMs));
  }

  isOut(nowMs: number): boolean {
    return nowMs < this.#ejectedUntilMs;
  }

  /** Whether it was put out and its time is over: said once. */
  returns(nowMs: number): boolean {
    if (!this.#out || this.isOut(nowMs)) return false;
    this.#out = false;
    return true;
  }

  tookMs(ms: number, nowMs: number): void {
    this.#meanMs = this.#meanMs === 0 ? ms : this.#meanMs + newest * (ms - this.#meanMs);
    this.#attemptedAtMs = nowMs;
  }

  /** An attempt was given up after `ms`, so it would have taken longer: what is known of the replica still holds, or it is slower yet. */
  tookLonger(ms: number, nowMs: number): void {
    this.#meanMs = Math.max(this.#meanMs, ms);
    this.#attemptedAtMs = nowMs;
  }

  succeeded(): void {
    this.#failuresInRow = 0;
    this.#ejections = 0;
  }

  /** Counts a failure; true when it has failed often enough to be put out. */
  failed(ejectAfter: number): boolean {
    return ++this.#failuresInRow >= ejectAfter;
  }

  eject(options: ReplicaOptions, nowMs: number): void {
    this.#ejections++;
    this.#ejectedUntilMs = nowMs + Math.min(options.ejectMs * this.#ejections, options.maxEjectMs);
    this.#failuresInRow = 0;
    this.#out = true;
  }
}

export class Replicas {
  readonly all: readonly Replica[];
  readonly #options: ReplicaOptions;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #changed: (replica: Replica, event: "ejected" | "returned") => void;

  constructor(
    origins: readonly string[],
    options: ReplicaOptions,
    clock: Clock,
    random: () => number,
    changed: (replica: Replica, event: "ejected" | "returned") => void = () => {},
  ) {
    this.all = origins.map((origin) => new Replica(origin));
    this.#options = options;
    this.#clock = clock;
    this.#random = random;
    this.#changed = changed;
  }

  /** The replica for an attempt; not one of `tried` while there is another. */
  choose(tried: readonly Replica[] = []): Replica {
    const nowMs = this.#clock.monotonic();
    for (const replica of this.all) if (replica.returns(nowMs)) this.#changed(replica, "returned");
    const well = this.all.filter((replica) => !replica.isOut(nowMs));
    const fresh = well.filter((replica) => !tried.includes(replica));
    const from = fresh.length > 0 ? fresh : well.length > 0 ? well : this.all;
    const first = from[this.#draw(from.length)]!;
    if (from.length === 1) return first;
    const others = from.filter((replica) => replica !== first);
    const second = others[this.#draw(others.length)]!;
    const usualMs = this.#usualMs;
    return second.load(nowMs, usualMs) < first.load(nowMs, usualMs) ? second : first;
  }

  /** As the replicas that are known: one that has not answered yet must not look quicker than those that have. */
  get #usualMs(): number {
    let sum = 0;
    let known = 0;
    for (const { meanMs } of this.all) {
      if (meanMs === undefined) continue;
      sum += meanMs;
      known++;
    }
    return known === 0 ? 0 : sum / known;
  }

  /** What an attempt says of its replica. At most half of the replicas are put out: more failing at once is no outlier. */
  report(replica: Replica, succeeded: boolean): void {
    if (succeeded) return replica.succeeded();
    const nowMs = this.#clock.monotonic();
    const failing = replica.failed(this.#options.ejectAfter);
    if (!failing || replica.isOut(nowMs)) return;
    const out = this.all.filter((one) => one.isOut(nowMs)).length;
    if (out + 1 > this.all.length / 2) return;
    replica.eject(this.#options, nowMs);
    this.#changed(replica, "ejected");
  }

  #draw(below: number): number {
    return Math.min(below - 1, Math.floor(this.#random() * below));
  }
}
