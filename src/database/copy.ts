// COPY … FROM STDIN: rows into a table as fast as PostgreSQL takes them, in a transaction, as much in memory as a socket holds.
// See docs/transactions.md.

import type { Socket } from "node:net";
import { Deadline, type Ending, endingOf } from "../concurrency/index.ts";
import type { Transaction } from "./queryable.ts";
import type { Sql } from "./sql.ts";

export interface CopyOptions {
  /** Ends it; the transaction can only be rolled back then. Default: the deadline of the running work. */
  readonly signal?: Ending | undefined;
}

/** What pg's connection has for COPY; its public types leave it out. */
interface CopyConnection {
  readonly stream: Socket;
  query(text: string): void;
  sendCopyFromChunk(chunk: Uint8Array): void;
  endCopyFrom(): void;
  sendCopyFail(message: string): void;
}

/** A statement that pg's client runs like its own queries. */
class CopyIn {
  readonly text: string;
  readonly done: Promise<number>;
  readonly #source: AsyncIterable<Uint8Array>;
  readonly #settled = Promise.withResolvers<number>();
  #sending: Promise<void> = Promise.resolve();
  #stopped: { readonly reason: unknown } | undefined;
  #ended = false;
  #rows = 0;
  #wake: () => void = () => {};

  constructor(text: string, source: AsyncIterable<Uint8Array>) {
    this.text = text;
    this.#source = source;
    this.done = this.#settled.promise;
    this.done.catch(() => {}); // its caller hears of it
  }

  submit(connection: CopyConnection): void {
    connection.query(this.text);
  }

  /** Ends it with `reason`. While PostgreSQL waits for rows it hears of nothing else, a cancel request included. */
  stop(reason: unknown): void {
    this.#stopped ??= { reason };
    this.#wake();
  }

  handleCopyInResponse(connection: CopyConnection): void {
    this.#sending = this.#send(connection);
  }

  handleCommandComplete(message: { readonly text?: string }): void {
    this.#rows = Number(/\d+$/.exec(message.text ?? "")?.[0] ?? 0);
  }

  handleError(error: Error): void {
    this.#ended = true;
    this.#wake();
    // What was stopped here comes back as a failure of the server's; the reason is ours.
    void this.#sending.then(() => this.#settled.reject(this.#stopped ? this.#stopped.reason : error));
  }

  handleReadyForQuery(): void {
    this.#ended = true;
    this.#wake();
    void this.#sending.then(() => this.#settled.resolve(this.#rows));
  }

  // A COPY has none of these; a statement that is none might.
  handleRowDescription(): void {}
  handleDataRow(): void {}
  handlePortalSuspended(): void {}
  handleEmptyQuery(): void {}

  async #send(connection: CopyConnection): Promise<void> {
    const { stream } = connection;
    const iterator = this.#source[Symbol.asyncIterator]();
    const closed = () => this.#wake();
    stream.once("close", closed);
    try {
      while (!this.#stopped && !this.#ended && !stream.destroyed) {
        const next = await Promise.race([iterator.next(), this.#woken()]);
        if (!next || this.#stopped) continue;
        if (next.done) {
          connection.endCopyFrom();
          return;
        }
        connection.sendCopyFromChunk(next.value);
        if (stream.writableNeedDrain) await this.#drained(stream);
      }
    } catch (error) {
      this.#stopped ??= { reason: error };
    } finally {
      stream.removeListener("close", closed);
      void Promise.resolve(iterator.return?.()).catch(() => {});
    }
    if (this.#stopped && !this.#ended && !stream.destroyed) connection.sendCopyFail("stopped by the client");
  }

  /** Resolves when it is to look around. */
  #woken(): Promise<undefined> {
    return new Promise((resolve) => {
      this.#wake = () => resolve(undefined);
    });
  }

  async #drained(stream: Socket): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    stream.once("drain", resolve);
    await promise;
    stream.removeListener("drain", resolve);
  }
}

/**
 * Runs `statement`, a COPY … FROM STDIN, in `tx` with the bytes of `source` as its rows, and resolves with how many there were. The
 * source is read as fast as the server takes it, and closed. What the source throws, or the signal's reason, ends the COPY; the
 * transaction can only be rolled back then. An identifier may stand in the statement, a parameter may not: COPY takes none.
 */
export async function copyInto(
  tx: Transaction,
  statement: Sql,
  source: AsyncIterable<Uint8Array>,
  options: CopyOptions = {},
): Promise<number> {
  using deadline = new Deadline({ parent: endingOf(options) });
  deadline.throwIfAborted();
  const copy = new CopyIn(statement.render().text, source);
  deadline.onAbort((reason) => copy.stop(reason));
  (tx.client as unknown as { query(query: CopyIn): unknown }).query(copy);
  return await copy.done;
}
