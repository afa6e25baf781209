// The contract of a source: where commits come from. Every process creates one (to follow tables and to invalidate); only the elected
// process runs it, and publishes to everybody what it reads. Election, bus, generations and the registry are around it, not in it.

import type { Clock } from "../../core/index.ts";
import type { FeedCommit, TableName } from "../feed.ts";
import { freshnessErrors } from "../errors.ts";
import type { Session } from "./session.ts";

export type SourceKind = "logical" | "triggers";

/** A table, or a column of it, that commits name from `number` on. `table` as dependencies name it: `schema.name`. */
export interface Followed {
  readonly table: string;
  readonly column: string | undefined;
  readonly number: number;
}

/** What the source read: every commit after `prev`, up to and with `upTo`. */
export interface Batch {
  /** `upTo` of the batch before; of the first one, the position that was confirmed before (by another process, perhaps). */
  readonly prev: number;
  /** At least `prev`. Grows also without commits. */
  readonly upTo: number;
  /** In the order of their numbers, prev < number ≤ upTo. */
  readonly commits: readonly FeedCommit[];
  /** Rows of millrace.followed that these commits inserted, in the same order. */
  readonly followed: readonly Followed[];
}

/** Whether what was confirmed before is still followed by what comes next. */
export interface Continuity {
  /** True: nothing between the position confirmed last and the first batch is missing. */
  readonly kept: boolean;
  /** Why not: one sentence for people. */
  readonly reason: string;
}

/** What a source can say about itself, for `millrace freshness status`. */
export interface SourceStatus {
  readonly kind: SourceKind;
  /** What stands in the way, each in one sentence with the next step. Empty: it can run. */
  readonly problems: readonly string[];
  /** Those of them that only people can remove: what the server, the role or setup lacks. */
  readonly missing: readonly string[];
  /** What exists on the server, in the order in which people want to read it: slot, size kept, triggers, lag. */
  readonly facts: readonly { readonly name: string; readonly value: string }[];
}

/** The value of a column in the one way in which both sides write it; undefined when its type has none. `text` as PostgreSQL prints it. */
export type CanonicalValue = (typeOid: number, text: string) => string | undefined;

/** What every source is created with. */
export interface SourceSetup {
  /** Opens a session on the primary. `purpose` is shown in pg_stat_activity. */
  connect(purpose: string): Promise<Session>;
  readonly clock: Clock;
  readonly canonicalValue: CanonicalValue;
  /** Half the staleness bound or less: how long a commit may wait for its batch, in milliseconds. */
  readonly intervalMs: number;
  /** Dependencies of one commit beyond which only its tables are named. */
  readonly maxDependenciesPerCommit: number;
}

export interface Source {
  readonly kind: SourceKind;

  /**
   * Makes what the source needs beside the kit's tables (publication, functions, log table). Runs in a transaction that is alone in the
   * kit's schema. Idempotent.
   */
  install(tx: Session): Promise<void>;

  /** What it needs from the server and from the role, whether it is installed or not. Changes nothing. */
  status(session: Session): Promise<SourceStatus>;

  /**
   * Called in the elected process before each run(): makes what outlives a process (the slot) and finds out where to go on.
   * @throws MILLRACE_FEED_SOURCE_UNUSABLE when it cannot run; it is tried again later, so that a repair by people is noticed.
   */
  prepare(session: Session, signal: AbortSignal): Promise<Continuity>;

  /**
   * Reads and publishes until `signal` aborts, then resolves. `publish` resolves when the batch is committed to the bus: only then may
   * the source confirm its position, and only then may it publish the next. Rejects when it lost its connection or its slot; it is then
   * prepared and run anew.
   */
  run(publish: (batch: Batch) => Promise<void>, signal: AbortSignal): Promise<void>;

  /**
   * Begins to follow `table`, and `columns` of it (only those that were not followed before). Runs in any process, inside the
   * transaction that will insert into millrace.followed; no writer of the table is under way (SHARE ROW EXCLUSIVE is held). Returns
   * `undefined`, or why the table cannot be followed in one sentence with the next step.
   */
  followTable(tx: Session, table: TableName, columns: readonly string[]): Promise<string | undefined>;

  /**
   * Writes a commit of our own that touches `dependencies` (halves of hashes), on a session in autocommit. When it resolves, the current
   * insert position of the log lies behind it.
   */
  invalidate(session: Session, dependencies: Uint32Array): Promise<void>;

  /** Tells the source that something may have been written, so that a source that polls does not wait. May do nothing. */
  nudge(): void;

  /** Removes everything that install(), prepare() and followTable() made on the server. Runs outside of a transaction. */
  teardown(session: Session): Promise<void>;
}

/** The error of a source that cannot run as things are: `problem` is one sentence with the next step. */
export const sourceUnusable = (source: SourceKind, problem: string, cause?: unknown): Error =>
  freshnessErrors.create("MILLRACE_FEED_SOURCE_UNUSABLE", { source, problem }, cause);
