// How the store's own statements run: outside of whatever transaction, request or observer happens to be around, within a bounded time,
// and with failures of the server told apart from mistakes.

import { Deadline } from "../../concurrency/index.ts";
import { type Clock, MillraceError } from "../../core/index.ts";
import { type Database, type Sql, databaseErrors, unobserved } from "../../database/index.ts";
import { tasksErrors } from "../errors.ts";
import { storeUnavailable } from "../store-failure.ts";

/**
 * SQLSTATE classes in which the server, not the statement, is at fault: 08 connections, 25 read-only after a fail-over, 40 deadlocks and
 * serialization, 53 out of resources, 55 in use, 57 shut down, 58 the system.
 */
const passing = /^(?:08|25|40|53|55|57|58)...$/;

/** undefined_table, invalid_schema_name, undefined_function: setup() has not been done, or has been undone. */
const missing = new Set(["42P01", "3F000", "42883"]);

/** Whether asking again later may help. */
function mayPass(error: unknown): boolean {
  if (error instanceof MillraceError)
    return (
      error.retryable ||
      databaseErrors.is(error, "MILLRACE_DATABASE_COMMIT_UNKNOWN") ||
      databaseErrors.is(error, "MILLRACE_DATABASE_CONNECTION_LOST")
    );
  const { code } = error as { code?: unknown };
  return typeof code !== "string" || passing.test(code) || !/^[0-9A-Z]{5}$/.test(code); // Node's own codes are of the network
}

/** The error of a statement on the store's tables as the contract has it. */
export function translated(operation: string, error: unknown): unknown {
  if (missing.has((error as { code?: string }).code ?? "")) {
    return tasksErrors.create("MILLRACE_TASKS_NOT_SET_UP", { reason: (error as Error).message }, error);
  }
  if (tasksErrors.is(error, "MILLRACE_TASKS_STORE_UNAVAILABLE")) return error;
  return mayPass(error) ? storeUnavailable("postgresql", operation, error) : error;
}

export class Calls {
  readonly database: Database;
  readonly #timeoutMs: number;
  readonly #clock: Clock;

  constructor(database: Database, timeoutMs: number, clock: Clock) {
    this.database = database;
    this.#timeoutMs = timeoutMs;
    this.#clock = clock;
  }

  /** @throws MILLRACE_TASKS_STORE_UNAVAILABLE, MILLRACE_TASKS_NOT_SET_UP */
  rows<Row>(operation: string, statement: Sql<Row>): Promise<Row[]> {
    return this.bounded(operation, (deadline) =>
      unobserved(() => this.database.outsideTransaction(() => this.database.many(statement, { signal: deadline }))),
    );
  }

  async row<Row>(operation: string, statement: Sql<Row>): Promise<Row> {
    return (await this.rows(operation, statement))[0]!;
  }

  /** Runs `work` under a deadline of its own; `parent` may end it sooner. */
  async bounded<Result>(operation: string, work: (deadline: Deadline) => Promise<Result>, parent?: Deadline): Promise<Result> {
    using deadline = new Deadline({ timeoutMs: this.#timeoutMs, parent, clock: this.#clock });
    try {
      return await work(deadline);
    } catch (error) {
      if (parent?.aborted) throw error; // whoever asked does not want to know any more
      throw translated(operation, error);
    }
  }
}
