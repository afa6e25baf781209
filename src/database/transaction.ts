// Transactions: begin, commit, roll back, savepoints for nesting, and running again what PostgreSQL says may be run again.
// See docs/transactions.md.

import type pg from "pg";
import { type Deadline, currentContext } from "../concurrency/index.ts";
import { type Clock, systemClock } from "../core/index.ts";
import { queryChannel, transactionChannel } from "./channels.ts";
import { databaseErrors } from "./errors.ts";
import type { Database } from "./database.ts";
import { isConnectionLoss } from "./pool/connection.ts";
import type { Lease } from "./pool/pool.ts";
import { runQuery } from "./pool/run-query.ts";
import type { IsolationLevel, QueryOptions, Transaction, TransactionOptions } from "./queryable.ts";
import { Runner, withDeadline } from "./runner.ts";

/** Enough for a conflict among a handful of writers; more retries under heavy conflict only add load. */
const defaultRetries = 3;

/** Pause before the n-th repetition: full jitter up to 10 ms · 2ⁿ (10, 20, 40 …), so that the two who collided do not meet again. */
const retryPauseMs = (attempt: number): number => Math.random() * 10 * 2 ** attempt;

/** How long a cancelled statement and the rollback may take before the connection is destroyed instead of reused. */
const stopTimeoutMs = 5_000;

/** What a transaction needs of the database that it belongs to. */
export interface TransactionHost extends Database {
  /** Runs `work` so that the database knows of the transaction around it. */
  enter<Result>(tx: TransactionHandle, work: () => Promise<Result>): Promise<Result>;
}

/** Runs `work` in a transaction of its own, again where that is safe. */
export function runTransaction<Result>(
  host: TransactionHost,
  work: (tx: Transaction) => Promise<Result>,
  options: TransactionOptions = {},
  clock: Clock = systemClock,
): Promise<Result> {
  const retries = options.retries ?? defaultRetries;
  return withDeadline(options.signal ?? currentContext()?.deadline, async (deadline) => {
    for (let attempt = 1; ; attempt++) {
      const startedMs = clock.monotonic();
      const report = (outcome: "committed" | "rolled back" | "retried") => {
        if (transactionChannel.hasSubscribers)
          transactionChannel.publish({ outcome, attempt, durationMs: clock.monotonic() - startedMs });
      };
      try {
        const result = await runOnce(host, work, options, deadline);
        report("committed");
        return result;
      } catch (error) {
        if (deadline?.aborted || attempt > retries || !mayRunAgain(error)) {
          report("rolled back");
          if (!isConnectionLoss(error)) throw error;
          throw databaseErrors.create(
            "MILLRACE_DATABASE_UNAVAILABLE",
            { server: host.pool.server, reason: (error as Error).message },
            error,
          );
        }
        report("retried");
        await pause(retryPauseMs(attempt - 1), deadline, clock);
      }
    }
  });
}

/** Nothing of the failed run is in the database, and another run may succeed. */
function mayRunAgain(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  // 40001 serialization failure, 40P01 deadlock; 26000 and 0A000: a prepared statement has become invalid, the next run prepares it anew.
  return (
    code === "40001" ||
    code === "40P01" ||
    code === "26000" ||
    (code === "0A000" && /cached plan/.test((error as Error).message)) ||
    isConnectionLoss(error)
  );
}

async function pause(ms: number, deadline: Deadline | undefined, clock: Clock): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  using _timer = clock.timer(ms, resolve, true);
  const forget = deadline?.onAbort(reject);
  await promise.finally(forget);
}

async function runOnce<Result>(
  host: TransactionHost,
  work: (tx: Transaction) => Promise<Result>,
  options: TransactionOptions,
  deadline: Deadline | undefined,
): Promise<Result> {
  const lease = await host.pool.lease(deadline);
  const tx = new TransactionHandle(host, lease, deadline);
  const { promise: ended, reject } = Promise.withResolvers<never>();
  ended.catch(() => {});
  const forget = deadline?.onAbort((reason) => {
    lease.cancel();
    reject(reason);
  });
  let committed: TransactionHandle | undefined;
  try {
    await tx.command(beginStatement(options));
    // The deadline also ends a callback that waits for something else: the connection must not be held for it.
    const result = await Promise.race([host.enter(tx, () => work(tx)), ended]);
    await tx.commit();
    lease.release();
    committed = tx;
    return result;
  } catch (error) {
    const rolledBack = tx.rollback(error);
    if (!deadline?.aborted) await rolledBack; // at a deadline the caller is told at once; the connection comes back when the server has stopped
    throw error;
  } finally {
    forget?.();
    tx.end();
    committed?.tellCommitted();
  }
}

const isolationLevels: Readonly<Record<IsolationLevel, string>> = {
  "read committed": "read committed",
  "repeatable read": "repeatable read",
  serializable: "serializable",
};

function beginStatement({ isolation = "read committed", readOnly = false, deferrable = false }: TransactionOptions): string {
  return `begin isolation level ${isolationLevels[isolation]}${readOnly ? " read only" : ""}${deferrable ? " deferrable" : ""}`;
}

/** A transaction or, nested, a savepoint in one. */
export class TransactionHandle extends Runner implements Transaction {
  readonly #host: TransactionHost;
  readonly #lease: Lease;
  readonly #deadline: Deadline | undefined;
  readonly #depth: number;
  /** The statement before: pg's clients want one at a time. */
  #previous: Promise<unknown> = Promise.resolve();
  #nested: TransactionHandle | undefined;
  #ended = false;
  /** Who wants to hear of the commit; made at first use. */
  #commitListeners: (() => void)[] | undefined;

