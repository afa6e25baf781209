// One execution for all who ask for the same thing at the same time. See docs/single-flight.md.
//
// | state     | left by                        | what then happens                                          |
// | --------- | ------------------------------ | ---------------------------------------------------------- |
// | flying    | the work settles               | landed: all who wait get its result or its failure         |
// | flying    | the last who waits has left    | abandoned: its deadline aborts, the next caller starts anew |
// | landed, abandoned |                        | gone from the table                                        |

import { type Clock, type Duration, type ResolvedOptions, resolveOptions } from "../core/index.ts";
import { type WaitOptions, type Waiter, endingOf, startWaiting } from "./abortable.ts";
import { currentContext, runInContext } from "./context.ts";
import { Deadline } from "./deadline.ts";
import { concurrencyErrors } from "./errors.ts";
import { singleFlightChecks, singleFlightDefaults } from "./options.ts";
import { newWorkId } from "./work-id.ts";

export interface SingleFlightOptions {
  /** How long an execution may take, whoever waits for it. Default: no limit but that somebody waits. */
  readonly deadline?: Duration | undefined;
  readonly clock?: Clock | undefined;
}

/** Shared executions, by key. */
export interface SingleFlight<Key, Value> {
  /**
   * Joins the execution of `key` that is under way, or starts `work`. The signal ends only this caller's wait. `work` runs for all
   * who ask: its context has no principal and no tenant, and its deadline aborts only when nobody waits any more or at the
   * flight's own deadline.
   * @throws what `work` throws, MILLRACE_DEADLINE_EXCEEDED, the signal's reason
   */
  run(key: Key, work: (deadline: Deadline) => Value | PromiseLike<Value>, options?: WaitOptions): Promise<Value>;
  /** Whether an execution of `key` is under way. */
  has(key: Key): boolean;
  /** Lets the next caller start anew, as after a write. Who waits already gets what is under way. */
  forget(key: Key): void;
  /** Executions under way that can be joined. */
  readonly size: number;
}

/**
 * Creates a table of executions. It holds nothing between them and needs no closing.
 * @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID
 */
export function createSingleFlight<Key, Value>(options: SingleFlightOptions = {}): SingleFlight<Key, Value> {
  const resolved = resolveOptions<SingleFlightOptions, typeof singleFlightChecks>(
    "createSingleFlight",
    options,
    singleFlightDefaults,
    singleFlightChecks,
  );
  const flights = new Map<Key, Flight<Value>>();
  return {
    run(key, work, waitOptions) {
      const ending = endingOf(waitOptions);
      if (ending?.aborted) return Promise.reject(ending.reason as Error);
      let flight = flights.get(key);
      if (!flight) {
        const started: Flight<Value> = new Flight(resolved, () => {
          if (flights.get(key) === started) flights.delete(key);
        });
        flights.set(key, started);
        flight = started;
      }
      const promise = flight.join(ending);
      flight.start(work);
      return promise;
    },
    has: (key) => flights.has(key),
    forget: (key) => void flights.delete(key),
    get size() {
      return flights.size;
    },
  };
}

class Flight<Value> {
  readonly #deadline: Deadline;
  readonly #gone: () => void;
  readonly #waiting = new Set<Waiter<Value>>();
  #started = false;

  constructor(options: ResolvedOptions<typeof singleFlightChecks>, gone: () => void) {
    this.#gone = gone;
    this.#deadline = new Deadline({ timeoutMs: options.deadline, clock: options.clock });
  }

  join(ending: ReturnType<typeof endingOf>): Promise<Value> {
    const waiter = startWaiting<Value>(ending, () => {
      this.#waiting.delete(waiter);
      if (this.#waiting.size === 0) this.#deadline.abort(concurrencyErrors.create("MILLRACE_FLIGHT_ABANDONED", {}));
    });
    this.#waiting.add(waiter);
    return waiter.promise;
  }

  start(work: (deadline: Deadline) => Value | PromiseLike<Value>): void {
    if (this.#started) return;
    this.#started = true;
    // When its deadline passes who waits is told at once, whether the work listens or not.
    this.#deadline.onAbort((reason) => this.#land((waiter) => waiter.reject(reason)));
    const context = currentContext();
    const shared = { requestId: context?.requestId ?? newWorkId(), trace: context?.trace, deadline: this.#deadline };
    let result: Value | PromiseLike<Value>;
    try {
      result = runInContext(shared, () => work(this.#deadline));
    } catch (error) {
      return this.#land((waiter) => waiter.reject(error));
    }
    Promise.resolve(result).then(
      (value) => this.#land((waiter) => waiter.resolve(value)),
      (error: unknown) => this.#land((waiter) => waiter.reject(error)),
    );
  }

  #land(tell: (waiter: Waiter<Value>) => void): void {
    this.#gone();
    this.#deadline[Symbol.dispose]();
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const waiter of waiting) tell(waiter);
  }
}
