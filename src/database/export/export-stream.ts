// An export: a statement's rows as a stream of bytes. See docs/streaming-export.md, and docs/decisions/export.md for why it
// reads the protocol itself instead of running COPY.
//
// | state    | its statement              | a failure becomes                              | destroy() does                       |
// | -------- | -------------------------- | ---------------------------------------------- | ------------------------------------ |
// | waiting  | none: nobody has read yet  | —                                              | nothing                              |
// | opening  | begin, describe, catalog   | the stream's error                             | cancels what runs, rolls back        |
// | sending  | the export's own           | NDJSON: a last line; else the stream's error   | cancels it, reads it dry, rolls back |
// | settling | commit or rollback         | a closed connection                            | waits for it                         |

import { OutgoingMessage } from "node:http";
import { Socket } from "node:net";
import { Readable } from "node:stream";
import type { Client } from "pg";
import { type Deadline, currentContext } from "../../concurrency/index.ts";
import { MillraceError, systemClock } from "../../core/index.ts";
import { exportChannel } from "../channels.ts";
import { databaseErrors } from "../errors.ts";
import { isConnectionLoss } from "../pool/connection.ts";
import type { Sql } from "../sql.ts";
import { ByteOutput, blockBytes } from "./byte-output.ts";
import { CsvRows } from "./csv-rows.ts";
import { describeStatement } from "./describe-statement.ts";
import { planColumns } from "./export-columns.ts";
import { JsonRows } from "./json-rows.ts";
import { type ExportFormat, type ExportOptions, contentTypes, resolveExportOptions } from "./options.ts";
import { RawRows } from "./raw-rows.ts";
import type { RowEncoder } from "./row-encoder.ts";

/** A connection of one's own for a while, as the pool hands it out. */
export interface ExportLease {
  /** A pg Client that does not pipeline and runs nothing else meanwhile. */
  readonly client: Client;
  /** Gives it back; with a failure it is closed. */
  release(failure?: unknown): void;
  /** Cancels what runs on it. */
  cancel(): Promise<void> | void;
  /** True when it is inside of a transaction already, whose snapshot the export then shares. */
  readonly inTransaction?: boolean;
}

/** The bytes of an export. It starts with the first read, and ends, errors or is destroyed like any Readable. */
export interface ExportStream extends Readable {
  readonly contentType: string;
  readonly format: ExportFormat;
  /** Rows sent so far. */
  readonly rows: number;
  /** Why an NDJSON export ended with an error line, which is not an error of the stream; undefined otherwise. */
  readonly failure: unknown;
}

/** How long encoded rows wait for more before they are sent: a slow statement's rows arrive all the same. */
const flushAfterMs = 100;
/** How long a cancelled statement may take to end before its connection is closed instead of reused. */
const stopTimeoutMs = 5_000;
/** Connections tried before a lost connection is reported, as for any statement that only reads. */
const maxRuns = 3;
/** Four blocks read ahead: the socket drains one while we encode the next, and a stalled reader costs 256 KB. */
const highWaterMark = 4 * blockBytes;
/** Blocks remembered as lent; more than a response takes before it asks for a pause. */
const maxLent = 8;

class ExportReadable extends Readable implements ExportStream {
  readonly format: ExportFormat;
  readonly contentType: string;
  failure: unknown;

  readonly #acquire: () => Promise<ExportLease>;
  readonly #statement: Sql;
  readonly #maxRowBytes: number;
  readonly #signal: AbortSignal | Deadline | undefined;
  readonly #output: ByteOutput;
  #forgetSignal: () => void = () => {};
  #running: Promise<void> | undefined;
  #lease: ExportLease | undefined;
  #rows: RawRows | undefined;
  #encoder: RowEncoder | undefined;
  #flushing: { clear(): void } | undefined;
  #cancelled: Promise<void> | undefined;
  /** Set when the export is to end early: why. */
  #stopped: { readonly reason: unknown } | undefined;
  #settled = false;
  #piped = false;
  /** Where the bytes go, when it is the only place and one that tells how much it still holds. */
  #drain: OutgoingMessage | Socket | undefined;
  #lent: Buffer[] = [];
  #bytes = 0;
  #startedMs = 0;

