// Short reads share a few connections on which statements are sent without waiting for the one before: twice the statements
// per second of CPU (bench/findings.md). Each has its own Sync, so a failure is its own. See docs/pipelining.md.
//
// What a shared connection must not do is let one statement hurt another. So a statement that stays at the head too long no
// longer holds up the rest: those behind it run again on connections of their own (they only read), first answer wins, and the
// slow text stays off shared connections for a while. The same way out serves a lost connection, a cancel that hit a neighbour,
// a plan that must be prepared again, and a statement that turns out to write.

import pg from "pg";
import type { Deadline } from "../../concurrency/index.ts";
import type { Clock, ResolvedOptions, Timer } from "../../core/index.ts";
import { type PipelineMovedMessage, pipelineMovedChannel } from "../channels.ts";
import type { poolChecks } from "../options.ts";
import type { Announce } from "./checkout.ts";
import { Connection, type ConnectionConfig, isConnectionLoss, recycleAt } from "./connection.ts";
import { LeanQuery, type ResultShapes } from "./lean-query.ts";
import { readOnlyFunctionsQuery } from "./read-only.ts";
import type { Statement, Statements } from "./statements.ts";

/** A statement with its values, as the pool passes it on. */
export interface Execution {
  readonly statement: Statement;
  readonly values: readonly unknown[] | undefined;
  readonly rowMode: "array" | undefined;
  readonly types: pg.CustomTypesConfig | undefined;
}

/** Runs an execution on a connection of its own. */
type RunElsewhere = (execution: Execution, deadline: Deadline | undefined) => Promise<pg.QueryResult>;

/** One execution on a shared connection, in the order in which the answers come. */
interface Entry {
  readonly execution: Execution;
  readonly deadline: Deadline | undefined;
  readonly resolve: (result: pg.QueryResult) => void;
  readonly reject: (error: unknown) => void;
  /** The caller has its answer (or its error): what still comes from the server is dropped. */
  settled: boolean;
  /** It runs on another connection too; whatever answers first counts. */
  moved: boolean;
  forget: (() => void) | undefined;
}

/** Entries per connection before new work goes elsewhere: at 10 µs each that is 5 ms of work, well under a stall. */
const maxInFlight = 512;

/** Failed attempts to open a shared connection are spaced this far; meanwhile everything runs on the others. */
const reopenAfterMs = 1_000;

/** What a pipeline is made of. */
export interface PipelineSetup {
  readonly config: ConnectionConfig;
  readonly options: ResolvedOptions<typeof poolChecks>;
  readonly clock: Clock;
  readonly statements: Statements;
  readonly elsewhere: RunElsewhere;
  readonly announce: Announce;
}

/** The shared connections of a pool. */
export class Pipeline {
  readonly #lanes: Lane[];

  constructor(setup: PipelineSetup) {
    this.#lanes = Array.from({ length: setup.options.pipelined }, () => new Lane(setup));
  }

  /** Runs it on the least busy shared connection; undefined when none can take it now. */
  run(execution: Execution, deadline: Deadline | undefined): Promise<pg.QueryResult> | undefined {
    let best: Lane | undefined;
    for (const lane of this.#lanes) {
      if (!lane.usable) continue;
      if (best === undefined || lane.inFlight < best.inFlight) best = lane;
    }
    return best && best.inFlight < maxInFlight ? best.run(execution, deadline) : undefined;
  }

