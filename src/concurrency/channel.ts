// A bounded queue between producers and consumers: who is faster waits for who is slower, and every value reaches exactly one
// consumer. See docs/semaphore-and-channel.md.
//
// | state  | left by                   | send()               | receive()                            |
// | ------ | ------------------------- | -------------------- | ------------------------------------ |
// | open   | close(), abort()          | waits for room       | waits for a value                    |
// | closed | the last value is taken   | CHANNEL_CLOSED       | what is left, then done              |
// | ended  |                           | CHANNEL_CLOSED, or the reason of abort() | done, or the reason of abort() |

import { resolveOptions } from "../core/index.ts";
import { type WaitOptions, type Waiter, endingOf, startWaiting } from "./abortable.ts";
import { concurrencyErrors } from "./errors.ts";
import { LinkedQueue } from "./linked-queue.ts";
import { channelChecks, channelDefaults } from "./options.ts";

export interface ChannelOptions {
  /** Values that may lie in it. Default 16. 0: send() waits until a consumer takes the value. */
  readonly capacity?: number | undefined;
  /** Producers that may wait for room; the next send() is refused with MILLRACE_CHANNEL_FULL. Default 1,000. */
  readonly maxWaiting?: number | undefined;
}

interface Sending<Value> {
  readonly value: Value;
  readonly waiter: Waiter<void>;
}

type Received<Value> = IteratorResult<Value, undefined>;

const done: Received<never> = Object.freeze({ done: true, value: undefined });

export class Channel<Value> implements AsyncIterable<Value, undefined>, Disposable {
  readonly capacity: number;
  readonly #maxWaiting: number;
  readonly #values = new LinkedQueue<Value>();
  readonly #senders = new LinkedQueue<Sending<Value>>();
  readonly #receivers = new LinkedQueue<Waiter<Received<Value>>>();
  #closed = false;
  #aborted: { readonly reason: unknown } | undefined;
  readonly #drained = Promise.withResolvers<void>();

  /** @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID */
  constructor(options: ChannelOptions = {}) {
    const { capacity, maxWaiting } = resolveOptions<ChannelOptions, typeof channelChecks>(
      "Channel",
      options,
      channelDefaults,
      channelChecks,
    );
    this.capacity = capacity;
    this.#maxWaiting = maxWaiting;
    this.#drained.promise.catch(() => {}); // whoever needs it has asked close() for it
  }

  /** Values that lie in it. */
  get length(): number {
    return this.#values.length;
  }

  /** True from close() or abort() on. */
  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Hands a value over: resolves when it lies in the channel or a consumer has it. When it rejects, nobody gets the value.
   * @throws MILLRACE_CHANNEL_CLOSED, MILLRACE_CHANNEL_FULL, the signal's reason, the reason of abort()
   */
  send(value: Value, options?: WaitOptions): Promise<void> {
    const ending = endingOf(options);
    if (ending?.aborted) return Promise.reject(ending.reason as Error);
    if (this.#closed) return Promise.reject(this.#refusal());
    if (this.#accept(value)) return Promise.resolve();
    const waiting = this.#senders.length;
    if (waiting >= this.#maxWaiting) {
      return Promise.reject(concurrencyErrors.create("MILLRACE_CHANNEL_FULL", { waiting, capacity: this.capacity }));
    }
    const waiter = startWaiting<void>(ending, () => this.#senders.leave(place));
    const place = this.#senders.push({ value, waiter });
    return waiter.promise;
  }

  /** Hands a value over if that is possible without waiting, and says whether it was. False also when the channel is closed. */
  trySend(value: Value): boolean {
    return !this.#closed && this.#accept(value);
  }

  /**
   * Takes the next value: `{ done: false, value }`, or `{ done: true }` when the channel is closed and empty. Pass a signal rather
   * than dropping the promise: a value that it takes after that is lost.
   * @throws the signal's reason, the reason of abort()
   */
  receive(options?: WaitOptions): Promise<Received<Value>> {
    const ending = endingOf(options);
    if (ending?.aborted) return Promise.reject(ending.reason as Error);
    if (this.#aborted) return Promise.reject(this.#aborted.reason);
    if (this.#values.length > 0) {
      const value = this.#values.shift() as Value;
      this.#refill();
      return Promise.resolve({ done: false, value });
    }
    const sending = this.#senders.shift();
    if (sending) {
      sending.waiter.resolve();
      return Promise.resolve({ done: false, value: sending.value });
    }
    if (this.#closed) return Promise.resolve(done);
    const waiter = startWaiting<Received<Value>>(ending, () => this.#receivers.leave(place));
    const place = this.#receivers.push(waiter);
    return waiter.promise;
  }

  /**
   * Takes no more values. What lies in the channel is still delivered; producers that wait for room are refused with
   * MILLRACE_CHANNEL_CLOSED. Resolves when the last value has been taken.
   */
  close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      for (let sending = this.#senders.shift(); sending; sending = this.#senders.shift()) sending.waiter.reject(this.#refusal());
      for (let receiver = this.#receivers.shift(); receiver; receiver = this.#receivers.shift()) receiver.resolve(done);
      this.#noteDrained();
    }
    return this.#drained.promise;
  }

  /** Ends it at once: what lies in it is dropped, and whoever waits is told `reason`. */
  abort(reason: unknown): void {
    if (this.#aborted || (this.#closed && this.#values.length === 0)) return;
    this.#closed = true;
    this.#aborted = { reason };
    while (this.#values.length > 0) this.#values.shift();
    for (let sending = this.#senders.shift(); sending; sending = this.#senders.shift()) sending.waiter.reject(reason);
    for (let receiver = this.#receivers.shift(); receiver; receiver = this.#receivers.shift()) receiver.reject(reason);
    this.#drained.reject(reason);
  }

  /** Takes values until the channel is closed and empty. Several loops share the values; leaving one does not close the channel. */
  [Symbol.asyncIterator](): AsyncIterator<Value, undefined> {
    return { next: () => this.receive(), return: () => Promise.resolve(done) };
  }

  /** Nobody will send or receive any more: drops what is left. */
  [Symbol.dispose](): void {
    this.abort(concurrencyErrors.create("MILLRACE_CHANNEL_CLOSED", {}));
  }

  #refusal(): unknown {
    return this.#aborted ? this.#aborted.reason : concurrencyErrors.create("MILLRACE_CHANNEL_CLOSED", {});
  }

  /** To a consumer who waits, or into the channel. Nobody can be waiting for room when there is some. */
  #accept(value: Value): boolean {
    const receiver = this.#receivers.shift();
    if (receiver) {
      receiver.resolve({ done: false, value });
      return true;
    }
    if (this.#values.length >= this.capacity) return false;
    this.#values.push(value);
    return true;
  }

  /** A place has become free. */
  #refill(): void {
    const sending = this.#senders.shift();
    if (sending) {
      this.#values.push(sending.value);
      sending.waiter.resolve();
    }
    this.#noteDrained();
  }

  #noteDrained(): void {
    if (this.#closed && this.#values.length === 0) this.#drained.resolve();
  }
}