  constructor(acquire: () => Promise<ExportLease>, statement: Sql, options: ExportOptions) {
    super({ highWaterMark });
    const { format, maxRowBytes, signal } = resolveExportOptions(options);
    this.format = format;
    this.contentType = contentTypes[format];
    this.#acquire = acquire;
    this.#statement = statement;
    this.#maxRowBytes = maxRowBytes;
    this.#signal = signal ?? currentContext()?.deadline;
    this.#output = new ByteOutput((block) => this.#send(block));
  }

  get rows(): number {
    return this.#encoder?.rows ?? 0;
  }

  override _read(): void {
    if (this.#running) this.#rows?.resume();
    else this.#running = this.#run();
  }

  /** As any Readable's. Responses and sockets tell how much they still hold, which lets their blocks be used again. */
  override pipe<Destination extends NodeJS.WritableStream>(destination: Destination, options?: { end?: boolean }): Destination {
    const first = this.#drain === undefined && !this.#piped;
    this.#piped = true;
    this.#drain = first && (destination instanceof OutgoingMessage || destination instanceof Socket) ? destination : undefined;
    return super.pipe(destination, options);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#stop(error ?? databaseErrors.create("MILLRACE_EXPORT_INTERRUPTED", { rows: this.rows }));
    void this.#close(error, callback);
  }

  /** Closed means that the connection is back. While it is still waited for there is none to give back: #attempt does it later. */
  async #close(error: Error | null, callback: (error?: Error | null) => void): Promise<void> {
    if (this.#lease) await this.#running;
    callback(error);
  }

  async #run(): Promise<void> {
    this.#startedMs = systemClock.monotonic();
    this.#listen();
    let error = await this.#attempt();
    // A connection that turns out to be dead before it has given us anything is no reason to fail.
    for (let run = 1; run < maxRuns && isConnectionLoss(error) && this.#bytes === 0 && !this.#stopped; run++)
      error = await this.#attempt();
    this.#settled = true;
    this.#forgetSignal();
    this.#flushing?.clear();
    if (!this.destroyed) this.#finish(error);
    this.#publish(error);
  }

  /** Runs the statement on a connection, which it gives back. Returns what went wrong. */
  async #attempt(): Promise<unknown> {
    this.#output.length = 0;
    this.#rows = undefined;
    let lease: ExportLease | undefined;
    let broken: unknown;
    try {
      this.#throwIfStopped();
      lease = this.#lease = await this.#acquire();
      this.#throwIfStopped();
      if (!lease.inTransaction) await lease.client.query("begin isolation level repeatable read, read only");
      this.#throwIfStopped();
      await this.#transfer(lease.client);
      if (!lease.inTransaction) await lease.client.query("commit");
      return undefined;
    } catch (error) {
      broken = await this.#rollBack(lease);
      return this.#stopped ? this.#stopped.reason : error;
    } finally {
      this.#lease = undefined;
      lease?.release(broken);
    }
  }

  async #transfer(client: Client): Promise<void> {
    const statement = this.#statement.render();
    const described = await describeStatement(client, statement.text);
    if (described.length === 0) throw databaseErrors.create("MILLRACE_EXPORT_NO_COLUMNS", { text: statement.text });
    const { text, columns } = await planColumns(client, statement.text, described, this.format);
    this.#throwIfStopped();

