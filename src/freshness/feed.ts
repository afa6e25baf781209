// The contract of the change feed as a process consumes it, whatever its source: logical decoding or the log table. One process of
// all is elected to read the source and tells the others; everybody, the elected one too, listens. See docs/change-feed.md.
//
// Numbers are positions in PostgreSQL's log in units of 32 bytes (no record of a commit is shorter, so two commits never share one):
// they grow with every commit, are the same in every process, and survive a change of the elected process.

import type { Closeable } from "../core/index.ts";

/** A committed transaction that may have changed answers. */
export interface FeedCommit {
  readonly number: number;
  /** With the epoch: comparable with pg_current_snapshot(). Undefined for what was written outside of a transaction (invalidate()). */
  readonly xid: bigint | undefined;
  /** Low and high halves of the hashes of what it touched, as hashDependencies() makes them. */
  readonly dependencies: Uint32Array;
  /** It may have touched anything: DDL. What is known of the catalogue is void. */
  readonly everything: boolean;
}

/** What a process knows of all writes: complete from where it began, up to `upTo`. */
export interface FeedHistory {
  readonly generation: number;
  readonly upTo: number;
  /** As Versions.dump() makes it; it says itself from where on it is complete. */
  readonly dump: Uint8Array;
}

/** What the feed tells its process, in order. */
export interface FeedListener {
  /**
   * The commits up to `upTo`, all of them and in order, continuing where the last call ended. `upTo` grows also without commits.
   */
  onCommits(commits: readonly FeedCommit[], upTo: number): void;
  /**
   * Continuity is lost, or has just begun. Entries of other generations are void, and of this one those that reflect less than
   * `floor`. A fill counts only if its snapshot has everything below `horizon` behind it (xmin ≥ horizon): what was under way then is
   * in no message. Called before the first onCommits().
   */
  onRestart(start: { readonly generation: number; readonly floor: number; readonly horizon: bigint }): void;
  /**
   * The versions of the time before this process listened, as another one's history() gave them: with them, answers that others keep
   * in a shared store can be judged. Only with the feed's option `history`. Says whether they were of use; nothing means that they were.
   */
  onHistory(history: { readonly generation: number; readonly dump: Uint8Array }): Promise<boolean> | void;
  /**
   * What this process knows of all writes now, for those that begin later. Asked for in the elected process only. A listener that keeps
   * nothing of the kind leaves it out.
   */
  history?(): Promise<FeedHistory>;
  /**
   * From `number` on, every commit that touches `table` names it, and names `column`'s old and new values when one is given. A restart
   * and a commit of everything void what was said before; what is still followed is said again.
   */
  onFollowed(followed: { readonly table: string; readonly column: string | undefined; readonly number: number }): void;
  /** The feed has failed or is back. Serving stops by itself when marks are not passed; this is for people. */
  onState(state: FeedState): void;
}

export interface FeedState {
  readonly state: "starting" | "running" | "retrying" | "closed";
  readonly source: "logical" | "triggers" | undefined;
  /** Whether this process is the elected one. */
  readonly elected: boolean;
  /** One sentence with the next step, when it does not run. */
  readonly problem: string | undefined;
}

/** A table as the catalogue names it: quoted only in SQL, never in dependencies. */
export interface TableName {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
}

export interface Feed extends Closeable {
  readonly state: FeedState;
  /**
   * Writes a mark into the log: a number that lies behind every commit that was acknowledged, here or elsewhere, before the call.
   * The feed passes it soon. Rejects when the server cannot be reached.
   */
  mark(): Promise<number>;
  /**
   * Asks for a table, and for columns of it, to be followed. Returns at once; onFollowed() says when. Asking again is free. A table that
   * cannot be followed is reported by refusalOf().
   */
  follow(table: TableName, columns: readonly string[]): void;
  /** Why a table is not followed, in one sentence with the next step; undefined while it is, or will be. */
  refusalOf(table: TableName): string | undefined;
  /** Names of the cache's own, written into the log: resolves with their number. */
  invalidate(dependencies: Uint32Array): Promise<number>;
}

/** Dependencies by name. A write to a row of `t` touches t, and t:c=v for the old and new v of each followed column c. */
export const dependencyNames = {
  /** Any write to the table. */
  table: (schema: string, name: string): string => `${schema}.${name}`,
  /** Rows with this value; `value` as canonicalValue() writes it. An answer that depends on it depends on `rows()` too. */
  row: (schema: string, name: string, column: string, value: string): string => `${schema}.${name}:${column}=${value}`,
  /** Writes of which only the table is known: TRUNCATE, very large ones, old values that the log does not have. */
  rows: (schema: string, name: string): string => `${schema}.${name}:*`,
} as const;
