// A bound on how long a store may take, which tells a slow store from a process that was busy itself.

import type { Clock } from "../core/index.ts";

/**
 * A timer that fires this much late says that the process was busy: the answer may be here already, unread, because Node runs timers
 * before it reads sockets. Ten milliseconds: an idle loop is late by one or two.
 */
const lateMs = 10;

/** What became of a bounded call. */
export interface Bounded<Result> {
  /** Settles as the call does, or rejects with what `expire` made. */
  readonly promise: Promise<Result>;
  /** Ends the wait now, with `reason`. Does nothing once it has ended. */
  abandon(reason: unknown): void;
}

/**
 * Waits for `call` at most `timeoutMs`, or twice that when this process was too busy to hear an answer. `expire` makes the error;
 * `onLate` hears a result that comes after the wait has ended. A late failure is nobody's.
 */
export function bounded<Result>(
  clock: Clock,
  timeoutMs: number,
  call: Promise<Result>,
  expire: () => unknown,
  onLate?: (result: Result) => void,
): Bounded<Result> {
  const { promise, resolve, reject } = Promise.withResolvers<Result>();
  let hasEnded = false;
  const end = (): boolean => {
    if (hasEnded) return false;
    hasEnded = true;
    timer.clear();
    return true;
  };
  const wait = (mayBeBusy: boolean) => {
    const dueMs = clock.monotonic() + timeoutMs;
    return clock.timer(
      timeoutMs,
      () => {
        if (mayBeBusy && clock.monotonic() - dueMs > lateMs) {
          timer = wait(false);
          return;
        }
        // After the sockets have been read once more.
        setImmediate(() => {
          if (end()) reject(expire());
        });
      },
      true,
    );
  };
  let timer = wait(true);
  call.then(
    (result) => {
      if (end()) resolve(result);
      else onLate?.(result);
    },
    (error: unknown) => {
      if (end()) reject(error);
    },
  );
  return {
    promise,
    abandon(reason) {
      if (end()) reject(reason);
    },
  };
}
