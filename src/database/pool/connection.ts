// One connection to PostgreSQL: a pg Client, plus what the pool must know to hand it out safely and to judge a failure.

import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import type { Clock } from "../../core/index.ts";
import { databaseErrors } from "../errors.ts";
import { cancelRunning } from "./cancel.ts";

/** How a connection is opened: pg's own client configuration. */
export type ConnectionConfig = Readonly<pg.ClientConfig> & { readonly pipeline?: boolean };

/** The parts of pg's Client that its public types leave out. */
interface ClientInternals {
  readonly connection: NodeJS.EventEmitter & { readonly stream: Socket };
  readonly _txStatus: "I" | "T" | "E" | null;
  readonly readyForQuery: boolean;
}

/** SQLSTATEs with which the server ends a connection or refuses a new one: shutdown, crash, starting up, too many, and class 08. */
const connectionEnding = /^(57P0[1-5]|53300|08...)$/;

/** Whether `error` says that the connection is gone (or was never there), rather than that a statement failed. */
export function isConnectionLoss(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code } = error as { code?: unknown };
  if (typeof code === "string") {
    return connectionEnding.test(code) || /^(ECONN|EPIPE|ETIMEDOUT|EHOST|ENETUNREACH|ENOTFOUND|EAI_AGAIN|ENOENT|EACCES)/.test(code);
  }
  return /^(Connection terminated|Client has encountered a connection error|Client was closed|timeout expired|This socket has been ended)/.test(
    error.message,
  );
}

export class Connection {
  readonly client: pg.Client;
  /** When it is replaced, on the clock's monotonic time; Infinity for never. */
  readonly recycleAtMs: number;
  idleSinceMs = 0;
  /** Gone or not to be trusted: it is destroyed instead of being handed out again. */
  broken = false;
  /** Pinged before its next use whatever its idle time: another connection was just found dead. */
  suspect = false;

  readonly #internals: ClientInternals;
  #commandComplete = false;
  #terminated = false;
  #cancelling: Promise<void> | undefined;

  private constructor(client: pg.Client, recycleAtMs: number) {
    this.client = client;
    this.recycleAtMs = recycleAtMs;
    this.#internals = client as unknown as ClientInternals;
    // A client that breaks while idle emits 'error'; without a listener that would end the process.
    client.on("error", () => {
      this.broken = true;
    });
    client.on("end", () => {
      this.broken = true;
    });
    this.#internals.connection.on("commandComplete", () => {
      this.#commandComplete = true;
    });
    this.#internals.connection.on("errorMessage", (message: { code?: string }) => {
      if (message.code === "57P01") this.#terminated = true;
    });
  }

  /**
   * Opens a connection. `setup` runs once on it.
   * @throws MILLRACE_DATABASE_UNAVAILABLE, with the driver's error as cause.
   */
  static async open(config: ConnectionConfig, clock: Clock, recycleAtMs: number, setup?: string): Promise<Connection> {
    const client = new pg.Client(config);
    const connection = new Connection(client, recycleAtMs);
    try {
      await client.connect();
      if (setup) await client.query(setup);
    } catch (error) {
      connection.destroy();
      const reason = error instanceof Error ? error.message || String((error as { code?: unknown }).code) : String(error);
      throw databaseErrors.create("MILLRACE_DATABASE_UNAVAILABLE", { server: serverOf(client), reason }, error);
    }
    connection.idleSinceMs = clock.monotonic();
    return connection;
  }

  /** Forgets what was observed of earlier statements: call it before each statement whose fate matters. */
  beginStatement(): void {
    this.#commandComplete = false;
    this.#terminated = false;
  }

  /**
   * Whether the statement since beginStatement() has certainly not taken effect, given that the connection is gone with `error`.
   * Either it could not be written, or the driver refused to: its last message, without which nothing is committed, never left. Or
   * the server said that an administrator terminated it (57P01) and had not reported completion: it sends what it has to say in order, and acts on a
   * termination only where the statement's transaction is not yet committed. A socket that just closed, or a crash (57P02,
   * reported from a signal handler at any moment), proves nothing.
   */
  provesNoEffect(error: unknown): boolean {
    const { syscall, message } = error as { syscall?: unknown; message: string };
    return (this.#terminated && !this.#commandComplete) || syscall === "write" || message.endsWith("is not queryable");
  }

  /** Whether the server reported completion of the statement since beginStatement(). */
  get completed(): boolean {
    return this.#commandComplete;
  }

  /** Whether no transaction is open on it. */
  get isIdle(): boolean {
    return this.#internals._txStatus === "I";
  }

  /**
   * Cancels what runs on it: again and again while `isRunning` (default: while any statement runs), because a request that
   * overtakes its statement finds nothing to cancel. The connection must not be reused before settled() resolves.
   */
  cancel(isRunning: () => boolean = () => !this.#internals.readyForQuery): void {
    this.#cancelling ??= this.#cancelWhile(isRunning).finally(() => {
      this.#cancelling = undefined;
    });
  }

  async #cancelWhile(isRunning: () => boolean): Promise<void> {
    for (let pauseMs = 10; ; pauseMs = Math.min(2 * pauseMs, 500)) {
      await cancelRunning(this.client);
      if (!isRunning() || this.broken) return;
      await sleep(pauseMs);
      if (!isRunning() || this.broken) return;
    }
  }

  /** Resolves when no cancel request is under way that could hit the next statement; undefined when none is. */
  settled(): Promise<void> | undefined {
    return this.#cancelling;
  }

  /** Whether it answers within `timeoutMs`. One round trip. */
  async ping(timeoutMs: number, clock: Clock): Promise<boolean> {
    if (this.broken) return false;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    using _timer = clock.timer(timeoutMs, () => resolve(false));
    this.client.query("").then(
      () => resolve(true),
      () => resolve(false),
    );
    return await promise;
  }

  /**
   * Gathers what is written until this poll for I/O has been worked through, so that the statements of all requests that arrived
   * together cost one system call. Not process.nextTick: that runs after each socket, with one statement to write.
   */
  gatherWrites(): void {
    const { stream } = this.#internals.connection;
    if (stream.writableCorked > 0) return;
    stream.cork();
    setImmediate(() => stream.uncork());
  }

  /** Lets the process end while this is idle, or keeps it alive while it works. */
  keepProcessAlive(keep: boolean): void {
    const { stream } = this.#internals.connection;
    if (keep) stream.ref();
    else stream.unref();
  }

  /** Ends it politely: the server hears a Terminate message. */
  async end(): Promise<void> {
    if (this.broken) return this.destroy();
    this.keepProcessAlive(true);
    await this.client.end().catch(() => this.destroy());
  }

  /** Ends it at once. */
  destroy(): void {
    this.broken = true;
    this.#internals.connection.stream.destroy();
  }
}

/** When a connection that is opened now is to be replaced: after `afterMs` ± 10 %, so that not all are replaced at once; 0: never. */
export function recycleAt(clock: Clock, afterMs: number): number {
  return afterMs === 0 ? Infinity : clock.monotonic() + afterMs * (0.9 + Math.random() * 0.2);
}

/** Where a client connects to, for messages: never the user or the password. */
export function serverOf(client: pg.Client): string {
  return client.host.startsWith("/") ? client.host : `${client.host}:${client.port}`;
}
