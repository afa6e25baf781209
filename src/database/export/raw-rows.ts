// A query whose rows reach us as the bytes that the server sent, past pg's parser, which would make a string of every field.
// pg's client keeps running the show: the parser gets every message but the rows. See docs/decisions/export.md.

import pg, { type Connection } from "pg";
import pgUtils from "pg/lib/utils.js";
import { blockBytes } from "./byte-output.ts";

const { DatabaseError } = pg;

/** Message types of the protocol (PostgreSQL documentation, 54.7). */
const dataRow = 0x44;
const notice = 0x4e;
const notification = 0x41;
const parameterStatus = 0x53;
const bindType = 0x42;
/** A message is its type, its length (which counts itself), its content. */
const headerBytes = 5;

export interface RawRowsOptions {
  readonly text: string;
  readonly values: readonly unknown[];
  /** Per column of the result: true for PostgreSQL's binary format. */
  readonly binary: readonly boolean[];
  readonly maxRowBytes: number;
  /**
   * Takes the complete DataRow messages that lie one behind the other from `start` and returns where the first byte lies that
   * is not part of one. It must not keep `bytes`.
   */
  readonly onRows: (bytes: Buffer, start: number, end: number) => number;
  /** Called for a row of more than maxRowBytes, which is then thrown away; to be answered by fail(). */
  readonly onTooLarge: (bytes: number) => void;
  /** Called when what has arrived so far has been worked off. */
  readonly onIdle: () => void;
}

type DataListener = (bytes: Buffer) => void;

/** Submit it with `client.query(rows)` on a client that does not pipeline, then wait for `done`. */
export class RawRows {
  /** Resolves when the server has sent all rows; rejects with what went wrong. */
  readonly done: Promise<void>;
  readonly #options: RawRowsOptions;
  readonly #resolve: () => void;
  readonly #reject: (error: unknown) => void;
  #connection: Connection | undefined;
  /** pg's own listener while ours is in its place. */
  #parser: DataListener | undefined;
  /** The beginning of a message whose rest has not arrived; room for all of it once its length is known. */
  #carry: Buffer = Buffer.allocUnsafeSlow(headerBytes);
  #carryLength = 0;
  /** Bytes still to come of a row that is thrown away. */
  #skip = 0;
  #discarding = false;
  #paused = false;
  #executed = false;
  #failure: { readonly error: unknown } | undefined;