  constructor(host: TransactionHost, lease: Lease, deadline: Deadline | undefined, depth = 0) {
    super();
    this.#host = host;
    this.#lease = lease;
    this.#deadline = deadline;
    this.#depth = depth;
  }

  get client(): pg.ClientBase {
    this.#assertUsable();
    return this.#lease.client;
  }

  get database(): Database {
    return this.#host;
  }

  get ended(): boolean {
    return this.#ended;
  }

  afterCommit(listener: () => void): void {
    this.#assertUsable();
    (this.#commitListeners ??= []).push(listener);
  }

  /** After the commit. */
  tellCommitted(): void {
    for (const listener of this.#commitListeners ?? []) listener();
  }

  async transaction<Result>(work: (tx: Transaction) => Promise<Result>): Promise<Result> {
    this.#assertUsable();
    const savepoint = `millrace_${this.#depth + 1}`;
    const nested = new TransactionHandle(this.#host, this.#lease, this.#deadline, this.#depth + 1);
    this.#nested = nested;
    try {
      await this.command(`savepoint ${savepoint}`);
      const result = await this.#host.enter(nested, () => work(nested));
      await nested.#settle();
      await this.command(`release savepoint ${savepoint}`);
      if (nested.#commitListeners) (this.#commitListeners ??= []).push(...nested.#commitListeners);
      return result;
    } catch (error) {
      await nested.#settle();
      if (!this.#lease.connection.broken) await this.command(`rollback to savepoint ${savepoint}; release savepoint ${savepoint}`);
      throw error;
    } finally {
      nested.end();
      this.#nested = undefined;
    }
  }

  /** Runs a command of the transaction's own, after everything before it. */
  async command(text: string): Promise<pg.QueryResult> {
    return await this.#inOrder(() => this.#lease.client.query(text));
  }

  async commit(): Promise<void> {
    await this.#settle();
    const { connection } = this.#lease;
    // The callback has said commit or rollback itself: what it did after that was in no transaction, and is not to be called committed.
    if (connection.isIdle && !connection.broken) throw databaseErrors.create("MILLRACE_DATABASE_TRANSACTION_ENDED_INSIDE", {});
    try {
      connection.beginStatement();
      const { command } = await this.#lease.client.query("commit");
      if (command === "ROLLBACK") throw databaseErrors.create("MILLRACE_DATABASE_TRANSACTION_ABORTED", {});
    } catch (error) {
      if (!isConnectionLoss(error)) throw error;
      if (connection.completed) return; // the server said that it has committed before the connection broke
      if (connection.provesNoEffect(error)) throw error;
      throw databaseErrors.create("MILLRACE_DATABASE_COMMIT_UNKNOWN", { reason: (error as Error).message }, error);
    }
  }

  /** Rolls back and gives the connection back; closes it when that is not possible. Never rejects. */
  async rollback(cause: unknown): Promise<void> {
    this.end();
    using _timer = systemClock.timer(stopTimeoutMs, () => this.#lease.connection.destroy());
    await this.#settle();
    if (isConnectionLoss(cause) || this.#lease.connection.broken) return this.#lease.release(cause);
    await this.#lease.connection.settled();
    if (this.#lease.connection.isIdle) return this.#lease.release(); // COMMIT has already rolled back
    try {
      await this.#lease.client.query("rollback");
      this.#lease.release();
    } catch (error) {
      this.#lease.release(error);
    }
  }

  /** From now on every use is refused. */
  end(): void {
    this.#ended = true;
  }

  protected override cursorSecret(): Promise<Buffer> | Buffer {
    return this.#host.cursorSecret();
  }

  protected override async execute(
    text: string,
    values: readonly unknown[],
    options: QueryOptions,
    deadline: Deadline | undefined = this.#deadline,
  ): Promise<pg.QueryResult> {
    this.#assertUsable();
    const watched = queryChannel.hasSubscribers ? performance.now() : 0;
    const publish = (rows: number | null, error: unknown) => {
      if (watched) queryChannel.publish({ text, durationMs: performance.now() - watched, path: "transaction", rows, error });
    };
    try {
      const result = await this.#inOrder(() => this.#run(text, values, options, deadline));
      publish(result.rowCount, undefined);
      return result;
    } catch (error) {
      publish(null, error);
      throw deadline?.aborted ? deadline.reason : error;
    }
  }

  async #run(
    text: string,
    values: readonly unknown[],
    options: QueryOptions,
    deadline: Deadline | undefined,
  ): Promise<pg.QueryResult> {
    const { pool } = this.#host;
    const name = pool.preparedName(text);
    const forget = deadline === this.#deadline ? undefined : deadline?.onAbort(() => this.#lease.cancel());
    try {
      const { rowMode, types } = options;
      return await runQuery(this.#lease.client, { text, name, values, rowMode, types, queryMode: "extended" });
    } catch (error) {
      pool.renewIfInvalid(text, error);
      throw error;
    } finally {
      forget?.();
      await this.#lease.connection.settled();
    }
  }

  #inOrder<Result>(work: () => Promise<Result>): Promise<Result> {
    const next = this.#previous.then(() => {
      this.#deadline?.throwIfAborted();
      return work();
    });
    this.#previous = next.catch(() => {});
    return next;
  }

  /** Waits for statements that were started and not awaited. */
  async #settle(): Promise<void> {
    await this.#previous;
  }

  #assertUsable(): void {
    if (this.#ended) throw databaseErrors.create("MILLRACE_DATABASE_TRANSACTION_ENDED", {});
    if (this.#nested) throw databaseErrors.create("MILLRACE_DATABASE_TRANSACTION_OPEN", {});
  }
}
