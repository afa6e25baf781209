// What a capability has to say goes to node:diagnostics_channel. Metrics, logs, traces and the dashboard subscribe;
// a capability that nobody watches pays one property read.

import { channel as diagnosticsChannel } from "node:diagnostics_channel";

/** A named, typed diagnostics channel. Names read `millrace:<capability>:<event>`. */
export interface DiagnosticsChannel<Message extends object> {
  readonly name: string;
  /** Check it before building a message on a hot path. */
  readonly hasSubscribers: boolean;
  publish(message: Message): void;
  /** Calls `listener` for every message until the returned subscription is disposed. A listener must not throw. */
  subscribe(listener: (message: Message) => void): Disposable;
  /** Resolves with the next message that `matches` accepts (default: any). For tests: wait for events, do not poll. */
  next(matches?: (message: Message) => boolean, signal?: AbortSignal): Promise<Message>;
}

/** Declares a channel; see any channels.ts. */
export function defineChannel<Message extends object>(name: `millrace:${string}:${string}`): DiagnosticsChannel<Message> {
  const inner = diagnosticsChannel(name);
  const subscribe = (listener: (message: Message) => void): Disposable => {
    const onMessage = (message: unknown) => listener(message as Message);
    inner.subscribe(onMessage);
    return {
      [Symbol.dispose]: () => {
        inner.unsubscribe(onMessage);
      },
    };
  };
  return {
    name,
    get hasSubscribers() {
      return inner.hasSubscribers;
    },
    publish: (message) => inner.publish(message),
    subscribe,
    next: (matches = () => true, signal) =>
      new Promise((resolve, reject) => {
        signal?.throwIfAborted();
        const subscription = subscribe((message) => {
          try {
            if (!matches(message)) return;
            resolve(message);
          } catch (error) {
            reject(error);
          }
          finish();
        });
        const onAbort = () => {
          finish();
          reject(signal!.reason);
        };
        const finish = () => {
          subscription[Symbol.dispose]();
          signal?.removeEventListener("abort", onAbort);
        };
        signal?.addEventListener("abort", onAbort, { once: true });
      }),
  };
}
