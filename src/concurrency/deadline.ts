// One abort for one piece of work: its deadline, its caller's leaving, or an explicit abort, whichever comes first.
// See docs/deadlines.md.
//
// AbortSignal.any([a, AbortSignal.timeout(30_000)]) keeps about 2 KB per request until the timeout has passed, request long
// gone or not. A Deadline owns one timer and clears it, listens to its parent and stops listening, and creates an AbortSignal
// only when somebody asks for one: most requests end before anybody does.

import { type Clock, type Timer, formatDuration, systemClock } from "../core/index.ts";
import { concurrencyErrors } from "./errors.ts";

export interface DeadlineOptions {
  /** Milliseconds from now until the work is aborted with MILLRACE_DEADLINE_EXCEEDED. Default: none. */
  readonly timeoutMs?: number | undefined;
  /** Aborts this work, with the same reason, when it aborts. */
  readonly parent?: AbortSignal | Deadline | undefined;
  /** Default: that of a parent that is a deadline, else the machine's. */
  readonly clock?: Clock | undefined;
}

type AbortListener = (reason: unknown) => void;

/** The end of one piece of work. Dispose it when the work is done, or its timer keeps it until the deadline. */
export class Deadline implements Disposable {
  /** When this deadline, or the parent's, falls on the clock's monotonic time; Infinity without one. */
  readonly expiresAtMs: number;

  readonly #clock: Clock;
  readonly #timeoutMs: number | undefined;
  readonly #timer: Timer | undefined;
  readonly #leaveParent: (() => void) | undefined;
  #listeners: Set<AbortListener> | undefined;
  #controller: AbortController | undefined;
  #aborted = false;
  #reason: unknown;

  constructor(options: DeadlineOptions = {}) {
    const { parent, timeoutMs } = options;
    const above = parent instanceof Deadline ? parent : undefined;
    this.#clock = options.clock ?? (above ? above.#clock : systemClock);
    this.#timeoutMs = timeoutMs;
    const expiresAtMs = timeoutMs === undefined ? Infinity : this.#clock.monotonic() + timeoutMs;
    this.expiresAtMs = above && above.#clock === this.#clock ? Math.min(expiresAtMs, above.expiresAtMs) : expiresAtMs;
    if (parent?.aborted) {
      this.abort(parent.reason);
      return;
    }
    // Also when the parent ends sooner: it may be disposed first, and then tells nobody.
    if (timeoutMs !== undefined) this.#timer = this.#clock.timer(timeoutMs, () => this.#expire());
    if (above) {
      this.#leaveParent = above.onAbort((reason) => this.abort(reason));
    } else if (parent) {
      const signal = parent as AbortSignal;
      const onAbort = () => this.abort(signal.reason);
      signal.addEventListener("abort", onAbort, { once: true });
      this.#leaveParent = () => signal.removeEventListener("abort", onAbort);
    }
  }

  get aborted(): boolean {
    return this.#aborted;
  }

  /** Why the work was aborted; undefined while it is not. */
  get reason(): unknown {
    return this.#reason;
  }

  /** Milliseconds left, never negative; Infinity without a deadline. */
  get remainingMs(): number {
    return Math.max(0, this.expiresAtMs - this.#clock.monotonic());
  }

  /** The same abort as a standard signal, created at first use. Prefer onAbort on hot paths: it allocates next to nothing. */
  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.#aborted) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  /** Calls `listener` on abort, at once when it has happened already. Returns what stops listening. */
  onAbort(listener: AbortListener): () => void {
    if (this.#aborted) {
      listener(this.#reason);
      return () => {};
    }
    const listeners = (this.#listeners ??= new Set());
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  /** Ends the work. Only the first abort counts. `reason` is what the work's promises reject with. */
  abort(reason: unknown): void {
    if (this.#aborted) return;
    this.#aborted = true;
    this.#reason = reason;
    this[Symbol.dispose]();
    this.#controller?.abort(reason);
    const listeners = this.#listeners;
    this.#listeners = undefined;
    if (!listeners) return;
    let failure: { readonly error: unknown } | undefined;
    for (const listener of listeners) {
      try {
        listener(reason);
      } catch (error) {
        failure ??= { error }; // one listener's mistake must not leave another's statement running
      }
    }
    if (failure) throw failure.error;
  }

  throwIfAborted(): void {
    if (this.#aborted) throw this.#reason;
  }

  /** Clears the timer and leaves the parent. The work is done; a later abort() still reaches who listens. */
  [Symbol.dispose](): void {
    this.#timer?.clear();
    this.#leaveParent?.();
  }

  #expire(): void {
    this.abort(concurrencyErrors.create("MILLRACE_DEADLINE_EXCEEDED", { deadline: formatDuration(this.#timeoutMs!) }));
  }
}
