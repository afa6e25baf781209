// Tasks that are enqueued in a transaction of PostgreSQL and kept in Redis: they exist if and only if it commits. The batch is a row of
// millrace.task_outbox, written in the transaction; once that has committed, the row is relayed to Redis and deleted.
//
// | between                                | what follows                                                                         |
// | -------------------------------------- | ------------------------------------------------------------------------------------ |
// | commit and relay: the process dies     | any process that has the store open relays it, at its next look (sweepInterval)      |
// | relay and delete: the process dies     | relayed again, and Redis skips it: it remembers the row until it hears of the delete |
// | Redis is away                          | the transaction commits all the same, and the row waits                              |
// | two processes relay at once            | an advisory lock lets one of them, and the other looks again                         |
//
// Rows are relayed in the order in which they were written, as far as they have committed by then.

import type { Clock, Timer } from "../../core/index.ts";
import { type Database, type Queryable, enterKitSchema, sql, unobserved } from "../../database/index.ts";
import { taskOutboxChannel } from "../channels.ts";
import { tasksErrors } from "../errors.ts";
import type { EnqueueBatch, EnqueueOutcome, EnqueueTransaction } from "../store.ts";
import { type FlatBatch, delayedSince, flatBatch, sizeOf } from "./encoding.ts";

/** First key of the lock that lets one process relay at a time ("milo"); the second is the store's hash. */
const relayLockClass = 0x6d_69_6c_6f;

/** Rows per transaction of the relay: it holds a connection for as long as Redis takes for them. */
const rowsPerPass = 500;

/** Until the next look when another process is relaying: it may have looked before our row had committed. */
const lookAgainMs = 25;

/** Tasks that are relayed in one script, a few more if they are of one row: it holds up Redis for some milliseconds. */
const tasksPerRelay = 1_000;

/** A batch that waits for Redis. */
export interface OutboxRow {
  readonly row: string;
  readonly batch: FlatBatch;
}

interface StoredRow extends OutboxRow {
  readonly seq: string;
  readonly elapsedUs: number;
}

/** Where rows go. */
export interface OutboxTarget {
  /** Relays rows, all or none, in their order; skips those that were relayed before and not forgotten since. */
  relay(rows: readonly OutboxRow[]): Promise<void>;
  /** Who holds unique keys now. */
  holders(keys: readonly string[]): Promise<readonly (string | undefined)[]>;
  /** The rows are deleted, and need not be remembered. */
  forget(rows: readonly string[]): Promise<void>;
}

const isOurs = (on: EnqueueTransaction): on is Extract<EnqueueTransaction, { afterCommit: unknown }> => "afterCommit" in on;

/** Whether the table is not there. */
const isMissing = (error: unknown): boolean => ["42P01", "3F000"].includes((error as { code?: string }).code ?? "");

/** The outbox of one store in one database. */
export class Outbox {
  readonly #database: Database;
  readonly #store: string;
  readonly #target: OutboxTarget;
  readonly #clock: Clock;
  readonly #sweepMs: number;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  /** Something may have committed since the running pass has looked. */
  #again = false;
  #closed = false;

  /** `store` tells several stores of one database apart. */
  constructor(database: Database, store: string, target: OutboxTarget, clock: Clock, sweepMs: number) {
    this.#database = database;
    this.#store = store;
    this.#target = target;
    this.#clock = clock;
    this.#sweepMs = sweepMs;
  }

