// What an export can be asked for, and its defaults. See docs/streaming-export.md.

import type { Deadline } from "../../concurrency/index.ts";
import { type OptionChecks, integer, given, oneOf, resolveOptions } from "../../core/index.ts";

/** The formats of an export: one JSON object per line, one JSON array, or RFC 4180 comma-separated values. */
export type ExportFormat = "ndjson" | "json" | "csv";

export interface ExportOptions {
  readonly format: ExportFormat;
  /** Aborts the export: its statement is cancelled on the server. Default: the deadline of the running work. */
  readonly signal?: AbortSignal | Deadline | undefined;
  /** The largest row that is accepted, in bytes as PostgreSQL sends it. A row is held whole, once. Default 64 MiB, from 1 KiB to 1 GiB. */
  readonly maxRowBytes?: number;
}

export const exportDefaults = {
  // PostgreSQL allows a row of 1 GB; one such row would be half of a small container. 64 MiB is beyond any row meant for export.
  maxRowBytes: 64 * 1024 * 1024,
} as const satisfies Partial<ExportOptions>;

const checks = {
  format: oneOf("ndjson", "json", "csv"),
  signal: given<AbortSignal | Deadline>("an AbortSignal or a Deadline"),
  maxRowBytes: integer(1024, 1024 * 1024 * 1024),
} as const satisfies OptionChecks<ExportOptions>;

export const resolveExportOptions = (options: ExportOptions) => resolveOptions("export", options, exportDefaults, checks);

/** Media types of the formats. NDJSON has none registered; application/x-ndjson is what clients send and expect. */
export const contentTypes: Readonly<Record<ExportFormat, string>> = {
  ndjson: "application/x-ndjson; charset=utf-8",
  json: "application/json; charset=utf-8",
  csv: "text/csv; charset=utf-8; header=present",
};