  constructor(options: RawRowsOptions) {
    this.#options = options;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.done = promise;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  /** Stops reading: the server stops sending once the buffers between it and us are full. */
  pause(): void {
    if (this.#paused || this.#discarding) return;
    this.#paused = true;
    if (this.#parser) this.#connection!.stream.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (this.#parser) this.#connection!.stream.resume();
  }

  /**
   * Makes `error` the outcome and throws away the rows that still come. A server that is blocked in sending does not look at a
   * cancel request before it got rid of its bytes, so whoever cancels must let them be read.
   */
  fail(error: unknown): void {
    this.#failure ??= { error };
    this.#discarding = true;
    this.resume();
  }

  /** For observers of the connection. */
  get text(): string {
    return this.#options.text;
  }

  // From here on: what pg's client calls, as it does on pg-cursor.

  submit(connection: Connection): Error | void {
    this.#connection = connection;
    let bind: Buffer;
    try {
      bind = bindMessage(this.#options.values, this.#options.binary);
    } catch (error) {
      return error as Error;
    }
    connection.once("bindComplete", this.#onBound);
    connection.parse({ name: "", text: this.#options.text, types: [] }, true);
    connection.stream.write(bind);
    // Waiting for the answer to Bind costs a round trip, and guarantees that nothing but rows follows: no message is half in
    // pg's parser when our listener takes over, and errors of the statement itself are still the parser's.
    connection.flush();
  }

  handleCommandComplete(): void {}

  handleEmptyQuery(): void {}

  /** The last call after an error: pg's client waits for ReadyForQuery itself before it runs the next query. */
  handleError(error: unknown): void {
    this.#failure ??= { error };
    if (!this.#executed && error instanceof DatabaseError) this.#connection!.sync();
    this.#settle();
  }

  handleReadyForQuery(): void {
    this.#settle();
  }

  #settle(): void {
    this.#giveBack();
    this.#connection?.removeListener("bindComplete", this.#onBound);
    if (this.#failure) this.#reject(this.#failure.error);
    else this.#resolve();
  }

  readonly #onBound = (): void => {
    const connection = this.#connection!;
    this.#parser = connection.stream.listeners("data")[0] as DataListener;
    connection.stream.removeListener("data", this.#parser);
    connection.stream.on("data", this.#onData);
    this.#executed = true;
    connection.execute({ portal: "", rows: "0" }, true);
    connection.sync();
    if (this.#paused) connection.stream.pause();
  };

  /** Puts pg's parser back. */
  #giveBack(): void {
    if (!this.#parser) return;
    const { stream } = this.#connection!;
    stream.removeListener("data", this.#onData);
    stream.on("data", this.#parser);
    this.#parser = undefined;
    stream.resume();
  }

  readonly #onData = (bytes: Buffer): void => {
    const end = bytes.length;
    let offset = 0;
    while (offset < end) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, end - offset);
        this.#skip -= skipped;
        offset += skipped;
        continue;
      }
      if (this.#carryLength > 0) {
        offset = this.#carryOn(bytes, offset);
        continue;
      }
      if (!this.#discarding) {
        offset = this.#options.onRows(bytes, offset, end);
        if (offset === end) break;
      }
      const type = bytes[offset]!;
      if (type !== dataRow && type !== notice && type !== notification && type !== parameterStatus) {
        // The rows are over. pg's parser goes on from here, and calls what handles the end.
        const parser = this.#parser!;
        this.#giveBack();
        parser(offset === 0 ? bytes : bytes.subarray(offset));
        return;
      }
      const length = end - offset < headerBytes ? Infinity : 1 + bytes.readUInt32BE(offset + 1);
      if (type === dataRow && length < Infinity && (this.#discarding || this.#isTooLarge(length))) {
        this.#skip = length;
      } else if (offset + length <= end) {
        this.#parser!(bytes.subarray(offset, offset + length));
        offset += length;
      } else {
        offset = this.#keep(bytes, offset, end);
      }
    }
    if (!this.#discarding) this.#options.onIdle();
    free(bytes);
  };

  /** Adds what is missing to the message that is being kept, works it off when it is whole, and returns where it ended. */
  #carryOn(bytes: Buffer, start: number): number {
    const offset = this.#carryLength < headerBytes ? this.#keep(bytes, start, start + headerBytes - this.#carryLength) : start;
    if (this.#carryLength < headerBytes) return offset;
    const isRow = this.#carry[0] === dataRow;
    const length = 1 + this.#carry.readUInt32BE(1);
    if (isRow && (this.#discarding || this.#isTooLarge(length))) {
      this.#skip = length - this.#carryLength;
      this.#carryLength = 0;
      return offset;
    }
    if (this.#carry.length < length) {
      const larger = Buffer.allocUnsafeSlow(length);
      this.#carry.copy(larger, 0, 0, this.#carryLength);
      this.#carry = larger;
    }
    const ended = this.#keep(bytes, offset, offset + length - this.#carryLength);
    if (this.#carryLength < length) return ended;
    this.#carryLength = 0;
    if (isRow) this.#options.onRows(this.#carry, 0, length);
    else this.#parser!(Buffer.from(this.#carry.subarray(0, length)));
    if (this.#carry.length > blockBytes) this.#carry = Buffer.allocUnsafeSlow(headerBytes);
    return ended;
  }

  /** Keeps the bytes from `from` to `to`, as far as there are any. */
  #keep(bytes: Buffer, from: number, to: number): number {
    const until = Math.min(to, bytes.length);
    const length = this.#carryLength + until - from;
    if (length > this.#carry.length) {
      const larger = Buffer.allocUnsafeSlow(length);
      this.#carry.copy(larger, 0, 0, this.#carryLength);
      this.#carry = larger;
    }
    bytes.copy(this.#carry, this.#carryLength, from, until);
    this.#carryLength = length;
    return until;
  }

  #isTooLarge(bytes: number): boolean {
    if (bytes <= this.#options.maxRowBytes) return false;
    this.#options.onTooLarge(bytes);
    return true;
  }
}

/**
 * Frees the memory of what a socket has read. It would be garbage anyway, but V8 looks for that kind of garbage only after
 * 64 MB of it: an export allocates next to nothing else (docs/decisions/export.md). A part of a larger buffer is not ours to free.
 */
function free({ buffer, byteLength }: Buffer): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}

/** Bind for the unnamed statement and portal, with a result format per column: pg's own writes one format for all. */
function bindMessage(values: readonly unknown[], binary: readonly boolean[]): Buffer {
  const parameters = values.map((value) => {
    const prepared = pgUtils.prepareValue(value);
    if (prepared === null) return null;
    return Buffer.isBuffer(prepared) ? { format: 1, bytes: prepared } : { format: 0, bytes: Buffer.from(prepared) };
  });
  const count = parameters.length;
  const size =
    2 +
    2 +
    count * 2 +
    2 +
    parameters.reduce((sum, parameter) => sum + 4 + (parameter?.bytes.length ?? 0), 0) +
    2 +
    binary.length * 2;
  const message = Buffer.alloc(headerBytes + size);
  let at = message.writeUInt8(bindType, 0);
  at = message.writeUInt32BE(4 + size, at) + 2; // two empty names
  at = message.writeUInt16BE(count, at);
  for (const parameter of parameters) at = message.writeUInt16BE(parameter?.format ?? 0, at);
  at = message.writeUInt16BE(count, at);
  for (const parameter of parameters) {
    at = message.writeInt32BE(parameter ? parameter.bytes.length : -1, at);
    if (parameter) at += parameter.bytes.copy(message, at);
  }
  at = message.writeUInt16BE(binary.length, at);
  for (const isBinary of binary) at = message.writeUInt16BE(isBinary ? 1 : 0, at);
  return message;
}
