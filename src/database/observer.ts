// Hearing of every statement that leaves a pool, whoever wrote it: the sql tag, Kysely, Drizzle or raw pg. The cache finds out by it
// what an answer was read from, and what this process has written. See docs/freshness.md.

import { AsyncLocalStorage } from "node:async_hooks";

const quiet = new AsyncLocalStorage<true>();

/** Runs statements that no observer hears of: the kit's own, whose results are no part of what anybody asked. */
export const unobserved = <Result>(work: () => Result): Result => quiet.run(true, work);

/** Whether observers hear of what runs now. */
export const isObserved = (): boolean => quiet.getStore() === undefined;

/** A connection as an observer sees it. */
export interface ObservedSession {
  /** Whether no transaction is open on it: what was written on it before is committed or rolled back. */
  readonly idle: boolean;
}

export interface ObservedStatement {
  readonly text: string;
  readonly values: readonly unknown[] | undefined;
  /** The connection, always the same object for one; undefined on shared connections, where nothing can be written. */
  readonly session: ObservedSession | undefined;
}

/** What became of a statement. */
export interface ObservedEnd {
  readonly error: unknown;
  /** As the driver gave them, objects or arrays; undefined for cursors, COPY and several statements in one text. */
  readonly rows: readonly unknown[] | undefined;
  readonly fields: readonly { readonly name: string; readonly dataTypeID: number }[] | undefined;
}

export interface StatementObserver {
  /**
   * Called before the statement is sent, in the context (AsyncLocalStorage) of whoever runs it. What it returns is called once, after the
   * server's answer and before the caller hears of it. Neither may throw.
   */
  onStatement(statement: ObservedStatement): ((end: ObservedEnd) => void) | undefined;
}
