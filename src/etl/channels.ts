// What etl publishes. Metrics, logs and traces subscribe.

import { defineChannel } from "../core/index.ts";
import type { EtlProgress } from "./protocol.ts";

/** A run has come further; at most five times a second. */
export interface EtlProgressMessage extends EtlProgress {
  readonly run: string;
  readonly source: string;
}

/** A run has ended. */
export interface EtlRunMessage {
  readonly run: string;
  readonly source: string;
  readonly target: string;
  /** "cancelled": its signal was aborted or its deadline passed. */
  readonly outcome: "done" | "failed" | "cancelled";
  readonly rowsRead: number;
  readonly rowsRejected: number;
  readonly rowsWritten: number;
  readonly durationMs: number;
  /** Of the process that did the work. */
  readonly peakMemoryBytes: number;
  readonly cpuMs: number;
  readonly error: unknown;
}

export const etlProgressChannel = defineChannel<EtlProgressMessage>("millrace:etl:progress");
export const etlRunChannel = defineChannel<EtlRunMessage>("millrace:etl:run");
