// How idle workers hear within milliseconds that there is something to do: scripts publish on one channel of the store.

import { type Clock, type Closeable, type Timer } from "../../core/index.ts";
import type { RedisConnection } from "../../redis/index.ts";
import type { StoreEvent } from "../store.ts";

function eventOf(payload: string): StoreEvent {
  const rest = payload.slice(1);
  return payload.startsWith("c") ? { kind: "cancel", id: rest } : { kind: "ready", queue: rest };
}

/** One subscription, for as long as somebody wants to hear. It comes back by itself. */
export class Events {
  readonly #connection: RedisConnection;
  readonly #channel: string;
  readonly #clock: Clock;
  readonly #waitMs: number;
  readonly #listeners = new Set<(event: StoreEvent) => void>();
  #subscription: Closeable | undefined;
  #listening: Promise<void> = Promise.resolve();

  /** `waitMs`: how long subscribing waits for the server; after that it goes on behind the caller's back. */
  constructor(connection: RedisConnection, channel: string, clock: Clock, waitMs: number) {
    this.#connection = connection;
    this.#channel = channel;
    this.#clock = clock;
    this.#waitMs = waitMs;
  }

  async add(listener: (event: StoreEvent) => void): Promise<Closeable> {
    this.#listeners.add(listener);
    if (!this.#subscription) this.#listening = this.#subscribe();
    await this.#listening;
    const close = async (): Promise<void> => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) await this.close();
    };
    return { close, [Symbol.asyncDispose]: close };
  }

  async close(): Promise<void> {
    this.#listeners.clear();
    const subscription = this.#subscription;
    this.#subscription = undefined;
    await subscription?.close();
  }

  #subscribe(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer: Timer = this.#clock.timer(this.#waitMs, resolve, true);
    const tell = (event: StoreEvent): void => {
      for (const listener of this.#listeners) listener(event);
    };
    this.#subscription = this.#connection.subscribe(
      this.#channel,
      (message) => tell(eventOf(String(message))),
      () => {
        // Whatever was published before is not heard.
        tell({ kind: "missed" });
        resolve();
      },
    );
    return promise.finally(() => timer.clear());
  }
}