  async setUp(): Promise<void> {
    try {
      if (await this.#isThere(this.#database)) return this.#sweepLater();
      await this.#quietly(() =>
        this.#database.transaction(async (tx) => {
          await enterKitSchema(tx);
          if (await this.#isThere(tx)) return; // another process was first
          await tx.query(sql`
            create table millrace.task_outbox (
              store text not null,
              seq bigint not null generated always as identity,
              row_id uuid not null default gen_random_uuid(),
              batch json not null,
              enqueued_at timestamptz not null default clock_timestamp(),
              primary key (store, seq)
            ) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000)`);
        }),
      );
    } catch (error) {
      if ((error as { code?: string }).code !== "42501") throw error;
      throw tasksErrors.create("MILLRACE_TASKS_OUTBOX_REFUSED", { reason: (error as Error).message }, error);
    }
    this.#sweepLater();
  }

  /**
   * One round trip to the database. Unique keys are asked for now and again by the relay, because only then the task is there: of two
   * transactions at once, or while Redis is away, both are told that theirs is accepted, and the second one's task is not made.
   */
  async add(given: EnqueueBatch, transaction: EnqueueTransaction): Promise<readonly EnqueueOutcome[]> {
    const earlier = await this.#holders(given);
    const outcomes = given.tasks.map(({ id }) => ({ id: earlier.get(id) ?? id, accepted: !earlier.has(id) }));
    const batch = { ...given, tasks: given.tasks.filter(({ id }) => !earlier.has(id)) };
    if (batch.tasks.length === 0) return outcomes;
    const statement = sql`
      insert into millrace.task_outbox (store, batch) values (${this.#store}, ${JSON.stringify(flatBatch(batch))}::json)`;
    try {
      if (isOurs(transaction)) {
        await unobserved(() => transaction.query(statement));
        transaction.afterCommit(() => this.kick());
      } else {
        const { text, values } = statement.render();
        await transaction.query({ text, values: [...values] });
      }
    } catch (error) {
      if (!isMissing(error)) throw error;
      throw tasksErrors.create("MILLRACE_TASKS_OUTBOX_MISSING", { reason: "its table is not there; setup() makes it." }, error);
    }
    this.#sweepLater();
    return outcomes;
  }

  /** From tasks whose unique key is held to who holds it. Members of groups are left to the relay, which counts them. */
  async #holders({ tasks, groups = [] }: EnqueueBatch): Promise<ReadonlyMap<string, string>> {
    const holders = new Map<string, string>();
    const asking = groups.length > 0 ? [] : tasks.filter(({ unique }) => unique);
    if (asking.length === 0) return holders;
    try {
      const held = await this.#target.holders(asking.map(({ unique }) => unique!.key));
      for (const [i, { id }] of asking.entries()) if (held[i] !== undefined && held[i] !== id) holders.set(id, held[i]);
      const firstOfKey = new Map<string, string>();
      for (const { id, unique } of asking) {
        const first = firstOfKey.get(unique!.key);
        if (first === undefined) firstOfKey.set(unique!.key, id);
        else if (!holders.has(id)) holders.set(id, first);
      }
    } catch {
      // Redis is away: the transaction goes on, and the relay judges.
    }
    return holders;
  }

  /** Relays what has committed. Never fails: what cannot be relayed now waits for the next look. */
  kick(): void {
    if (this.#closed) return;
    if (this.#running) {
      this.#again = true;
      return;
    }
    this.#timer?.clear();
    this.#timer = undefined;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      if (this.#again) {
        this.#again = false;
        this.kick();
      } else this.#sweepLater();
    });
  }

  /** Waits for a pass that runs. What is left is for others, or for the next start. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.clear();
    await this.#running;
  }

  #sweepLater(ms = this.#sweepMs): void {
    if (this.#closed || this.#running || this.#timer) return;
    this.#timer = this.#clock.timer(ms, () => {
      this.#timer = undefined;
      this.kick();
    });
  }

  async #run(): Promise<void> {
    const startedMs = this.#clock.monotonic();
    let rows = 0;
    const report = (error?: unknown): void => {
      if (!taskOutboxChannel.hasSubscribers || (rows === 0 && error === undefined)) return;
      taskOutboxChannel.publish({ store: this.#store, rows, durationMs: this.#clock.monotonic() - startedMs, error });
    };
    try {
      while (!this.#closed) {
        const { waits } = await this.#quietly(() =>
          this.#database.one(
            sql<{
              waits: boolean;
            }>`select exists (select from millrace.task_outbox where store = ${this.#store}) as waits`,
          ),
        );
        if (!waits) break;
        const relayed = await this.#pass();
        if (relayed === undefined) {
          this.#clock.timer(lookAgainMs, () => this.kick());
          break;
        }
        rows += relayed;
      }
      report();
    } catch (error) {
      report(error);
    }
  }

  /** How many rows were relayed; undefined: another process is at it. */
  async #pass(): Promise<number | undefined> {
    const relayed = await this.#quietly(() =>
      this.#database.transaction(async (tx) => {
        const { mine } = await tx.one(
          sql<{
            mine: boolean;
          }>`select pg_try_advisory_xact_lock(${relayLockClass}::int, hashtext(${this.#store})) as mine`,
        );
        if (!mine) return undefined;
        const rows = await tx.many(sql<StoredRow>`
          select o.seq::text, o.row_id::text as row, o.batch,
                 (extract(epoch from clock_timestamp() - o.enqueued_at) * 1000000)::float8 as "elapsedUs"
            from millrace.task_outbox o where o.store = ${this.#store} order by o.seq limit ${rowsPerPass}::int`);
        for (let i = 0; i < rows.length;) {
          const part: OutboxRow[] = [];
          for (let tasks = 0; i < rows.length && tasks < tasksPerRelay; i++) {
            const { row, batch, elapsedUs } = rows[i]!;
            part.push({ row, batch: delayedSince(batch, Math.round(elapsedUs)) });
            tasks += sizeOf(batch);
          }
          await this.#target.relay(part);
        }
        await tx.query(sql`
          delete from millrace.task_outbox where store = ${this.#store} and seq = any(${rows.map(({ seq }) => seq)}::bigint[])`);
        return rows.map(({ row }) => row);
      }),
    );
    if (relayed && relayed.length > 0) await this.#target.forget(relayed).catch(() => {}); // forgotten in time by cleanUp()
    return relayed?.length;
  }

  async #isThere(on: Pick<Queryable, "one">): Promise<boolean> {
    const { there } = await this.#quietly(() =>
      on.one(sql<{ there: boolean }>`select to_regclass('millrace.task_outbox') is not null as there`),
    );
    return there;
  }

  /** Outside of whatever transaction the caller is in, and of what observers hear. */
  #quietly<Result>(work: () => Promise<Result>): Promise<Result> {
    return unobserved(() => this.#database.outsideTransaction(work));
  }
}
