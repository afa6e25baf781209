// One connection to the primary, used by one part of the feed. It notices by itself that the server is gone, hangs or was stopped: a
// statement that takes too long ends it, because a session that waits forever would look like a quiet one.

import pg from "pg";
import type { Clock } from "../../core/index.ts";
import { freshnessErrors } from "../errors.ts";

/** Statements of one connection, one after the other. */
export interface Session {
  /** The rows of one statement. `values` as pg takes them. */
  query<Row extends object = Record<string, unknown>>(text: string, values?: readonly unknown[]): Promise<Row[]>;
  /** Runs `run` between BEGIN and COMMIT on this session, which must not be used by anybody else meanwhile. */
  transaction<T>(run: (tx: Session) => Promise<T>): Promise<T>;
  /** Calls `listener` for every notification. */
  onNotification(listener: (channel: string, payload: string) => void): void;
  /** Aborted once the connection is gone, with the reason. */
  readonly lost: AbortSignal;
  /** server_version_num, such as 180004. */
  readonly serverVersion: number;
  close(): Promise<void>;
}

export interface SessionOptions {
  readonly url: string;
  /** Shown in pg_stat_activity after "millrace ". */
  readonly purpose: string;
  readonly clock: Clock;
  /** How long the connection, and each statement, may take. */
  readonly timeoutMs: number;
  /** Settings of the session, such as synchronous_commit. */
  readonly settings?: Readonly<Record<string, string>>;
}

/**
 * Opens a session.
 * @throws MILLRACE_FEED_UNREACHABLE, with the driver's error as cause.
 */
export async function openSession(options: SessionOptions): Promise<Session> {
  const client = new pg.Client({
    connectionString: options.url,
    application_name: `millrace ${options.purpose}`,
    keepAlive: true,
    keepAliveInitialDelayMillis: 5_000,
    connectionTimeoutMillis: options.timeoutMs,
  });
  const session = new ClientSession(client, options);
  try {
    await client.connect();
    const settings = Object.entries({
      ...options.settings,
      statement_timeout: "0",
      lock_timeout: "0",
      idle_in_transaction_session_timeout: "0",
    });
    const [row] = await session.query<{ version: string }>(
      `select current_setting('server_version_num') as version${settings
        .map((_, i) => `, set_config($${2 * i + 1}, $${2 * i + 2}, false)`)
        .join("")}`,
      settings.flat(),
    );
    session.serverVersion = Number(row!.version);
  } catch (error) {
    await session.close();
    const reason = error instanceof Error ? error.message : String(error);
    throw freshnessErrors.create("MILLRACE_FEED_UNREACHABLE", { purpose: options.purpose, reason }, error);
  }
  return session;
}

class ClientSession implements Session {
  serverVersion = 0;
  readonly #client: pg.Client;
  readonly #options: SessionOptions;
  readonly #lost = new AbortController();
  /** The statement before has been answered. pg will not keep a queue of its own for long. */
  #free: Promise<unknown> = Promise.resolve();

  constructor(client: pg.Client, options: SessionOptions) {
    this.#client = client;
    this.#options = options;
    client.on("error", (error) => this.#lost.abort(error));
    client.on("end", () => this.#lost.abort(new Error("The connection was closed.")));
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  async query<Row extends object>(text: string, values: readonly unknown[] = []): Promise<Row[]> {
    this.#lost.signal.throwIfAborted();
    const { promise: timedOut, reject } = Promise.withResolvers<never>();
    using _timer = this.#options.clock.timer(this.#options.timeoutMs, () => {
      const error = freshnessErrors.create("MILLRACE_FEED_UNREACHABLE", {
        purpose: this.#options.purpose,
        reason: `no answer within ${this.#options.timeoutMs} ms`,
      });
      this.#destroy(error);
      reject(error);
    });
    const answer = this.#free.then(() => this.#client.query<Row>(text, values as unknown[]));
    this.#free = answer.catch(() => {}); // it rejects a second time when the timer has ended the connection
    return (await Promise.race([answer, timedOut])).rows;
  }

  async transaction<T>(run: (tx: Session) => Promise<T>): Promise<T> {
    await this.query("begin");
    try {
      const result = await run(this);
      await this.query("commit");
      return result;
    } catch (error) {
      if (!this.#lost.signal.aborted) await this.query("rollback").catch((failed: Error) => this.#destroy(failed));
      throw error;
    }
  }

  onNotification(listener: (channel: string, payload: string) => void): void {
    this.#client.on("notification", ({ channel, payload }) => listener(channel, payload ?? ""));
  }

  async close(): Promise<void> {
    if (this.#lost.signal.aborted) return this.#destroy(this.#lost.signal.reason as Error);
    const { promise: timedOut, resolve } = Promise.withResolvers<void>();
    using _timer = this.#options.clock.timer(this.#options.timeoutMs, resolve);
    await Promise.race([this.#client.end().catch(() => {}), timedOut]);
    this.#destroy(new Error("The session was closed."));
  }

  #destroy(reason: Error): void {
    this.#lost.abort(reason);
    (this.#client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
  }
}
