// Keys whose answers are not kept, with the reason, for why() and so that their requests do not queue up behind each other: a fill
// whose answer nobody else may have is not worth waiting for ("hit for miss").

import type { Clock } from "../core/index.ts";

/** Keys that are remembered; beyond it the oldest is forgotten. */
const mostKeys = 1_000;

/** After it one request goes first again: the reason may be gone. */
const aloneForMs = 10_000;

interface Unkept {
  readonly reason: string;
  /** Requests fill for themselves until then. */
  readonly aloneUntilMs: number;
}

export class UnkeptKeys {
  readonly #keys = new Map<string, Unkept>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** `shared`: others who asked got the answer too. */
  add(key: string, reason: string, shared: boolean): void {
    this.#keys.delete(key); // to the end of the line
    this.#keys.set(key, { reason, aloneUntilMs: shared ? 0 : this.#clock.monotonic() + aloneForMs });
    if (this.#keys.size > mostKeys) this.#keys.delete(this.#keys.keys().next().value!);
  }

  kept(key: string): void {
    if (this.#keys.size > 0) this.#keys.delete(key);
  }

  reason(key: string): string | undefined {
    return this.#keys.get(key)?.reason;
  }

  /** Whether a request should fill for itself at once. */
  fillsAlone(key: string): boolean {
    const unkept = this.#keys.size > 0 ? this.#keys.get(key) : undefined;
    return unkept !== undefined && this.#clock.monotonic() < unkept.aloneUntilMs;
  }
}
