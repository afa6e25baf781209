// Which connections exist and who has them: min, size, overflow, ping, recycling, and a bounded queue of those who wait.
// See docs/connection-pool.md.

import type pg from "pg";
import type { Deadline } from "../../concurrency/index.ts";
import type { Clock, ResolvedOptions } from "../../core/index.ts";
import { type PoolMessage, poolChannel, poolWaitChannel } from "../channels.ts";
import { databaseErrors } from "../errors.ts";
import type { poolChecks } from "../options.ts";
import { Connection, type ConnectionConfig, recycleAt } from "./connection.ts";

/** pg's pool events, with the client that they are about. */
export type Announce = (event: "connect" | "acquire" | "release" | "remove", client: pg.Client) => void;

interface Waiter {
  readonly sinceMs: number;
  resolve(connection: Connection): void;
  reject(error: unknown): void;
}

/** How long a ping may take before the connection counts as dead: as long as a request may wait for a connection, but at most a second. */
const maxPingMs = 1_000;

export class Checkout {
  readonly #config: ConnectionConfig;
  readonly #options: ResolvedOptions<typeof poolChecks>;
  readonly #clock: Clock;
  readonly #announce: Announce;
  /** Last released, first reused: the busiest stay warm and the others can close. */
  readonly #idle: Connection[] = [];
  readonly #inUse = new Set<Connection>();
  readonly #waiting = new Set<Waiter>();
  #opening = 0;
  #pinging = 0;
  #closed = false;
  #drained: PromiseWithResolvers<void> | undefined;
  #sweep: Disposable | undefined;

  constructor(config: ConnectionConfig, options: ResolvedOptions<typeof poolChecks>, clock: Clock, announce: Announce) {
    this.#config = config;
    this.#announce = announce;
    this.#options = options;
    this.#clock = clock;
  }

  get total(): number {
    return this.#idle.length + this.#inUse.size + this.#opening + this.#pinging;
  }

