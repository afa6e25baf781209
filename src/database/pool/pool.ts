// The pool: pg's shape outside (query, connect, end, totalCount …), so that whatever takes a pg Pool takes this one; inside,
// pipelined connections for short reads and checked-out ones for the rest. See docs/connection-pool.md.

import { EventEmitter } from "node:events";
import pg from "pg";
import { type Deadline, currentContext } from "../../concurrency/index.ts";
import { type Clock, type ResolvedOptions, resolveOptions, systemClock } from "../../core/index.ts";
import { type QueryMessage, queryChannel } from "../channels.ts";
import { databaseErrors } from "../errors.ts";
import { type ObservedEnd, type StatementObserver, isObserved } from "../observer.ts";
import { type PoolOptions, poolChecks, poolDefaults } from "../options.ts";
import { type Announce, Checkout } from "./checkout.ts";
import { type Connection, type ConnectionConfig, isConnectionLoss, serverOf } from "./connection.ts";
import { observeClient } from "./observe-client.ts";
import { type Execution, Pipeline } from "./pipeline.ts";
import { runQuery } from "./run-query.ts";
import { Statements } from "./statements.ts";

/** Runs of one statement before its failure is reported: the first, one more after a lost connection, one after that. */
const maxRuns = 3;

/** How a single statement is run; everything else of pg's QueryConfig is as in pg. */
export interface RunOptions {
  readonly rowMode?: "array" | undefined;
  readonly types?: pg.CustomTypesConfig | undefined;
  /** Prepared under this name on connections of its own, instead of the pool's own naming. */
  readonly name?: string | undefined;
  /** false: never on a shared connection. */
  readonly pipeline?: boolean | undefined;
  /** Ends the wait and cancels the statement. Default: the running work's deadline. */
  readonly deadline?: Deadline | undefined;
}

type QueryCallback = (error: Error | undefined, result?: pg.QueryResult) => void;
type ReleaseCallback = (error?: Error | boolean) => void;
type ConnectCallback = (error: Error | undefined, client?: pg.PoolClient, release?: ReleaseCallback) => void;

/**
 * Fills and checks pool options.
 * @throws MILLRACE_OPTION_INVALID, MILLRACE_OPTION_UNKNOWN
 */
export function resolvePoolOptions(options: PoolOptions): ResolvedOptions<typeof poolChecks> {
  return resolveOptions("the pool", options, poolDefaults, poolChecks);
}

/** A connection of one's own for a while. */
export interface Lease {
  readonly client: pg.Client;
  readonly connection: Connection;
  /** Gives it back; with a failure it is closed. Calling twice does nothing. */
  release(failure?: unknown): void;
  /** Cancels what runs on it. */
  cancel(): void;
}

/** The pool with pg's own type beside its own, so that whatever asks for a pg Pool takes it. */
export type Pool = MillracePool & pg.Pool;

/**
 * Creates a pool on its own, for programs that use nothing else of the kit. `config` is pg's (connectionString, ssl, types …).
 * Nothing is opened before the first use or warmUp().
 * @throws MILLRACE_OPTION_INVALID, MILLRACE_OPTION_UNKNOWN
 */
export function createPool(config: ConnectionConfig, options?: PoolOptions): Pool {
  return new MillracePool(config, options) as unknown as Pool; // the overloads of query and connect are the same, which the compiler does not see
}

/**
 * A pool of connections to one database. Events are pg's: `connect` (a place for session settings; shared connections are announced
 * too), `acquire`, `release`, `remove`. Statistics are on channels.
 */
export class MillracePool extends EventEmitter {
  /** What it was created with, as pg's Pool has it. */
  readonly options: ConnectionConfig & { readonly max: number };
  ending = false;
  ended = false;

  readonly #options: ResolvedOptions<typeof poolChecks>;
  readonly #clock: Clock;
  readonly #checkout: Checkout;
  readonly #pipeline: Pipeline;
  readonly #statements: Statements;
  readonly #observers: StatementObserver[] = [];
  #end: Promise<void> | undefined;

