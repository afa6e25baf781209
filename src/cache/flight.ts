// One search for an answer that several callers may wait for: the shared store is asked, then the fill runs. Callers come and go;
// the search ends when it has landed, failed, or nobody waits any more.

import { Deadline } from "../concurrency/index.ts";
import type { Clock } from "../core/index.ts";
import type { Codec, Fill } from "./cache.ts";
import type { Entry } from "./entry.ts";
import type { Demand, Findings, Inherited, Refusal, Stamp } from "./ledger.ts";
import type { Policy } from "./policy.ts";

/** What the ledger needs to know of an answer to judge it. */
export interface Origin extends Inherited {
  readonly stamp: Stamp;
  readonly order: number;
  readonly dependencies: Uint32Array;
}

/** What a flight has brought. */
export type Landing =
  /** What another process has filled. */
  | { readonly kind: "found"; readonly entry: Entry }
  | {
      readonly kind: "filled";
      readonly value: unknown;
      /** Undefined: it is not to be kept, whatever the ledger says. */
      readonly entry: Entry | undefined;
      /** What it reflects and was read from, also when it is not kept. Undefined: the ledger could not follow it. */
      readonly origin: Origin | undefined;
      /** Why it is not kept. */
      readonly reason: string | undefined;
      /** Whether anybody but the one who began the flight may have it. */
      readonly shareable: boolean;
      /** Outcome.admitted. */
      readonly admitted: boolean;
    };

/** One caller's wait. */
export interface Waiter {
  readonly demand: Demand | undefined;
  land(landing: Landing): void;
  fail(error: unknown): void;
  /** There is an answer that is not fresh; it may be served for want of a better one. */
  offer(stale: Entry, refusal: Refusal | "expired"): void;
}

export interface FlightOptions {
  readonly key: string;
  readonly namespace: string;
  readonly policy: Policy;
  readonly codec: Codec<unknown> | undefined;
  readonly fill: Fill<unknown>;
  readonly admit: ((findings: Findings) => string | undefined) | undefined;
  readonly clock: Clock;
  /** What an early refresh is to replace. */
  readonly previous: Entry | undefined;
  /** It serves its one caller and nobody else: nobody joins it, and the store is not asked. */
  readonly alone: boolean;
  /** Why the ledger cannot judge anything now. */
  readonly silence: Refusal | undefined;
}

export class Flight {
  readonly key: string;
  readonly namespace: string;
  readonly policy: Policy;
  readonly codec: Codec<unknown> | undefined;
  readonly fill: Fill<unknown>;
  readonly admit: FlightOptions["admit"];
  readonly previous: Entry | undefined;
  readonly alone: boolean;
  readonly silence: Refusal | undefined;
  readonly deadline: Deadline;
  readonly waiters = new Set<Waiter>();
  /** Goes on when nobody waits. */
  inBackground: boolean;
  /** The reading's, once the fill has begun to read. */
  order: number | undefined = undefined;
  isOver = false;
  /** Gives the store's lease back, while it is held. */
  giveBack: (() => void) | undefined = undefined;
  readonly ended: Promise<void>;
  readonly #resolveEnded: () => void;
  #offered: { readonly entry: Entry; readonly refusal: Refusal | "expired" } | undefined;

  constructor(options: FlightOptions) {
    this.key = options.key;
    this.namespace = options.namespace;
    this.policy = options.policy;
    this.codec = options.codec;
    this.fill = options.fill;
    this.admit = options.admit;
    this.previous = options.previous;
    this.alone = options.alone;
    this.silence = options.silence;
    this.inBackground = options.previous !== undefined;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise;
    this.#resolveEnded = resolve;
    this.deadline = new Deadline({ timeoutMs: options.policy.hardTimeoutMs, clock: options.clock });
  }

  get codecId(): number {
    return this.codec?.id ?? 0;
  }

  add(waiter: Waiter): void {
    this.waiters.add(waiter);
    if (this.#offered) waiter.offer(this.#offered.entry, this.#offered.refusal);
  }

  /** Says whether the flight is of no use to anybody now. */
  leave(waiter: Waiter): boolean {
    return this.waiters.delete(waiter) && this.waiters.size === 0 && !this.inBackground && !this.isOver;
  }

  offer(entry: Entry, refusal: Refusal | "expired"): void {
    this.#offered = { entry, refusal };
    for (const waiter of [...this.waiters]) waiter.offer(entry, refusal);
  }

  land(landing: Landing): void {
    if (!this.#end()) return;
    for (const waiter of this.#everybody()) waiter.land(landing);
  }

  fail(error: unknown): void {
    if (!this.#end()) return;
    for (const waiter of this.#everybody()) waiter.fail(error);
  }

  #end(): boolean {
    if (this.isOver) return false;
    this.isOver = true;
    this.deadline[Symbol.dispose]();
    this.#resolveEnded();
    this.giveBack?.();
    this.giveBack = undefined;
    return true;
  }

  #everybody(): Waiter[] {
    const waiters = [...this.waiters];
    this.waiters.clear();
    return waiters;
  }
}
