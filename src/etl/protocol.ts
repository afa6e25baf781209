// What the process that called etl() and the one that does the work tell each other.

import type { ErrorDetails } from "../core/index.ts";
import type { Column } from "./column-types.ts";

/** A file to read. */
export interface SourcePlan {
  readonly path: string;
  readonly bytes: number;
  /** For messages. */
  readonly name: string;
  readonly format: "csv" | "ndjson" | "parquet";
  /** Undefined: CSV as text, by the header; Parquet as the file has them. */
  readonly columns: readonly Column[] | undefined;
  readonly delimiter: string;
  readonly header: boolean;
  readonly extraColumns: "refuse" | "ignore";
}

export type TransformPlan =
  | { readonly kind: "sql"; readonly text: string; readonly values: readonly unknown[] }
  | { readonly kind: "module"; readonly url: string; readonly name: string; readonly columns: readonly Column[] };

export interface OutputPlan {
  /** Under which name it is written first; whoever asked gives it its own. */
  readonly path: string;
  /** What it becomes, for messages. */
  readonly name: string;
  /** "copy": what COPY … FROM STDIN (FORMAT csv) of PostgreSQL reads. */
  readonly format: "csv" | "ndjson" | "parquet" | "copy";
  readonly delimiter: string;
  readonly header: boolean;
  /** Columns that there are in the target. Undefined: whatever comes. */
  readonly allowed: readonly string[] | undefined;
  /** Columns that make a row unique in the target: of rows that agree in them the last counts. Empty: rows are not compared. */
  readonly key: readonly string[];
}

export interface EtlPlan {
  /** A directory of this run's own. */
  readonly workspace: string;
  readonly memoryLimitMb: number;
  readonly maxSpillMb: number;
  readonly threads: number;
  readonly maxRowBytes: number;
  readonly maxRejects: number;
  readonly input: SourcePlan;
  readonly tables: Readonly<Record<string, SourcePlan>>;
  readonly transform: TransformPlan | undefined;
  readonly output: OutputPlan;
  /** Where the report of rejected rows goes. Undefined: nowhere. */
  readonly report: string | undefined;
}

/** How far a run has come. */
export interface EtlProgress {
  /** "loading" is PostgreSQL's part: the rows are sent and merged. */
  readonly stage: "reading" | "transforming" | "writing" | "loading";
  /** Rows of the source that were read so far, rejected ones included. */
  readonly rowsRead: number;
  /** Bytes of the source that were read so far, and how many there are. */
  readonly bytesRead: number;
  readonly bytesTotal: number;
  readonly rowsRejected: number;
  /** From 0 to 1, an estimate: a stage's share of the whole is. It never goes back. */
  readonly fraction: number;
}

export interface WorkDone {
  readonly rowsRead: number;
  readonly rowsRejected: number;
  readonly rowsWritten: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly columns: readonly string[];
  readonly peakMemoryBytes: number;
  readonly cpuMs: number;
}

export interface WorkFailure {
  readonly code: string | undefined;
  readonly message: string;
  readonly details: ErrorDetails;
  readonly retryable: boolean;
  readonly stack: string | undefined;
  /** Whether the report says what was wrong, and is to be kept. */
  readonly reported: boolean;
}

export type FromChild =
  | { readonly kind: "ready" }
  | { readonly kind: "progress"; readonly progress: EtlProgress }
  | { readonly kind: "done"; readonly done: WorkDone }
  | { readonly kind: "failed"; readonly failure: WorkFailure };
