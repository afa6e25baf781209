// The replication connection of a slot, over pg's Client. pg-logical-replication would open it too, but confirms positions by a timer
// of its own and one byte too far, and writes every position as text; here nothing is confirmed that was not published.

import type { Socket } from "node:net";
import pg from "pg";
import type { Clock } from "../../../core/index.ts";

/** The parts of pg's Client that its public types leave out. */
interface ReplicationInternals {
  readonly connection: NodeJS.EventEmitter & { readonly stream: Socket; sendCopyFromChunk(chunk: Buffer): void };
}

/** How values are printed on this connection: as canonicalValue() expects them, whatever the server's or the role's settings are. */
const printing = [
  "client_encoding=UTF8",
  "datestyle=ISO",
  "timezone=UTC",
  "intervalstyle=iso_8601",
  "bytea_output=hex",
  "extra_float_digits=1",
];

/**
 * How long the server may hear nothing before it ends this connection and frees the slot: the time in which another process takes
 * over from one that is frozen. The connection answers its questions at once, and it asks after half the time.
 */
const senderTimeoutMs = 5_000;

/** How often a slot that another process still holds is tried. */
const retryMs = 50;

/** SQLSTATE object_in_use. */
const slotInUse = "55006";

export interface ReplicationOptions {
  readonly url: string;
  readonly clock: Clock;
  readonly timeoutMs: number;
  readonly slot: string;
  readonly publication: string;
  /** A message of pgoutput. The buffer is valid until the call returns; the next one comes when its promise has resolved. */
  onMessage(message: Buffer): Promise<void> | undefined;
  /** The server has sent everything up to a position, of which the halves are given. */
  onPosition(high: number, low: number): void;
  /** What has arrived so far has been handled. */
  onHandled(): void;
}

/** A stream of changes. Handles messages one after the other, and stops reading while one is being handled. */
export class Replication {
  readonly #options: ReplicationOptions;
  readonly #client: pg.Client;
  readonly #queue: Buffer[] = [];
  readonly #ended = Promise.withResolvers<never>();
  #handling = false;
  #held = false;
  #confirmedHigh = 0;
  #confirmedLow = 0;
  #heardMs: number;

