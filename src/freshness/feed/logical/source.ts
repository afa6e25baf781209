// The source by logical decoding: pgoutput over a slot that only the elected process reads. docs/change-feed.md explains it.

import type { Timer } from "../../../core/index.ts";
import type { TableName } from "../../feed.ts";
import { readFollowed } from "../kit-tables.ts";
import { quoteIdentifier } from "../quote.ts";
import { numberOfHalves, parseLsn } from "../number.ts";
import type { Session } from "../session.ts";
import type { Batch, Continuity, Source, SourceSetup, SourceStatus } from "../source.ts";
import { sourceUnusable } from "../source.ts";
import { Changes, type RootTable, messagePrefixes } from "./changes.ts";
import { CatalogueWatch, hasDdlTriggers, installDdlTriggers, removeDdlTriggers, tellDdl } from "./ddl.ts";
import { followPublished, missingPublication, publicationSql } from "./publication.ts";
import { Replication } from "./replication.ts";
import { describeIdentities, hasMadeTable, madeTable, namesMade, noteMade, restoreIdentities } from "./made.ts";
import { type SlotOptions, ensureSlot, readSlotFacts, slotProblems } from "./slot.ts";

/** Halves of hashes that may wait for their batch before the server is made to wait: about 2 MB as numbers. */
const maxPendingHalves = 250_000;

/** How long it is tried before the problem is reported: longer than a frozen process keeps it. */
const slotPatienceMs = 15_000;

/** How often positions are confirmed and the server's liveness is looked at. */
const confirmEveryMs = 250;

export interface LogicalSourceOptions extends SlotOptions {
  readonly url: string;
  readonly timeoutMs: number;
  /** Whether tables may get REPLICA IDENTITY FULL, so that old values of followed columns are known. */
  readonly replicaIdentity: boolean;
}

export function createLogicalSource(setup: SourceSetup, options: LogicalSourceOptions): Source {
  return new LogicalSource(setup, options);
}

class LogicalSource implements Source {
  readonly kind = "logical";
  readonly #setup: SourceSetup;
  readonly #options: LogicalSourceOptions;

  constructor(setup: SourceSetup, options: LogicalSourceOptions) {
    this.#setup = setup;
    this.#options = options;
  }

  async install(tx: Session): Promise<void> {
    const { publication } = this.#options;
    if (!(await hasMadeTable(tx))) await tx.query(madeTable);
    for (const statement of await publicationSql(tx, publication)) await tx.query(statement);
    await noteMade(tx, "publication", publication);
    await installDdlTriggers(tx);
  }

