// Time as a dependency: everything that waits or measures takes a Clock, so that tests move time instead of sleeping.

/** A pending timer. Disposing it clears it; clearing twice is harmless. */
export interface Timer extends Disposable {
  clear(): void;
}

/** Where the time comes from. `systemClock` outside tests. */
export interface Clock {
  /** Wall-clock time in milliseconds since the Unix epoch. May jump; use it only for what people or other machines read. */
  now(): number;
  /** Milliseconds since an arbitrary start, never going back. Use it for every duration. */
  monotonic(): number;
  /** Calls `callback` once after `delayMs`. The timer does not keep the process alive unless `keepAlive` is true. */
  timer(delayMs: number, callback: () => void, keepAlive?: boolean): Timer;
}

class SystemTimer implements Timer {
  readonly #handle: NodeJS.Timeout;

  constructor(delayMs: number, callback: () => void, keepAlive: boolean) {
    this.#handle = setTimeout(callback, delayMs);
    if (!keepAlive) this.#handle.unref();
  }

  clear(): void {
    clearTimeout(this.#handle);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#handle);
  }
}

/** The machine's own time. */
export const systemClock: Clock = Object.freeze({
  now: () => Date.now(),
  monotonic: () => performance.now(),
  timer: (delayMs: number, callback: () => void, keepAlive = false) => new SystemTimer(delayMs, callback, keepAlive),
});

/** A clock that stands still until `advance` moves it, running due timers in order of their time. For tests. */
export interface ManualClock extends Clock {
  /** Moves both clocks on by `ms`, running every timer that falls due on the way. */
  advance(ms: number): void;
  /** How many timers are pending: a test that ends with more than it began with has leaked one. */
  readonly pendingTimers: number;
}

/** Creates a clock that starts at `startMs` (default 2026-01-01T00:00:00Z) and moves only by `advance`. */
export function createManualClock(startMs: number = Date.UTC(2026, 0, 1)): ManualClock {
  let elapsedMs = 0;
  let sequence = 0;
  const pending = new Map<number, { readonly dueMs: number; readonly callback: () => void }>();

  const nextDue = (untilMs: number): number | undefined => {
    let best: number | undefined;
    for (const [id, { dueMs }] of pending) {
      if (dueMs <= untilMs && (best === undefined || dueMs < pending.get(best)!.dueMs)) best = id;
    }
    return best;
  };

  return {
    now: () => startMs + elapsedMs,
    monotonic: () => elapsedMs,
    timer(delayMs, callback) {
      const id = sequence++;
      pending.set(id, { dueMs: elapsedMs + Math.max(0, delayMs), callback });
      const clear = () => void pending.delete(id);
      return { clear, [Symbol.dispose]: clear };
    },
    advance(ms) {
      const untilMs = elapsedMs + ms;
      for (let id = nextDue(untilMs); id !== undefined; id = nextDue(untilMs)) {
        const { dueMs, callback } = pending.get(id)!;
        pending.delete(id);
        elapsedMs = Math.max(elapsedMs, dueMs);
        callback();
      }
      elapsedMs = untilMs;
    },
    get pendingTimers() {
      return pending.size;
    },
  };
}
