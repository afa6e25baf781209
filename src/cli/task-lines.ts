// How commands show tasks: a line each, for people, or as JSON.

import { formatDuration } from "../core/index.ts";
import type { TaskRecord } from "../tasks/index.ts";

const iso = (ms: number): string => new Date(ms).toISOString().replace("T", " ").slice(0, 19);

/** JSON that a store keeps, as part of JSON: what people type after `--json` looks into it. */
const embed = (json: string | undefined): unknown => (json === undefined ? undefined : JSON.parse(json));

export const recordJson = (record: TaskRecord): string =>
  JSON.stringify({
    ...record,
    input: embed(record.input),
    meta: embed(record.meta),
    progress: embed(record.progress),
    result: embed(record.result),
    error: embed(record.error),
  });

/** What of an error fits on a line. */
function failure(json: string | undefined): string {
  if (json === undefined) return "";
  const { name, message } = JSON.parse(json) as { readonly name: string; readonly message: string };
  return `${name}: ${message}`.replaceAll(/\s+/g, " ").slice(0, 80);
}

function when({ state, dueAtMs, startedAtMs, finishedAtMs }: TaskRecord): string {
  if (state === "waiting") {
    const inMs = dueAtMs - Date.now();
    return inMs > 0 ? `in ${formatDuration(Math.round(inMs / 1_000) * 1_000)}` : "due";
  }
  return state === "active" ? `since ${iso(startedAtMs!)}` : iso(finishedAtMs ?? dueAtMs);
}

/** `rows` in columns, as wide as they have to be. */
export function columns(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]?.map((_, i) => Math.max(...rows.map((row) => row[i]!.length))) ?? [];
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

export const recordLines = (records: readonly TaskRecord[]): string =>
  columns([
    ["id", "state", "name", "queue", "attempt", "when", "error"],
    ...records.map((record) => [
      record.id,
      record.deadReason ? `dead (${record.deadReason})` : record.state,
      record.name,
      record.queue,
      String(record.attempt),
      when(record),
      failure(record.error),
    ]),
  ]);

/** All that is known of one. */
export function recordText(record: TaskRecord): string {
  const error = embed(record.error) as { readonly name: string; readonly message: string; readonly stack?: string } | undefined;
  const rows: [string, string | undefined][] = [
    ["id", record.id],
    ["name", record.name],
    ["queue", record.queue],
    [
      "state",
      record.deadReason ? `dead (${record.deadReason})` : record.cancelRequested ? `${record.state}, asked to stop` : record.state,
    ],
    ["attempt", String(record.attempt)],
    ["enqueued", iso(record.enqueuedAtMs)],
    ["due", iso(record.dueAtMs)],
    ["started", record.startedAtMs === undefined ? undefined : iso(record.startedAtMs)],
    ["finished", record.finishedAtMs === undefined ? undefined : iso(record.finishedAtMs)],
    ["worker", record.worker],
    ["limit key", record.concurrencyKey],
    ["unique key", record.uniqueKey],
    ["group", record.group],
    ["input", record.input],
    ["progress", record.progress],
    ["result", record.result],
    ["error", error && (error.stack ?? `${error.name}: ${error.message}`)],
    ["meta", record.meta],
  ];
  return columns(rows.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])));
}