  /** Opens the shared connections that are not open. Optional: the first reads do it otherwise. Never rejects. */
  async open(): Promise<void> {
    await Promise.all(this.#lanes.map((lane) => lane.open()));
  }

  get total(): number {
    let total = 0;
    for (const lane of this.#lanes) if (lane.connected) total++;
    return total;
  }

  get inFlight(): number {
    return this.#lanes.reduce((sum, lane) => sum + lane.inFlight, 0);
  }

  async close(): Promise<void> {
    await Promise.all(this.#lanes.map((lane) => lane.close()));
  }
}

/** One shared connection and what is in flight on it. */
class Lane {
  readonly #setup: PipelineSetup;
  /** In the order sent; the first `#answered` slots are done (shifting an array on every answer would cost more). */
  #entries: Entry[] = [];
  #answered = 0;
  #connection: Connection | undefined;
  #shapes: ResultShapes = new Map();
  #opening: Promise<void> | undefined;
  #retryAtMs = 0;
  #stalled = false;
  #headSinceMs = 0;
  #watch: Timer | undefined;
  #closed = false;
  #drained: PromiseWithResolvers<void> | undefined;

  constructor(setup: PipelineSetup) {
    this.#setup = setup;
  }

  get inFlight(): number {
    return this.#entries.length - this.#answered;
  }

  get connected(): boolean {
    return this.#connection !== undefined;
  }

  /** Whether it takes work now. Opens or replaces its connection in the background when it has none that is good. */
  get usable(): boolean {
    if (this.#closed || this.#stalled) return false;
    const connection = this.#connection;
    if (connection && !connection.broken) {
      if (this.inFlight > 0) return true;
      if (this.#setup.clock.monotonic() < connection.recycleAtMs) return true;
      this.#connection = undefined;
      void connection.end();
    }
    void this.open();
    return false;
  }

  run(execution: Execution, deadline: Deadline | undefined): Promise<pg.QueryResult> {
    const { promise, resolve, reject } = Promise.withResolvers<pg.QueryResult>();
    const entry: Entry = { execution, deadline, resolve, reject, settled: false, moved: false, forget: undefined };
    if (deadline) {
      entry.forget = deadline.onAbort((reason) => {
        entry.forget = undefined;
        this.#abandon(entry, reason);
      });
      if (entry.settled) return promise;
    }
    this.#send(entry);
    return promise;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#opening;
    if (this.inFlight > 0) {
      this.#drained = Promise.withResolvers();
      await this.#drained.promise;
    }
    this.#watch?.clear();
    await this.#connection?.end();
    this.#connection = undefined;
  }

  #send(entry: Entry): void {
    const connection = this.#connection!;
    const { statement, values, rowMode, types } = entry.execution;
    if (this.inFlight === 0) {
      this.#headSinceMs = this.#setup.clock.monotonic();
      connection.keepProcessAlive(true);
      this.#watch ??= this.#setup.clock.timer(this.#setup.options.stallAfter, () => this.#lookForStall());
    }
    this.#entries.push(entry);
    const config = { text: statement.text, name: statement.name, values, rowMode, types, queryMode: "extended" };
    // Own parsers make a shape of their own: rare, so those are described each time.
    const query = new LeanQuery(config, types ? new Map() : this.#shapes, (error, result) => {
      if (!error) query.rememberShape();
      this.#onAnswer(entry, error, result);
    });
    connection.gatherWrites();
    connection.client.query(query as unknown as pg.Submittable);
  }

  #onAnswer(entry: Entry, error: Error | null, result: pg.QueryResult): void {
    if (this.#entries[this.#answered] === entry) {
      this.#answered++;
    } else {
      // Only when the driver refuses an entry before sending it, or fails all of them at once.
      const index = this.#entries.indexOf(entry, this.#answered);
      if (index === -1) return;
      this.#entries.splice(index, 1);
    }
    if (this.#answered === this.#entries.length) {
      this.#entries.length = 0;
      this.#answered = 0;
      this.#connection?.keepProcessAlive(false);
      this.#drained?.resolve();
    } else if (this.#answered >= maxInFlight) {
      this.#entries.splice(0, this.#answered);
      this.#answered = 0;
    }
    this.#headSinceMs = this.#setup.clock.monotonic();
    this.#stalled = false;
    if (entry.settled) return;
    if (error) this.#onError(entry, error);
    else this.#settle(entry, undefined, result);
  }

  #onError(entry: Entry, error: Error): void {
    const { code } = error as { code?: string };
    const { statement } = entry.execution;
    if (entry.moved) return; // its other run will say
    if (isConnectionLoss(error)) {
      if (this.#connection) this.#connection.broken = true;
      this.#move(entry, "connection lost");
    } else if (code === "25006") {
      this.#setup.statements.markWrites(statement);
      this.#move(entry, "writes");
    } else if (code === "57014") {
      this.#move(entry, "cancelled with another");
    } else if (code === "26000" || code === "0A000") {
      this.#setup.statements.renew(statement);
      this.#move(entry, "prepared again");
    } else {
      this.#settle(entry, error);
    }
  }

  #settle(entry: Entry, error: unknown, result?: pg.QueryResult): void {
    if (entry.settled) return;
    entry.settled = true;
    entry.forget?.();
    if (result) entry.resolve(result);
    else entry.reject(error);
  }

  /** Runs it on a connection of its own as well. */
  #move(entry: Entry, reason: PipelineMovedMessage["reason"]): void {
    entry.moved = true;
    if (pipelineMovedChannel.hasSubscribers) pipelineMovedChannel.publish({ text: entry.execution.statement.text, reason });
    this.#setup.elsewhere(entry.execution, entry.deadline).then(
      (result) => this.#settle(entry, undefined, result),
      (error: unknown) => this.#settle(entry, error),
    );
  }

  /** The caller's work has ended. What runs is cancelled on the server; what waits is dropped when its answer comes. */
  #abandon(entry: Entry, reason: unknown): void {
    this.#settle(entry, reason);
    if (this.#entries[this.#answered] === entry) this.#cancelHead(entry);
  }

  #cancelHead(head: Entry): void {
    this.#connection?.cancel(() => this.#entries[this.#answered] === head);
  }

  /** Runs every stallAfter while there is work: a head older than that makes way. */
  #lookForStall(): void {
    this.#watch = undefined;
    if (this.inFlight === 0) return;
    const { stallAfter } = this.#setup.options;
    const headAgeMs = this.#setup.clock.monotonic() - this.#headSinceMs;
    if (headAgeMs >= stallAfter && !this.#stalled) {
      // Its answer may lie in the socket because this process was busy: only after the next poll for I/O is it the server's doing.
      const head = this.#entries[this.#answered]!;
      setImmediate(() => {
        if (this.#entries[this.#answered] === head) this.#makeWay(head);
      });
    }
    this.#watch = this.#setup.clock.timer(Math.max(1, headAgeMs < stallAfter ? stallAfter - headAgeMs : stallAfter), () =>
      this.#lookForStall(),
    );
  }

  #makeWay(head: Entry): void {
    this.#stalled = true;
    this.#setup.statements.stalled(head.execution.statement);
    if (head.settled) this.#cancelHead(head); // nobody waits for it any more
    for (let i = this.#answered + 1; i < this.#entries.length; i++) {
      const entry = this.#entries[i]!;
      if (!entry.settled && !entry.moved) this.#move(entry, "behind a slow statement");
    }
  }

  /** Opens the connection, unless there is one, one is being opened, or the last attempt has just failed. Never rejects. */
  open(): Promise<void> {
    if (this.#closed || this.inFlight > 0 || this.#setup.clock.monotonic() < this.#retryAtMs) return Promise.resolve();
    if (this.#connection && !this.#connection.broken) return Promise.resolve();
    return (this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    }));
  }

  async #open(): Promise<void> {
    const { clock, options } = this.#setup;
    try {
      // Not a startup parameter: poolers in between refuse parameters that they do not know.
      const connection = await Connection.open(
        this.#setup.config,
        this.#setup.clock,
        recycleAt(clock, options.recycleAfter),
        "set default_transaction_read_only = on",
      );
      if (!this.#setup.statements.knowsFunctions) {
        const { rows } = await connection.client.query<[string]>({ text: readOnlyFunctionsQuery, rowMode: "array" });
        this.#setup.statements.learnFunctions(new Set(rows.map(([name]) => name)));
      }
      this.#setup.announce("connect", connection.client);
      connection.keepProcessAlive(false);
      this.#connection = connection;
      this.#shapes = new Map();
    } catch {
      this.#retryAtMs = this.#setup.clock.monotonic() + reopenAfterMs; // the reason reaches callers through the other connections
    }
  }
}