  constructor(options: ReplicationOptions) {
    this.#options = options;
    this.#heardMs = options.clock.monotonic();
    this.#ended.promise.catch(() => {});
    this.#client = new pg.Client({
      connectionString: options.url,
      application_name: "millrace feed",
      connectionTimeoutMillis: options.timeoutMs,
      keepAlive: true,
      options: [...printing, `wal_sender_timeout=${senderTimeoutMs}`].map((setting) => `-c ${setting}`).join(" "),
      replication: "database",
    } as pg.ClientConfig);
    this.#client.on("error", (error) => this.#ended.reject(error));
    this.#client.on("end", () => this.#ended.reject(new Error("The replication connection was closed.")));
  }

  /** Rejects when the connection or the slot is gone. Never resolves. */
  get ended(): Promise<never> {
    return this.#ended.promise;
  }

  get #connection(): ReplicationInternals["connection"] {
    return (this.#client as unknown as ReplicationInternals).connection;
  }

  /**
   * Connects and starts at the position that the slot has confirmed. While another process still holds the slot, tries again until
   * `patienceMs` have passed: a process that died lets go within milliseconds, a frozen one after wal_sender_timeout.
   */
  async start(patienceMs: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    await this.#client.connect();
    this.#connection.on("copyData", ({ chunk }: { chunk: Buffer }) => this.#receive(chunk));
    const untilMs = clock.monotonic() + patienceMs;
    for (;;) {
      signal.throwIfAborted();
      try {
        await this.#startOnce();
        return;
      } catch (error) {
        if ((error as { code?: string }).code !== slotInUse || clock.monotonic() > untilMs) throw error;
      }
      await new Promise<void>((resolve) => clock.timer(retryMs, resolve, true));
    }
  }

  async #startOnce(): Promise<void> {
    const { slot, publication } = this.#options;
    const started = Promise.withResolvers<void>();
    const onStart = (): void => started.resolve();
    this.#connection.once("replicationStart", onStart);
    // Names are checked by options: lower-case letters, digits and underscores.
    const command = `START_REPLICATION SLOT ${slot} LOGICAL 0/0 (proto_version '1', publication_names '${publication}', messages 'true')`;
    const stream = this.#client.query(command);
    stream.catch(() => {});
    try {
      await Promise.race([started.promise, stream, this.ended]);
    } finally {
      this.#connection.off("replicationStart", onStart);
    }
    stream.then(
      () => this.#ended.reject(new Error("The server has ended the stream of changes.")),
      (error: unknown) => this.#ended.reject(error),
    );
  }

  /** Stops reading until resume(), so that the server waits instead of this process's memory growing. */
  hold(): void {
    this.#held = true;
    this.#connection.stream.pause();
  }

  resume(): void {
    if (!this.#held) return;
    this.#held = false;
    if (!this.#handling) void this.#handleRest();
  }

  /** Tells the server that everything up to a position is published. The slot keeps nothing before it. */
  confirm(high: number, low: number): void {
    this.#confirmedHigh = high;
    this.#confirmedLow = low;
    this.#sendStatus(false);
  }

  /**
   * Ends the connection when the server has not been heard for its timeout, and asks it to answer after half of that. Call it now and
   * then.
   */
  checkLiveness(): void {
    const silentMs = this.#options.clock.monotonic() - this.#heardMs;
    if (this.#held || silentMs < senderTimeoutMs / 2) return;
    if (silentMs > senderTimeoutMs) this.#fail(new Error(`The server has sent nothing for ${Math.round(silentMs)} ms.`));
    else this.#sendStatus(true);
  }

  async close(): Promise<void> {
    const { promise: timedOut, resolve } = Promise.withResolvers<void>();
    using _timer = this.#options.clock.timer(500, resolve);
    this.#queue.length = 0;
    // Without CopyDone the server would go on sending; a closed socket ends the walsender as surely.
    this.#connection.stream.destroy();
    await Promise.race([this.#client.end().catch(() => {}), timedOut]);
  }

  /** The parser reuses the memory of `chunk`, so what cannot be handled at once is copied. */
  #receive(chunk: Buffer): void {
    this.#heardMs = this.#options.clock.monotonic();
    if (this.#handling || this.#held || this.#queue.length > 0) {
      this.#queue.push(Buffer.from(chunk));
      return;
    }
    try {
      const waits = this.#handleOne(chunk);
      if (waits === undefined) this.#options.onHandled();
      else void this.#handleRest(waits);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Handles what has queued up behind `waits`, then lets the stream flow again. */
  async #handleRest(waits?: Promise<void>): Promise<void> {
    this.#handling = true;
    this.#connection.stream.pause();
    try {
      await waits;
      let next = 0;
      while (next < this.#queue.length && !this.#held) await this.#handleOne(this.#queue[next++]!);
      this.#queue.splice(0, next);
      if (!this.#held) this.#connection.stream.resume();
      this.#options.onHandled();
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#handling = false;
    }
  }

  #handleOne(chunk: Buffer): Promise<void> | undefined {
    if (chunk[0] === 0x77 /* w: changes */) return this.#options.onMessage(chunk.subarray(25));
    if (chunk[0] !== 0x6b /* k: keepalive */) return undefined;
    this.#options.onPosition(chunk.readUInt32BE(1), chunk.readUInt32BE(5));
    if (chunk[17] === 1) this.#sendStatus(false);
    return undefined;
  }

  #sendStatus(ask: boolean): void {
    const status = Buffer.alloc(34);
    status[0] = 0x72; // r
    for (const at of [1, 9, 17]) {
      status.writeUInt32BE(this.#confirmedHigh, at);
      status.writeUInt32BE(this.#confirmedLow, at + 4);
    }
    const microseconds = BigInt(this.#options.clock.now() - Date.UTC(2000, 0, 1)) * 1000n;
    status.writeBigInt64BE(microseconds, 25);
    status[33] = ask ? 1 : 0;
    if (!this.#connection.stream.destroyed) this.#connection.sendCopyFromChunk(status);
  }

  #fail(error: unknown): void {
    this.#ended.reject(error);
    this.#connection.stream.destroy();
  }
}
