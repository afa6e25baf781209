// The one way in which concurrency waits for something that may be given up: until it is settled, or its signal aborts.

import { currentContext } from "./context.ts";
import { Deadline } from "./deadline.ts";

/** What ends a wait: a signal or a deadline. */
export type Ending = AbortSignal | Deadline;

export interface WaitOptions {
  /** Ends the wait; the promise rejects with its reason. Default: the deadline of the running work's context, if there is one. */
  readonly signal?: Ending | undefined;
}

/** What ends the wait of a call with these options. */
export const endingOf = (options: WaitOptions | undefined): Ending | undefined => options?.signal ?? currentContext()?.deadline;

/** Calls `listener` once when `ending` aborts; it must not have aborted yet. Returns what stops listening. */
export function onEnding(ending: Ending, listener: (reason: unknown) => void): () => void {
  if (ending instanceof Deadline) return ending.onAbort(listener);
  const onAbort = () => listener(ending.reason);
  ending.addEventListener("abort", onAbort, { once: true });
  return () => ending.removeEventListener("abort", onAbort);
}

/** One who waits: settled once, then it no longer listens. */
export interface Waiter<Value> {
  readonly promise: Promise<Value>;
  resolve(value: Value): void;
  reject(reason: unknown): void;
}

/** Starts a wait. `leave` is called when `ending` ends it, before the promise rejects. */
export function startWaiting<Value>(ending: Ending | undefined, leave: () => void): Waiter<Value> {
  const { promise, resolve, reject } = Promise.withResolvers<Value>();
  if (!ending) return { promise, resolve, reject };
  const stopListening = onEnding(ending, (reason) => {
    leave();
    reject(reason);
  });
  return {
    promise,
    resolve(value) {
      stopListening();
      resolve(value);
    },
    reject(reason) {
      stopListening();
      reject(reason);
    },
  };
}
