// LISTEN and NOTIFY: how idle workers hear within milliseconds that there is something to do.
//
// NOTIFY is never part of a transaction that enqueues. At commit it takes a lock that the whole server has one of, so that
// transactions which notify commit one after the other; docs/decisions/tasks.md has figures. It is sent after the commit, on a connection
// of the pool, and once for however many tasks came meanwhile. A wake-up that is lost costs one poll interval.

import pg from "pg";
import { type Clock, type Closeable, type Timer } from "../../core/index.ts";
import { type Database, sql } from "../../database/index.ts";
import type { StoreEvent } from "../store.ts";
import type { Calls } from "./calls.ts";
import { wakeUpChannel } from "./functions.ts";

/** From one notification to the next: workers that are busy need none, and idle ones hear of the first at once. */
const quietMs = 5;

/** Pauses between attempts to listen again. */
const firstPauseMs = 100;
const longestPauseMs = 5_000;

/** Sends what others should hear, a few statements per second at the most, and never fails: whoever enqueued has succeeded. */
export class Notifier {
  readonly #calls: Calls;
  readonly #clock: Clock;
  #payloads = new Set<string>();
  #timer: Timer | undefined;
  #sending: Promise<void> | undefined;

  constructor(calls: Calls, clock: Clock) {
    this.#calls = calls;
    this.#clock = clock;
  }

  ready(queue: string): void {
    this.#add(`r${queue}`);
  }

  cancel(id: string): void {
    this.#add(`c${id}`);
  }

  /** Sends what is left. */
  async close(): Promise<void> {
    this.#timer?.clear();
    this.#timer = undefined;
    await this.#sending;
    await this.#send();
  }

  #add(payload: string): void {
    this.#payloads.add(payload);
    if (!this.#timer && !this.#sending) void this.#send();
  }

  #send(): Promise<void> {
    return (this.#sending ??= this.#flush().finally(() => {
      this.#sending = undefined;
      if (this.#payloads.size > 0) {
        this.#timer ??= this.#clock.timer(quietMs, () => {
          this.#timer = undefined;
          void this.#send();
        });
      }
    }));
  }

  async #flush(): Promise<void> {
    if (this.#payloads.size === 0) return;
    const payloads = [...this.#payloads];
    this.#payloads = new Set();
    try {
      // Nobody needs to find it on the disk, and whoever is woken need not wait for that.
      await this.#calls.rows(
        "notify",
        sql`
          with quick as materialized (select set_config('synchronous_commit', 'off', true))
          select pg_notify(${wakeUpChannel}, p) from quick, unnest(${payloads}::text[]) p`,
      );
    } catch {
      // The server is gone, and so is whoever listens; they look at everything when it is back.
    }
  }
}

function eventOf(payload: string): StoreEvent {
  const rest = payload.slice(1);
  return payload.startsWith("c") ? { kind: "cancel", id: rest } : { kind: "ready", queue: rest };
}

/** One connection that listens, for as long as somebody wants to hear. */
export class Listening {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #listeners = new Set<(event: StoreEvent) => void>();
  #client: pg.Client | undefined;
  #timer: Timer | undefined;
  #pauseMs = firstPauseMs;
  #closed = false;

  constructor(database: Database, clock: Clock) {
    this.#database = database;
    this.#clock = clock;
  }

  /** Resolves when events are heard, or the first attempt to has failed: it is tried again by itself. */
  async add(listener: (event: StoreEvent) => void): Promise<Closeable> {
    this.#listeners.add(listener);
    if (this.#listeners.size === 1) await this.#connect();
    const close = async (): Promise<void> => {
      if (!this.#listeners.delete(listener) || this.#listeners.size > 0) return;
      await this.#disconnect();
    };
    return { close, [Symbol.asyncDispose]: close };
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#listeners.clear();
    await this.#disconnect();
  }

  #tell(event: StoreEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  async #connect(): Promise<void> {
    const { max: _, ...config } = this.#database.pool.options;
    const client = new pg.Client({
      ...config,
      application_name: "millrace tasks",
      keepAlive: true,
      connectionTimeoutMillis: 10_000,
    });
    this.#client = client;
    client.on("notification", ({ payload }) => this.#tell(eventOf(payload ?? "")));
    client.on("error", () => {}); // "end" follows
    client.on("end", () => this.#lost(client));
    try {
      await client.connect();
      await client.query(`listen ${wakeUpChannel}`);
      this.#pauseMs = firstPauseMs;
      this.#tell({ kind: "missed" });
    } catch {
      await client.end().catch(() => {});
      this.#lost(client);
    }
  }

  #lost(client: pg.Client): void {
    if (this.#client !== client) return;
    this.#client = undefined;
    if (this.#closed || this.#listeners.size === 0) return;
    this.#timer?.clear();
    this.#timer = this.#clock.timer(this.#pauseMs, () => void this.#connect());
    this.#pauseMs = Math.min(longestPauseMs, this.#pauseMs * 2);
  }

  async #disconnect(): Promise<void> {
    this.#timer?.clear();
    const client = this.#client;
    this.#client = undefined;
    await client?.end().catch(() => {});
  }
}