  get idle(): number {
    return this.#idle.length;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** Opens the connections that are kept at least. Failures are left to the first request that needs one. */
  async warmUp(): Promise<void> {
    const missing = Math.max(0, Math.min(this.#options.min, this.#options.size) - this.total);
    await Promise.all(Array.from({ length: missing }, () => this.#open()));
  }

  /**
   * A connection of one's own until release().
   * @throws MILLRACE_DATABASE_POOL_EXHAUSTED after acquireTimeout or when too many wait, MILLRACE_DATABASE_UNAVAILABLE when none
   * can be opened, the deadline's reason when it ends first.
   */
  async acquire(deadline?: Deadline): Promise<Connection> {
    for (;;) {
      deadline?.throwIfAborted();
      if (this.#closed)
        throw databaseErrors.create("MILLRACE_DATABASE_UNAVAILABLE", { server: "this pool", reason: "the pool is closed" });
      const connection = this.#idle.pop();
      if (!connection) return await this.#wait(deadline);
      if (connection.broken) {
        this.#discard(connection, "closed");
      } else if (!this.#mustPing(connection)) {
        return this.#handOut(connection);
      } else if (await this.#answers(connection)) {
        return this.#handOut(connection);
      }
    }
  }

  /** Gives a connection back. One with a failure, or with a transaction left open, is closed rather than reused. */
  release(connection: Connection, failure?: unknown): void {
    const cancelling = connection.settled();
    if (cancelling && !connection.broken) {
      void cancelling.then(() => this.release(connection, failure));
      return;
    }
    if (!this.#inUse.delete(connection)) return;
    this.#announce("release", connection.client);
    if (failure || connection.broken || !connection.isIdle) this.#discard(connection, "closed");
    else if (this.#clock.monotonic() >= connection.recycleAtMs) this.#discard(connection, "recycled");
    else if (this.#waiting.size === 0 && this.total >= this.#options.size) this.#discard(connection, "overflow-closed");
    else this.#putBack(connection);
    this.#openForWaiting();
    this.#noteDrained();
  }

  /** After one connection was found dead: the others are pinged before they are used. */
  suspectIdle(): void {
    for (const connection of this.#idle) connection.suspect = true;
  }

  /** Refuses new requests, serves those that wait already, waits until every connection is released, and ends them all. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#sweep?.[Symbol.dispose]();
    if (!this.#isDrained) {
      this.#drained = Promise.withResolvers();
      await this.#drained.promise;
    }
    await Promise.all(this.#idle.splice(0).map((connection) => connection.end()));
  }

  get #isDrained(): boolean {
    return this.#inUse.size === 0 && this.#waiting.size === 0 && this.#opening === 0 && this.#pinging === 0;
  }

  #noteDrained(): void {
    if (this.#drained && this.#isDrained) this.#drained.resolve();
  }

  #mustPing(connection: Connection): boolean {
    return connection.suspect || this.#clock.monotonic() - connection.idleSinceMs >= this.#options.pingAfter;
  }

  async #answers(connection: Connection): Promise<boolean> {
    connection.keepProcessAlive(true);
    this.#pinging++;
    const alive = await connection.ping(Math.min(this.#options.acquireTimeout, maxPingMs), this.#clock);
    this.#pinging--;
    this.#noteDrained();
    if (alive) {
      connection.suspect = false;
      return true;
    }
    this.#discard(connection, "ping-failed");
    return false;
  }

  #handOut(connection: Connection): Connection {
    connection.keepProcessAlive(true);
    this.#inUse.add(connection);
    this.#announce("acquire", connection.client);
    return connection;
  }

  #wait(deadline: Deadline | undefined): Promise<Connection> {
    const sinceMs = this.#clock.monotonic();
    const exhausted = () =>
      databaseErrors.create("MILLRACE_DATABASE_POOL_EXHAUSTED", {
        inUse: this.#inUse.size,
        waiting: this.#waiting.size,
        waitedMs: this.#clock.monotonic() - sinceMs,
      });
    if (this.#waiting.size >= this.#options.maxWaiting + this.#spare + this.#opening) {
      this.#publish("refused");
      return Promise.reject(exhausted());
    }
    return new Promise((resolve, reject) => {
      const settle = () => {
        this.#waiting.delete(waiter);
        timer.clear();
        forget?.();
        this.#noteDrained();
      };
      const waiter: Waiter = {
        sinceMs,
        resolve: (connection) => {
          settle();
          if (poolWaitChannel.hasSubscribers) poolWaitChannel.publish({ waitedMs: this.#clock.monotonic() - sinceMs });
          resolve(connection);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
      this.#waiting.add(waiter);
      const timer = this.#clock.timer(
        this.#options.acquireTimeout,
        () => {
          this.#publish("refused");
          waiter.reject(exhausted());
        },
        true,
      );
      const forget = deadline?.onAbort((reason) => waiter.reject(reason));
      this.#openForWaiting();
    });
  }

  /** How many more connections may be opened. */
  get #spare(): number {
    return Math.max(0, this.#options.size + this.#options.overflow - this.total);
  }

  /** Opens a connection for each request that waits, as far as the limit goes. */
  #openForWaiting(): void {
    while (this.#waiting.size > this.#opening && this.#spare > 0) {
      void this.#open();
    }
  }

  #firstWaiting(): Waiter | undefined {
    return this.#waiting.values().next().value;
  }

  /** Opens one connection and puts it where it is needed. A failure fails the request that waits longest. Never rejects. */
  async #open(): Promise<void> {
    this.#opening++;
    let connection: Connection;
    try {
      connection = await Connection.open(this.#config, this.#clock, recycleAt(this.#clock, this.#options.recycleAfter));
    } catch (error) {
      this.#opening--;
      this.#firstWaiting()?.reject(error);
      this.#openForWaiting();
      this.#noteDrained();
      return;
    }
    this.#opening--;
    this.#announce("connect", connection.client);
    this.#publish("opened");
    this.#putBack(connection);
    this.#noteDrained();
  }

  /** To whoever waits longest, or to the idle ones. */
  #putBack(connection: Connection): void {
    const waiter = this.#firstWaiting();
    if (waiter) {
      waiter.resolve(this.#handOut(connection));
      return;
    }
    connection.idleSinceMs = this.#clock.monotonic();
    connection.keepProcessAlive(false);
    this.#idle.push(connection);
    if (!this.#closed) this.#scheduleSweep();
  }

  #discard(connection: Connection, event: PoolMessage["event"]): void {
    if (connection.broken || event === "ping-failed" || event === "closed") connection.destroy();
    else void connection.end();
    this.#announce("remove", connection.client);
    this.#publish(event);
  }

  /** One timer for all: looks every half idleTimeout for connections that are idle or old enough to close. */
  #scheduleSweep(): void {
    const { idleTimeout, recycleAfter } = this.#options;
    const everyMs = Math.min(idleTimeout || Infinity, recycleAfter || Infinity) / 2;
    if (this.#sweep || !Number.isFinite(everyMs)) return;
    this.#sweep = this.#clock.timer(Math.max(10, everyMs), () => {
      this.#sweep = undefined;
      this.#closeIdle();
      if (this.#idle.length > 0) this.#scheduleSweep();
    });
  }

  #closeIdle(): void {
    const now = this.#clock.monotonic();
    const { idleTimeout, min } = this.#options;
    for (const connection of [...this.#idle]) {
      const old = now >= connection.recycleAtMs;
      const unused = idleTimeout > 0 && now - connection.idleSinceMs >= idleTimeout && this.total > min;
      if (!old && !unused && !connection.broken) continue;
      this.#idle.splice(this.#idle.indexOf(connection), 1);
      this.#discard(connection, old && !connection.broken ? "recycled" : "overflow-closed");
    }
    void this.warmUp();
  }

  #publish(event: PoolMessage["event"]): void {
    if (poolChannel.hasSubscribers)
      poolChannel.publish({ event, total: this.total, idle: this.#idle.length, waiting: this.#waiting.size });
  }
}
