// A small client for one memcached server: requests of the meta protocol, pipelined over a few connections. It opens connections
// when they are needed and fails at once while a server is away.

import { type Socket, connect } from "node:net";
import type { Clock, Timer } from "../../core/index.ts";
import { MemcachedParser, type MemcachedReply, flagOf } from "./memcached-parser.ts";

/** Where a server is. */
export interface MemcachedAddress {
  /** For messages and for the choice of a server by key: "host:port" or the socket's path. */
  readonly name: string;
  readonly host?: string;
  readonly port?: number;
  readonly path?: string;
}

export interface MemcachedClientSetup {
  readonly address: MemcachedAddress;
  readonly connections: number;
  readonly connectTimeoutMs: number;
  /** A connection that owes an answer and is silent for this long is closed. */
  readonly silenceMs: number;
  readonly largestValue: number;
  readonly clock: Clock;
}

/** Requests that may wait for their answers on one connection: more would only wait to fail. */
const mostWaiting = 10_000;

/** Pause after an attempt to connect has failed: doubled up to the second, with jitter. */
const firstPauseMs = 50;
const longestPauseMs = 2_000;

interface Waiting {
  /** Sent with the request and to be given back: an answer to another request ends the connection. */
  readonly opaque: string;
  readonly resolve: (reply: MemcachedReply) => void;
  readonly reject: (error: Error) => void;
}

const lineEnd = Buffer.from("\r\n");

export class MemcachedClient {
  readonly name: string;
  readonly #lanes: readonly Lane[];
  #next = 0;

  constructor(setup: MemcachedClientSetup) {
    this.name = setup.address.name;
    this.#lanes = Array.from({ length: setup.connections }, () => new Lane(setup));
  }

  /**
   * Sends requests together, on one connection and in this order. A request is a line without its end, and the data block if it has
   * one. Rejects when the server is away or the connection breaks; then nobody knows what was done.
   */
  send(...requests: readonly { readonly line: string; readonly data?: Uint8Array }[]): Promise<MemcachedReply[]> {
    for (let passed = 0; passed < this.#lanes.length; passed++) {
      this.#next = (this.#next + 1) % this.#lanes.length;
      // One that rests after a failure is passed by while another works: the server is back.
      if (!this.#lanes[this.#next]!.isResting) break;
    }
    return this.#lanes[this.#next]!.send(requests);
  }

  close(): void {
    for (const lane of this.#lanes) lane.close();
  }
}

/** One connection. */
class Lane {
  readonly #setup: MemcachedClientSetup;
  #socket: Socket | undefined;
  #isClosed = false;
  #waiting: Waiting[] = [];
  /** Answered requests at the head of #waiting: it is cut now and then instead of shifted each time. */
  #answered = 0;
  #opaque = 0;
  #failures = 0;
  #notBeforeMs = 0;
  #lastReason = "it is not connected";
  #silence: Timer | undefined;

  constructor(setup: MemcachedClientSetup) {
    this.#setup = setup;
  }

  /** It has failed a moment ago, and does not try to connect yet. */
  get isResting(): boolean {
    return !this.#socket && this.#setup.clock.monotonic() < this.#notBeforeMs;
  }

  send(requests: readonly { readonly line: string; readonly data?: Uint8Array }[]): Promise<MemcachedReply[]> {
    if (this.#isClosed) return Promise.reject(new Error("it is closed"));
    if (this.isResting) return Promise.reject(new Error(this.#lastReason));
    if (this.#waiting.length - this.#answered + requests.length > mostWaiting) {
      return Promise.reject(new Error(`${mostWaiting} requests already wait for it`));
    }
    const socket = (this.#socket ??= this.#connect());
    socket.cork();
    const replies = requests.map(({ line, data }) => {
      const opaque = (this.#opaque = (this.#opaque + 1) % 1_000_000_000).toString(36);
      socket.write(`${line} O${opaque}\r\n`, "latin1");
      if (data) {
        socket.write(data);
        socket.write(lineEnd);
      }
      return new Promise<MemcachedReply>((resolve, reject) => this.#waiting.push({ opaque, resolve, reject }));
    });
    socket.uncork();
    this.#watchSilence();
    return Promise.all(replies);
  }

  close(): void {
    this.#isClosed = true;
    this.#fail(new Error("it is closed"));
  }

  #connect(): Socket {
    const { address, connectTimeoutMs, largestValue, clock } = this.#setup;
    const socket =
      address.path === undefined ? connect({ host: address.host!, port: address.port!, noDelay: true }) : connect(address.path);
    const parser = new MemcachedParser((reply) => this.#onReply(reply), largestValue);
    const timer = clock.timer(connectTimeoutMs, () => socket.destroy(new Error(`no connection within ${connectTimeoutMs} ms`)));
    const isCurrent = () => this.#socket === socket;
    socket.on("connect", () => timer.clear());
    socket.on("data", (chunk) => {
      if (!isCurrent()) return;
      this.#silence?.clear();
      this.#silence = undefined;
      try {
        parser.push(chunk);
      } catch (error) {
        this.#fail(error as Error);
      }
      if (isCurrent()) this.#watchSilence();
    });
    socket.on("error", (error) => isCurrent() && this.#fail(error));
    socket.on("close", () => {
      timer.clear();
      if (isCurrent()) this.#fail(new Error("the connection was closed"));
    });
    socket.unref(); // an idle connection is no reason for the process to stay; a request has its timer
    return socket;
  }

  #onReply(reply: MemcachedReply): void {
    const waiting = this.#waiting[this.#answered];
    if (!waiting) throw new Error("the server sent an answer that nobody asked for");
    const opaque = flagOf(reply, "O");
    // Errors carry none; the order holds all the same.
    if (opaque !== waiting.opaque && reply.code !== "SERVER_ERROR") throw new Error("the server sent an answer out of order");
    this.#failures = 0;
    this.#answered++;
    if (this.#answered === this.#waiting.length || this.#answered >= 1_024) {
      this.#waiting = this.#waiting.slice(this.#answered);
      this.#answered = 0;
    }
    waiting.resolve(reply);
  }

  /** One timer while anything is owed; every byte that arrives starts it anew. */
  #watchSilence(): void {
    if (this.#silence || this.#waiting.length === this.#answered) return;
    const { clock, silenceMs } = this.#setup;
    this.#silence = clock.timer(silenceMs, () => this.#fail(new Error(`it was silent for ${silenceMs} ms`)));
  }

  #fail(error: Error): void {
    const { clock } = this.#setup;
    const socket = this.#socket;
    const owed = this.#waiting.slice(this.#answered);
    this.#socket = undefined;
    this.#waiting = [];
    this.#answered = 0;
    this.#silence?.clear();
    this.#silence = undefined;
    this.#lastReason = error.message || (error as NodeJS.ErrnoException).code || "it cannot be reached";
    const fullMs = Math.min(longestPauseMs, firstPauseMs * 2 ** Math.min(this.#failures++, 20));
    this.#notBeforeMs = clock.monotonic() + fullMs * (0.5 + Math.random() / 2);
    socket?.destroy();
    for (const waiting of owed) waiting.reject(error);
  }
}