  constructor(config: ConnectionConfig, options: PoolOptions = {}, clock: Clock = systemClock) {
    super();
    this.#options = resolvePoolOptions(options);
    this.#clock = clock;
    const connectionConfig: ConnectionConfig = {
      connectionTimeoutMillis: this.#options.connectTimeout,
      keepAlive: true,
      ...config,
    };
    this.options = { ...config, max: this.#options.size };
    const announce: Announce = (event, client) => this.emit(event, client);
    this.#checkout = new Checkout(connectionConfig, this.#options, clock, (event, client) => {
      if (event === "connect") observeClient(client, this.#observers);
      announce(event, client);
    });
    this.#statements = new Statements(this.#options.maxPreparedStatements, clock);
    this.#pipeline = new Pipeline({
      config: { ...connectionConfig, pipeline: true },
      options: this.#options,
      clock,
      statements: this.#statements,
      elsewhere: (execution, deadline) => this.#runPooled(execution, deadline),
      announce,
    });
  }

  /** Connections that exist, the shared ones included. */
  get totalCount(): number {
    return this.#checkout.total + this.#pipeline.total;
  }

  get idleCount(): number {
    return this.#checkout.idle;
  }

  /** Requests that wait for a connection. */
  get waitingCount(): number {
    return this.#checkout.waiting;
  }

  /** pg's: connections past their maximum lifetime. Ours are replaced when they are released, so there are none. */
  readonly expiredCount = 0;

  /** Where it connects to, for messages: never the user or the password. */
  get server(): string {
    return serverOf(new pg.Client(this.options));
  }

  /** Statements in flight on shared connections. */
  get pipelinedCount(): number {
    return this.#pipeline.inFlight;
  }

  /** Opens `min` connections and the pipelined ones. Optional: the first requests do it otherwise. Never rejects. */
  async warmUp(): Promise<void> {
    await Promise.all([this.#checkout.warmUp(), this.#pipeline.open()]);
  }

  /** `observer` hears of every statement from now on, until the returned subscription is disposed. */
  observe(observer: StatementObserver): Disposable {
    this.#observers.push(observer);
    return {
      [Symbol.dispose]: () => {
        const index = this.#observers.indexOf(observer);
        if (index !== -1) this.#observers.splice(index, 1);
      },
    };
  }

  /** Runs one statement outside of any transaction. The kit's own entrance; `query` is pg's. */
  async run(text: string, values: readonly unknown[] | undefined, options: RunOptions = {}): Promise<pg.QueryResult> {
    const deadline = options.deadline ?? currentContext()?.deadline;
    deadline?.throwIfAborted();
    const statement = this.#statements.use(text);
    const execution: Execution = { statement, values, rowMode: options.rowMode, types: options.types };
    const watched = queryChannel.hasSubscribers ? this.#clock.monotonic() : 0;
    let path: QueryMessage["path"] = "pooled";
    try {
      let answer: Promise<pg.QueryResult> | undefined;
      if (options.pipeline !== false && options.name === undefined) {
        if (this.#statements.mayPipeline(statement)) answer = this.#runPipelined(execution, deadline);
        else if (!this.#statements.knowsFunctions) void this.#pipeline.open();
      }
      if (answer) path = "pipelined";
      const result = await (answer ?? this.#runPooled(execution, deadline, options.name));
      if (watched) this.#publish(text, watched, path, result.rowCount, undefined);
      return result;
    } catch (error) {
      if (watched) this.#publish(text, watched, path, null, error);
      throw error;
    }
  }

  /** The name under which `text` is prepared on any connection; undefined: not (yet). Counts a use. */
  preparedName(text: string): string | undefined {
    return this.#statements.use(text).name;
  }

  /** After a failure: when it says that the prepared form is no longer valid, the next use prepares the text anew. */
  renewIfInvalid(text: string, error: unknown): void {
    const { code } = error as { code?: unknown };
    if (code === "26000" || code === "0A000") this.#statements.renew(this.#statements.use(text));
  }

  /** A connection of one's own; `pg` code should use connect(). */
  async lease(deadline: Deadline | undefined = currentContext()?.deadline): Promise<Lease> {
    const connection = await this.#checkout.acquire(deadline);
    let released = false;
    return {
      client: connection.client,
      connection,
      release: (failure) => {
        if (released) return;
        released = true;
        if (failure && isConnectionLoss(failure)) this.#checkout.suspectIdle();
        this.#checkout.release(connection, failure);
      },
      cancel: () => connection.cancel(),
    };
  }

  /** pg's: `query(text | config, values?, callback?)`. */
  query<Row extends pg.QueryResultRow = Record<string, unknown>>(
    config: string | pg.QueryConfig,
    values?: readonly unknown[],
  ): Promise<pg.QueryResult<Row>>;
  query(config: string | pg.QueryConfig, values: readonly unknown[] | undefined | QueryCallback, callback?: QueryCallback): void;
  query(
    config: string | pg.QueryConfig,
    values?: readonly unknown[] | QueryCallback,
    callback?: QueryCallback,
  ): Promise<pg.QueryResult> | void {
    const done = typeof values === "function" ? values : callback;
    const given = typeof values === "function" ? undefined : values;
    const asked: Partial<pg.QueryConfig & pg.QueryArrayConfig> = typeof config === "string" ? { text: config } : config;
    if (typeof asked.text !== "string" || "submit" in asked) {
      throw new TypeError("pool.query takes a text or a { text, values } config; use pool.connect() for cursors and streams.");
    }
    const result = this.run(asked.text, given ?? asked.values, { rowMode: asked.rowMode, types: asked.types, name: asked.name });
    if (!done) return result;
    result.then(
      (value) => done(undefined, value),
      (error: Error) => done(error),
    );
  }

  /** pg's: a client of one's own, to be given back with `client.release()`. A context's deadline cancels what it runs. */
  connect(): Promise<pg.PoolClient>;
  connect(callback: ConnectCallback): void;
  connect(callback?: ConnectCallback): Promise<pg.PoolClient> | void {
    const client = this.#connect();
    if (!callback) return client;
    client.then(
      (value) => callback(undefined, value, (error) => value.release(error)),
      (error: Error) => callback(error),
    );
  }

  /** pg's: waits for what is in use, then ends every connection. Calling twice waits for the same end. */
  end(): Promise<void> {
    return (this.#end ??= this.#close());
  }

  async #close(): Promise<void> {
    this.ending = true;
    await Promise.all([this.#pipeline.close(), this.#checkout.close()]);
    this.ended = true;
  }

  async #connect(): Promise<pg.PoolClient> {
    const deadline = currentContext()?.deadline;
    const lease = await this.lease(deadline);
    const forget = deadline?.onAbort(() => lease.cancel());
    const released: { release(error?: Error | boolean): void } = {
      release: (error?: Error | boolean) => {
        forget?.();
        lease.release(error || undefined);
      },
    };
    return Object.assign(lease.client, released);
  }

  /** Shared connections are not observed as such: one moved statement would be heard of twice, in nobody's context. */
  #runPipelined(execution: Execution, deadline: Deadline | undefined): Promise<pg.QueryResult> | undefined {
    if (this.#observers.length === 0 || !isObserved()) return this.#pipeline.run(execution, deadline);
    const { statement, values } = execution;
    const ends = this.#observers.flatMap(
      (observer) => observer.onStatement({ text: statement.text, values, session: undefined }) ?? [],
    );
    const answer = this.#pipeline.run(execution, deadline);
    if (!answer || ends.length === 0) return answer;
    const end = (what: ObservedEnd): void => {
      for (const hear of ends) hear(what);
    };
    return answer.then(
      (result) => {
        end({ error: undefined, rows: result.rows, fields: result.fields });
        return result;
      },
      (error: unknown) => {
        end({ error, rows: undefined, fields: undefined });
        throw error;
      },
    );
  }

  async #runPooled(execution: Execution, deadline: Deadline | undefined, name?: string): Promise<pg.QueryResult> {
    const { statement } = execution;
    for (let run = 1; ; run++) {
      const lease = await this.lease(deadline);
      try {
        return await runOn(lease, execution, deadline, name ?? statement.name, this.#clock);
      } catch (error) {
        if (deadline?.aborted) throw deadline.reason;
        const { code } = error as { code?: string };
        if (!isConnectionLoss(error)) {
          if (run >= maxRuns || name !== undefined || (code !== "26000" && code !== "0A000") || statement.name === undefined)
            throw error;
          this.#statements.renew(statement);
        } else if (statement.reads !== true && !lease.connection.provesNoEffect(error)) {
          throw databaseErrors.create("MILLRACE_DATABASE_CONNECTION_LOST", { reason: (error as Error).message }, error);
        } else if (run >= maxRuns) {
          throw databaseErrors.create(
            "MILLRACE_DATABASE_UNAVAILABLE",
            { server: this.server, reason: (error as Error).message },
            error,
          );
        }
      }
    }
  }

  #publish(text: string, startedMs: number, path: QueryMessage["path"], rows: number | null, error: unknown): void {
    queryChannel.publish({ text, durationMs: this.#clock.monotonic() - startedMs, path, rows, error });
  }
}

/** How long a cancelled statement may take to stop before its connection is destroyed instead of reused. */
const stopTimeoutMs = 5_000;

/**
 * Runs one statement on a lease and releases it. When the deadline ends first the caller is told at once; the statement is
 * cancelled on the server, and the connection comes back when the server has stopped.
 */
async function runOn(
  lease: Lease,
  execution: Execution,
  deadline: Deadline | undefined,
  name: string | undefined,
  clock: Clock,
): Promise<pg.QueryResult> {
  const { statement, values, rowMode, types } = execution;
  lease.connection.beginStatement();
  // A text without a values array may be several statements, which only the simple protocol takes.
  const extended = values !== undefined || statement.reads === true;
  const answer = runQuery(lease.client, {
    text: statement.text,
    name: extended ? name : undefined,
    values,
    rowMode,
    types,
    queryMode: extended ? "extended" : undefined,
  });
  const released = answer.then(
    () => lease.release(),
    (error: unknown) => lease.release(isConnectionLoss(error) ? error : undefined),
  );
  if (!deadline) return await answer;

  const { promise: ended, reject } = Promise.withResolvers<never>();
  const forget = deadline.onAbort((reason) => {
    lease.cancel();
    const timer = clock.timer(stopTimeoutMs, () => lease.connection.destroy());
    void released.then(() => timer.clear());
    reject(reason);
  });
  try {
    return await Promise.race([answer, ended]);
  } finally {
    forget();
  }
}