  async status(session: Session): Promise<SourceStatus> {
    const { slot: name, publication } = this.#options;
    const facts = await readSlotFacts(session, name);
    const problems = slotProblems(facts, session.serverVersion, this.#options);
    const missing = await missingPublication(session, publication);
    if (missing !== undefined) problems.push(missing);
    const { slot } = facts;
    return {
      kind: "logical",
      problems,
      missing: problems,
      facts: [
        { name: "wal_level", value: facts.walLevel },
        { name: "max_slot_wal_keep_size", value: facts.keepBytes === -1 ? "unbounded" : `${facts.keepBytes / 1024 / 1024} MB` },
        { name: "publication", value: missing === undefined ? publication : "missing" },
        {
          name: "slot",
          value: slot === undefined ? "missing" : `${name} (${slot.active ? "read" : "not read"}, ${slot.walStatus ?? "?"})`,
        },
        {
          name: "changes of the schema",
          value: (await hasDdlTriggers(session)) ? "by event triggers" : "by looking at the catalogue",
        },
        { name: "confirmed", value: slot?.confirmed ?? "nothing" },
        { name: "log kept for the slot", value: `${slot?.keptBytes ?? 0} bytes` },
        ...(await describeIdentities(session, publication)),
      ],
    };
  }

  async prepare(session: Session): Promise<Continuity> {
    const missing = await missingPublication(session, this.#options.publication);
    if (missing !== undefined) throw sourceUnusable("logical", missing);
    const reason = await ensureSlot(session, this.#options);
    await noteMade(session, "slot", this.#options.slot);
    return { kept: reason === undefined, reason: reason ?? "the slot goes on where it was" };
  }

  async run(publish: (batch: Batch) => Promise<void>, signal: AbortSignal): Promise<void> {
    const catalogue = await this.#setup.connect("feed catalogue");
    try {
      await using reading = await LogicalReading.begin(this.#setup, this.#options, catalogue, publish);
      await reading.until(signal);
    } finally {
      await catalogue.close();
    }
  }

  followTable(tx: Session, table: TableName, columns: readonly string[]): Promise<string | undefined> {
    const { publication, replicaIdentity } = this.#options;
    return followPublished(tx, table, columns, publication, replicaIdentity);
  }

  async invalidate(session: Session, dependencies: Uint32Array): Promise<void> {
    const content = Buffer.alloc(dependencies.length * 4);
    for (const [i, half] of dependencies.entries()) content.writeUInt32LE(half, 4 * i);
    await session.query("select pg_logical_emit_message(true, $1::text, $2::bytea)", [messagePrefixes.bump, content]);
  }

  nudge(): void {
    // The server pushes.
  }

  async teardown(session: Session): Promise<void> {
    const { slot, publication } = this.#options;
    // The slot first: it is what keeps log on the disk. One that a process still reads refuses, and nothing has been changed then.
    await session.query(
      `select pg_drop_replication_slot(slot_name) from pg_catalog.pg_replication_slots
        where slot_name = any ($1) and plugin = 'pgoutput' and database = current_database()`,
      [[slot, ...(await namesMade(session, "slot"))]],
    );
    await removeDdlTriggers(session);
    // Before the identities: PostgreSQL refuses UPDATE and DELETE on a published table that has none.
    for (const name of new Set([publication, ...(await namesMade(session, "publication"))])) {
      await session.query(`drop publication if exists ${quoteIdentifier(name)}`);
    }
    await restoreIdentities(session);
    await session.query("drop table if exists millrace.made");
  }
}

/** One run: from the slot's position until the connection is lost or nobody wants it any more. */
class LogicalReading implements AsyncDisposable {
  readonly #setup: SourceSetup;
  readonly #options: LogicalSourceOptions;
  readonly #catalogue: Session;
  readonly #publish: (batch: Batch) => Promise<void>;
  readonly #changes: Changes;
  readonly #replication: Replication;
  readonly #failed = Promise.withResolvers<never>();
  /** `upTo` of the batch before; undefined until the slot's position is known. */
  #prev: number | undefined;
  #publishing = false;
  /** What is published, and not yet confirmed to the server. */
  #published: readonly [high: number, low: number] | undefined;
  #tick: Timer | undefined;
  #watching: Promise<void> | undefined;
  #watchTimer: Timer | undefined;
  #closed = false;

  private constructor(
    setup: SourceSetup,
    options: LogicalSourceOptions,
    catalogue: Session,
    publish: (batch: Batch) => Promise<void>,
    recentXid: bigint,
  ) {
    this.#setup = setup;
    this.#options = options;
    this.#catalogue = catalogue;
    this.#publish = publish;
    this.#failed.promise.catch(() => {});
    const { canonicalValue, maxDependenciesPerCommit } = setup;
    this.#changes = new Changes({ canonicalValue, maxDependenciesPerCommit, recentXid, rootOf: (oid) => rootOf(catalogue, oid) });
    this.#replication = new Replication({
      url: options.url,
      clock: setup.clock,
      timeoutMs: options.timeoutMs,
      slot: options.slot,
      publication: options.publication,
      onMessage: (message) => this.#changes.read(message),
      onPosition: (high, low) => {
        if (!this.#changes.insideCommit) this.#changes.advance(high, low);
      },
      onHandled: () => this.#flush(),
    });
  }

  static async begin(
    setup: SourceSetup,
    options: LogicalSourceOptions,
    catalogue: Session,
    publish: (batch: Batch) => Promise<void>,
  ): Promise<LogicalReading> {
    const [row] = await catalogue.query<{ xid: string }>("select pg_snapshot_xmax(pg_current_snapshot())::text as xid");
    const reading = new LogicalReading(setup, options, catalogue, publish, BigInt(row!.xid));
    // Rows of millrace.followed that the slot has already passed; those still to come are read again, which changes nothing.
    for (const followed of await readFollowed(catalogue)) reading.#changes.follow(followed.oid, followed.column);
    return reading;
  }

  /** Reads until `signal` aborts. Rejects when the connection, the slot or the bus is lost. */
  async until(signal: AbortSignal): Promise<void> {
    const stopped = Promise.withResolvers<void>();
    const lost = Promise.withResolvers<never>();
    lost.promise.catch(() => {});
    const onAbort = (): void => stopped.resolve();
    const onLost = (): void => lost.reject(this.#catalogue.lost.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    this.#catalogue.lost.addEventListener("abort", onLost, { once: true });
    try {
      await this.#start(signal);
      if (signal.aborted) return;
      await Promise.race([stopped.promise, lost.promise, this.#failed.promise, this.#replication.ended]);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#catalogue.lost.removeEventListener("abort", onLost);
    }
  }

  async #start(signal: AbortSignal): Promise<void> {
    await this.#replication.start(slotPatienceMs, signal);
    // Nobody else moves the slot while this connection holds it, so this is where the first batch begins.
    const { slot } = await readSlotFacts(this.#catalogue, this.#options.slot);
    if (slot?.confirmed == null) throw sourceUnusable("logical", `the slot ${this.#options.slot} was given up by the server.`);
    const start = parseLsn(slot.confirmed);
    this.#published = [Number(start >> 32n), Number(start & 0xffff_ffffn)];
    this.#changes.advance(...this.#published);
    this.#prev = numberOfHalves(...this.#published);
    this.#confirm();
    this.#flush();
    if (!(await hasDdlTriggers(this.#catalogue))) this.#watchCatalogue();
  }

  /** Looks at the catalogue as often as the bound asks for, each time a while after the last look has ended. */
  #watchCatalogue(): void {
    const watch = new CatalogueWatch(tellDdl);
    const look = (): void => {
      this.#watching = watch.look(this.#catalogue).then(
        () => {
          if (!this.#closed) this.#watchTimer = this.#setup.clock.timer(this.#setup.intervalMs, look);
        },
        (error: unknown) => this.#failed.reject(error),
      );
    };
    look();
  }

  /** Publishes what was read, unless a batch is under way: then it goes with the next one. */
  #flush(): void {
    const changes = this.#changes;
    if (changes.insideCommit) return;
    if (changes.pending > maxPendingHalves) this.#replication.hold();
    if (this.#publishing || this.#prev === undefined || changes.upTo <= this.#prev) return;
    const { upTo, upToHigh, upToLow } = changes;
    this.#publishing = true;
    this.#publish({ prev: this.#prev, upTo, ...changes.drain() }).then(
      () => {
        this.#publishing = false;
        this.#prev = upTo;
        this.#published = [upToHigh, upToLow];
        this.#replication.resume();
        this.#flush();
      },
      (error: unknown) => this.#failed.reject(error),
    );
  }

  /** Confirms what is published, now and from time to time. */
  #confirm(): void {
    if (this.#published !== undefined) this.#replication.confirm(...this.#published);
    this.#published = undefined;
    this.#replication.checkLiveness();
    this.#tick = this.#setup.clock.timer(confirmEveryMs, () => this.#confirm());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#tick?.clear();
    this.#watchTimer?.clear();
    if (this.#published !== undefined) this.#replication.confirm(...this.#published);
    await this.#replication.close();
    await this.#watching;
  }
}

async function rootOf(catalogue: Session, oid: number): Promise<RootTable | undefined> {
  const [row] = await catalogue.query<{ oid: string; schema: string; name: string }>(
    `select c.oid::text as oid, n.nspname as schema, c.relname as name
       from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where c.oid = coalesce(pg_partition_root($1::oid::regclass), $1::oid)`,
    [oid],
  );
  return row && { oid: Number(row.oid), schema: row.schema, name: row.name };
}
