// The ways to ask for rows, on top of one way to run a statement. Database and Transaction both extend it.

import type pg from "pg";
import { Deadline } from "../concurrency/index.ts";
import { databaseErrors } from "./errors.ts";
import { type KeysetRequest, type Page, pageOf } from "./keyset/index.ts";
import type { QueryOptions, QueryResult, Queryable, Transaction, TransactionOptions } from "./queryable.ts";
import type { Sql } from "./sql.ts";

export abstract class Runner implements Queryable {
  /** Runs a rendered statement under a deadline. */
  protected abstract execute(
    text: string,
    values: readonly unknown[],
    options: QueryOptions,
    deadline: Deadline | undefined,
  ): Promise<pg.QueryResult>;
  protected abstract cursorSecret(): Promise<Buffer> | Buffer;
  abstract transaction<Result>(work: (tx: Transaction) => Promise<Result>, options?: TransactionOptions): Promise<Result>;

  query<Row>(statement: Sql<Row>, options: QueryOptions = {}): Promise<QueryResult<Row>> {
    const { text, values } = statement.render();
    return withDeadline(options.signal, (deadline) => this.execute(text, values, options, deadline) as Promise<QueryResult<Row>>);
  }

  async many<Row>(statement: Sql<Row>, options?: QueryOptions): Promise<Row[]> {
    return (await this.query(statement, options)).rows;
  }

  async one<Row>(statement: Sql<Row>, options?: QueryOptions): Promise<Row> {
    const row = await this.maybeOne(statement, options);
    if (row === undefined) throw databaseErrors.create("MILLRACE_DATABASE_ROW_MISSING", { text: statement.render().text });
    return row;
  }

  async maybeOne<Row>(statement: Sql<Row>, options?: QueryOptions): Promise<Row | undefined> {
    const { rows } = await this.query(statement, options);
    if (rows.length > 1) {
      throw databaseErrors.create("MILLRACE_DATABASE_ROWS_UNEXPECTED", { rows: rows.length, text: statement.render().text });
    }
    return rows[0];
  }

  async page<Row>(request: KeysetRequest, statement: Sql<Row>): Promise<Page<Row>> {
    return pageOf(this, request, statement, await this.cursorSecret());
  }
}

/** Runs `work` under a deadline: the given one, one made of a signal for as long as the work takes, or none. */
export function withDeadline<Result>(
  signal: AbortSignal | Deadline | undefined,
  work: (deadline: Deadline | undefined) => Promise<Result>,
): Promise<Result> {
  if (signal === undefined || signal instanceof Deadline) return work(signal);
  const deadline = new Deadline({ parent: signal });
  return work(deadline).finally(() => deadline[Symbol.dispose]());
}
