// Permits for something of which there is only so much. Who asks first is served first, however many permits the others want, so
// that nobody starves. See docs/semaphore-and-channel.md.

import { resolveOptions } from "../core/index.ts";
import { type WaitOptions, type Waiter, endingOf, startWaiting } from "./abortable.ts";
import { concurrencyErrors } from "./errors.ts";
import { LinkedQueue } from "./linked-queue.ts";
import { semaphoreChecks, semaphoreDefaults } from "./options.ts";

export interface SemaphoreOptions {
  /** How many permits there are. At least 1. */
  readonly permits: number;
  /** Who may wait at the most; the next is refused with MILLRACE_SEMAPHORE_FULL. Default 1,000. 0: nobody waits. */
  readonly maxWaiting?: number | undefined;
}

export interface AcquireOptions extends WaitOptions {
  /** Permits that are taken together. Default 1; at most the semaphore's permits. */
  readonly weight?: number | undefined;
}

/** What acquire() gives. Dispose it (`using`) or release() it, once or more often. */
export interface Permit extends Disposable {
  readonly weight: number;
  release(): void;
}

interface Waiting {
  readonly weight: number;
  readonly waiter: Waiter<Permit>;
}

export class Semaphore {
  readonly permits: number;
  readonly #maxWaiting: number;
  readonly #queue = new LinkedQueue<Waiting>();
  #available: number;

  /** @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID */
  constructor(options: SemaphoreOptions) {
    const { permits, maxWaiting } = resolveOptions<SemaphoreOptions, typeof semaphoreChecks>(
      "Semaphore",
      options,
      semaphoreDefaults,
      semaphoreChecks,
    );
    this.permits = permits;
    this.#available = permits;
    this.#maxWaiting = maxWaiting;
  }

  /** Permits that nobody holds. They may still be meant for somebody who waits for more of them. */
  get available(): number {
    return this.#available;
  }

  /** How many callers wait. */
  get waiting(): number {
    return this.#queue.length;
  }

  /**
   * Takes permits, when they are free and all who asked before have theirs.
   * @throws MILLRACE_SEMAPHORE_FULL, MILLRACE_SEMAPHORE_WEIGHT_INVALID, the signal's reason
   */
  acquire(options?: AcquireOptions): Promise<Permit> {
    try {
      const permit = this.tryAcquire(options?.weight);
      if (permit) {
        const ending = endingOf(options);
        if (!ending?.aborted) return Promise.resolve(permit);
        permit.release();
        return Promise.reject(ending.reason as Error);
      }
    } catch (error) {
      return Promise.reject(error);
    }
    return this.#wait(options?.weight ?? 1, options);
  }

  /** Takes permits if that is possible now, without overtaking anybody. @throws MILLRACE_SEMAPHORE_WEIGHT_INVALID */
  tryAcquire(weight = 1): Permit | undefined {
    if (!(Number.isSafeInteger(weight) && weight >= 1 && weight <= this.permits)) {
      throw concurrencyErrors.create("MILLRACE_SEMAPHORE_WEIGHT_INVALID", { weight, permits: this.permits });
    }
    return this.#queue.length === 0 && weight <= this.#available ? this.#take(weight) : undefined;
  }

  /** Runs `work` while holding permits. */
  async run<Result>(work: () => Result | PromiseLike<Result>, options?: AcquireOptions): Promise<Result> {
    using _permit = await this.acquire(options);
    return await work();
  }

  #wait(weight: number, options: AcquireOptions | undefined): Promise<Permit> {
    const ending = endingOf(options);
    if (ending?.aborted) return Promise.reject(ending.reason as Error);
    if (this.#queue.length >= this.#maxWaiting) {
      const waiting = this.#queue.length;
      return Promise.reject(concurrencyErrors.create("MILLRACE_SEMAPHORE_FULL", { waiting, permits: this.permits }));
    }
    const waiter = startWaiting<Permit>(ending, () => {
      this.#queue.leave(place);
      this.#serve(); // who left may have held up one who wants less
    });
    const place = this.#queue.push({ weight, waiter });
    return waiter.promise;
  }

  #take(weight: number): Permit {
    this.#available -= weight;
    let held = true;
    const release = (): void => {
      if (!held) return;
      held = false;
      this.#available += weight;
      this.#serve();
    };
    return { weight, release, [Symbol.dispose]: release };
  }

  #serve(): void {
    for (let next = this.#queue.first; next && next.weight <= this.#available; next = this.#queue.first) {
      this.#queue.shift();
      next.waiter.resolve(this.#take(next.weight));
    }
  }
}