    const output = this.#output;
    const encoder = this.format === "csv" ? new CsvRows(output, columns) : new JsonRows(output, columns, this.format === "json");
    this.#encoder = encoder;
    encoder.begin();
    const rows = new RawRows({
      text,
      values: statement.values,
      binary: columns.map(({ binary }) => binary),
      maxRowBytes: this.#maxRowBytes,
      onRows: (bytes, start, end) => encoder.encode(bytes, start, end),
      onTooLarge: (bytes) =>
        this.#stop(databaseErrors.create("MILLRACE_EXPORT_ROW_TOO_LARGE", { bytes, maxRowBytes: this.#maxRowBytes })),
      onIdle: () => this.#flushSoon(),
    });
    this.#rows = rows;
    client.query(rows);
    await rows.done;
  }

  /** Ends the transaction of an export that failed. Returns what makes its connection unfit for others, if anything does. */
  async #rollBack(lease: ExportLease | undefined): Promise<unknown> {
    await this.#cancelled;
    if (!lease || lease.inTransaction) return undefined;
    const rollBack = () => lease.client.query("rollback");
    try {
      // A cancel request that arrives late hits the rollback; there can be only one.
      await within(stopTimeoutMs, rollBack().catch(rollBack));
      return undefined;
    } catch (error) {
      return error;
    }
  }

  /** Tells the reader how it ended, unless the reader has left. */
  #finish(failure: unknown): void {
    const error = isConnectionLoss(failure)
      ? databaseErrors.create("MILLRACE_EXPORT_INTERRUPTED", { rows: this.rows }, failure)
      : failure;
    if (error === undefined) {
      this.#encoder!.end();
      this.#output.flush();
      this.push(null);
    } else if (this.format === "ndjson" && this.#bytes > 0) {
      this.failure = error;
      this.#output.writeText(errorLine(error, this.rows));
      this.#output.flush();
      this.push(null);
    } else {
      // JSON stays without its closing bracket and CSV cannot say it: whoever reads must see the connection break.
      this.destroy(error as Error);
    }
  }

  /** Ends the export early. Safe at any time; only the first reason counts. */
  #stop(reason: unknown): void {
    if (this.#stopped || this.#settled) return;
    this.#stopped = { reason };
    this.#rows?.fail(reason);
    const lease = this.#lease;
    if (!lease) return;
    this.#cancelled = Promise.resolve(lease.cancel());
    const timer = systemClock.timer(stopTimeoutMs, () => lease.client.connection.stream.destroy());
    void this.#running?.then(() => timer.clear());
  }

  #throwIfStopped(): void {
    if (this.#stopped) throw this.#stopped.reason;
  }

  #listen(): void {
    const signal = this.#signal;
    if (!signal) return;
    if (!(signal instanceof AbortSignal)) {
      this.#forgetSignal = signal.onAbort((reason) => this.#stop(reason));
      return;
    }
    const onAbort = () => this.#stop(signal.reason);
    if (signal.aborted) return onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    this.#forgetSignal = () => signal.removeEventListener("abort", onAbort);
  }

  #send(block: Buffer): void {
    this.#flushing?.clear();
    this.#flushing = undefined;
    if (this.destroyed) return;
    this.#bytes += block.length;
    this.#reclaim();
    this.#lent.push(block);
    if (!this.push(block)) this.#rows?.pause();
  }

  /**
   * Takes back the blocks that the kernel has got. Blocks made anew each time are garbage that V8 lets grow to 64 MB before it
   * looks, since next to nothing else is allocated meanwhile (docs/decisions/export.md).
   */
  #reclaim(): void {
    const drain = this.#drain;
    if (drain?.writableLength === 0 && this.readableLength === 0 && this.listenerCount("data") === 1) {
      for (const block of this.#lent) this.#output.recycle(block);
      this.#lent.length = 0;
    } else if (this.#lent.length >= maxLent) {
      this.#lent.shift();
    }
  }

  #flushSoon(): void {
    if (this.#output.length > 0) this.#flushing ??= systemClock.timer(flushAfterMs, () => this.#output.flush());
  }

  #publish(error: unknown): void {
    if (!exportChannel.hasSubscribers) return;
    exportChannel.publish({
      format: this.format,
      outcome: error === undefined ? "complete" : this.#stopped ? "cancelled" : "failed",
      rows: this.rows,
      bytes: this.#bytes,
      durationMs: systemClock.monotonic() - this.#startedMs,
      error,
    });
  }
}

/** What the last line of a failed NDJSON export says: the kit's code, or that of any failure; nothing of the server's message. */
function errorLine(error: unknown, rows: number): string {
  const known = error instanceof MillraceError ? error : databaseErrors.create("MILLRACE_EXPORT_INTERRUPTED", { rows });
  return `${JSON.stringify({ error: { code: known.code, retryable: known.retryable, rows } })}\n`;
}

async function within<T>(timeoutMs: number, work: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  using _timer = systemClock.timer(timeoutMs, () => reject(new Error(`No answer within ${timeoutMs} ms.`)));
  return await Promise.race([work, promise]);
}

/**
 * The rows of `statement` as a stream of bytes, read in one read-only snapshot on a connection that `acquire` provides. The
 * connection is asked for when the stream is first read, and given back when it has ended, failed or been destroyed.
 * @throws MILLRACE_OPTION_INVALID; the stream errors with what the server says, the signal's reason, or MILLRACE_EXPORT_…
 */
export function exportFrom(acquire: () => Promise<ExportLease>, statement: Sql, options: ExportOptions): ExportStream {
  return new ExportReadable(acquire, statement, options);
}

/** Whether `value` is what exportFrom() returns: a stream that ends itself at its work's deadline, each format in its way. */
export function isExportStream(value: unknown): value is ExportStream {
  return value instanceof ExportReadable;
}
