// What database publishes. Metrics, logs and traces subscribe.

import { defineChannel } from "../core/index.ts";

/** A statement has ended. */
export interface QueryMessage {
  readonly text: string;
  /** From the call to its result, waiting for a connection included. */
  readonly durationMs: number;
  readonly path: "pipelined" | "pooled" | "transaction";
  readonly rows: number | null;
  readonly error: unknown;
}

/** The pool's state changed: something was opened, closed, handed out, refused or found broken. */
export interface PoolMessage {
  readonly event: "opened" | "closed" | "refused" | "ping-failed" | "recycled" | "overflow-closed";
  readonly total: number;
  readonly idle: number;
  readonly waiting: number;
}

/** A request had to wait for a connection. */
export interface PoolWaitMessage {
  readonly waitedMs: number;
}

/** A statement was moved from a pipelined connection to one of its own. */
export interface PipelineMovedMessage {
  readonly text: string;
  readonly reason: "behind a slow statement" | "connection lost" | "writes" | "prepared again" | "cancelled with another";
}

/** A running statement was cancelled on the server because its work ended early. */
export interface CancelMessage {
  readonly processId: number;
}

/** A transaction has ended. */
export interface TransactionMessage {
  readonly outcome: "committed" | "rolled back" | "retried";
  readonly attempt: number;
  readonly durationMs: number;
}

/** An export has ended, whole or not. */
export interface ExportMessage {
  readonly format: "ndjson" | "json" | "csv";
  /** "cancelled": its reader left or its deadline passed. */
  readonly outcome: "complete" | "cancelled" | "failed";
  readonly rows: number;
  readonly bytes: number;
  /** From the first read to the connection's return. */
  readonly durationMs: number;
  readonly error: unknown;
}

/** What became of the embedded server, seen from this process. */
export interface EmbeddedServerMessage {
  /** "joined": it ran already. "lost": it, or the connection to it, ended unasked; "restarted", "joined" or "failed" follows. */
  readonly event: "started" | "joined" | "lost" | "restarted" | "failed" | "stopped";
  /** The server's first process. */
  readonly pid: number;
  readonly pgdata: string;
  readonly error: unknown;
}

/** A migration was applied. */
export interface MigrationMessage {
  readonly id: number;
  readonly name: string;
  readonly durationMs: number;
}

export const queryChannel = defineChannel<QueryMessage>("millrace:database:query");
export const poolChannel = defineChannel<PoolMessage>("millrace:database:pool");
export const poolWaitChannel = defineChannel<PoolWaitMessage>("millrace:database:pool-wait");
export const pipelineMovedChannel = defineChannel<PipelineMovedMessage>("millrace:database:pipeline-moved");
export const cancelChannel = defineChannel<CancelMessage>("millrace:database:cancel");
export const transactionChannel = defineChannel<TransactionMessage>("millrace:database:transaction");
export const exportChannel = defineChannel<ExportMessage>("millrace:database:export");
export const embeddedServerChannel = defineChannel<EmbeddedServerMessage>("millrace:database:embedded-server");
export const migrationChannel = defineChannel<MigrationMessage>("millrace:database:migration");
