// A run: a source is read, checked, transformed and written, in a process of its own, whole or not at all. See docs/etl.md.
//
// | step            | where                 | what a failure or an abort leaves                                     |
// | --------------- | --------------------- | --------------------------------------------------------------------- |
// | stream to disk  | here                  | nothing                                                               |
// | read, transform | the process           | nothing; the report when there were too many bad rows                 |
// | write           | the process, one file | nothing: the file has no name yet                                     |
// | report          | here                  | the report, where the next step fails it is removed                   |
// | finish          | here                  | the file gets its name; or one transaction in PostgreSQL commits      |

import { createWriteStream } from "node:fs";
import { realpath, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { Deadline, endingOf, newWorkId } from "../concurrency/index.ts";
import { type ResolvedOptions, coreErrors, resolveOptions, systemClock } from "../core/index.ts";
import { Sql } from "../database/index.ts";
import { etlProgressChannel, etlRunChannel } from "./channels.ts";
import { readColumns } from "./column-types.ts";
import { etlErrors } from "./errors.ts";
import {
  type EtlOptions,
  type EtlSource,
  type FileTarget,
  type ModuleTransform,
  type TableTarget,
  etlChecks,
  etlDefaults,
  fileTargetChecks,
  fileTargetDefaults,
  sourceChecks,
  sourceDefaults,
  tableTargetChecks,
} from "./options.ts";
import type { EtlProgress, OutputPlan, SourcePlan, TransformPlan, WorkDone } from "./protocol.ts";
import { columnsOf, loadTable } from "./table-target.ts";
import { ReportedFailure, runPlan } from "./worker-process.ts";
import { noRoomIs, openWorkspace, publish, publishCopy, unfinishedName } from "./workspace.ts";

export interface EtlResult {
  /** Rows of the source, the bad ones included. */
  readonly rowsRead: number;
  /** Rows in the report, or that would be. */
  readonly rowsRejected: number;
  /** Rows that went out: into the file, or to PostgreSQL. */
  readonly rowsWritten: number;
  /** PostgreSQL: rows that were inserted or changed; with onConflict it may be fewer than were written. In a file all are. */
  readonly rowsChanged: number;
  readonly bytesRead: number;
  /** Of the file, or of what was sent to PostgreSQL. */
  readonly bytesWritten: number;
  readonly durationMs: number;
  /** The most that the process which did the work had in memory. */
  readonly peakMemoryBytes: number;
  /** Processor time of that process. */
  readonly cpuMs: number;
}

/** The part of a run that PostgreSQL's loading takes of the whole, at its end. */
const loadingShare = 0.4;

/**
 * Reads a source, transforms its rows and writes them to one target, whole or not at all. Rows that are bad go to the report. The
 * work is done in a process of its own, which is gone when this settles; so is everything that it put on disk beside target and report.
 * @throws MILLRACE_ETL_…, MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID, the signal's reason, what the source's stream fails with, and
 * what PostgreSQL's connection does
 */
export async function etl(given: EtlOptions): Promise<EtlResult> {
  const options = resolveOptions<EtlOptions, typeof etlChecks>("etl", given, etlDefaults, etlChecks);
  const plan = readPlan(options);
  using deadline = new Deadline({ parent: endingOf({ signal: options.signal }) });
  const startedMs = systemClock.monotonic();
  const run = newWorkId();
  let done: WorkDone | undefined;
  const publishEnd = (outcome: "done" | "failed" | "cancelled", error: unknown) => {
    if (!etlRunChannel.hasSubscribers) return;
    etlRunChannel.publish({
      run,
      source: plan.input.name,
      target: plan.target.name,
      outcome,
      rowsRead: done?.rowsRead ?? 0,
      rowsRejected: done?.rowsRejected ?? 0,
      rowsWritten: outcome === "done" ? done!.rowsWritten : 0,
      durationMs: systemClock.monotonic() - startedMs,
      peakMemoryBytes: done?.peakMemoryBytes ?? 0,
      cpuMs: done?.cpuMs ?? 0,
      error,
    });
  };
  try {
    deadline.throwIfAborted();
    const { rowsChanged, ...rest } = await runWhole(options, plan, deadline, run, (known) => {
      done = known;
    });
    const result = { ...rest, rowsChanged, durationMs: systemClock.monotonic() - startedMs };
    publishEnd("done", undefined);
    return result;
  } catch (error) {
    publishEnd(deadline.aborted ? "cancelled" : "failed", error);
    throw deadline.aborted ? deadline.reason : error;
  } finally {
    // Streams that were not read to the end are of no use to anybody.
    for (const { stream } of [options.source, ...Object.values(options.tables)]) stream?.destroy();
  }
}

type Resolved = ResolvedOptions<typeof etlChecks>;

/** What was asked for, checked, before anything is opened. */
interface ReadPlan {
  readonly input: PlannedSource;
  readonly tables: ReadonlyMap<string, PlannedSource>;
  readonly transform: TransformPlan | undefined;
  readonly target: PlannedTarget;
}

type PlannedSource = Omit<SourcePlan, "path" | "bytes"> & Pick<EtlSource, "file" | "stream">;

type PlannedTarget = { readonly name: string } & (
  | { readonly file: string; readonly format: FileTarget["format"]; readonly delimiter: string; readonly header: boolean }
  | { readonly table: TableTarget }
);

function readPlan({ source, tables, transform, target }: Resolved): ReadPlan {
  for (const name of Object.keys(tables)) {
    if (!/^[a-z_][a-z0-9_]*$/.test(name) || ["input", "result", "final", "replaced"].includes(name)) {
      throw invalidOption("tables", name, "names of small letters, digits and _, not input, result, final or replaced");
    }
  }
  return {
    input: planSource("source", source),
    tables: new Map(Object.entries(tables).map(([name, one]) => [name, planSource(`tables.${name}`, one)])),
    transform: transform && planTransform(transform),
    target: planTarget(target),
  };
}

const invalidOption = (option: string, value: string, expected: string) =>
  coreErrors.create("MILLRACE_OPTION_INVALID", { subject: "etl", option, value, expected });

function planSource(option: string, given: EtlSource): PlannedSource {
  const resolved = resolveOptions<EtlSource, typeof sourceChecks>(`etl.${option}`, given, sourceDefaults, sourceChecks);
  const { file, stream, format, columns, delimiter, header, extraColumns } = resolved;
  if ((file === undefined) === (stream === undefined)) throw invalidOption(option, "both or none", "either file or stream");
  if (format === undefined) throw invalidOption(`${option}.format`, "absent", '"csv", "ndjson" or "parquet"');
  if (columns === undefined && (format === "ndjson" || (format === "csv" && !header))) {
    throw invalidOption(`${option}.columns`, "absent", "types by column: nothing else says what they are");
  }
  if (columns !== undefined && Object.keys(columns).length === 0)
    throw invalidOption(`${option}.columns`, "none", "at least one column");
  const name = file ?? "the stream";
  return { file, stream, name, format, columns: columns && readColumns(columns), delimiter, header, extraColumns };
}

function planTransform(transform: Sql | ModuleTransform): TransformPlan {
  if (transform instanceof Sql) return { kind: "sql", ...transform.render() };
  const { module, name = "transform", columns } = transform;
  if (!(module instanceof URL) || module.protocol !== "file:")
    throw invalidOption("transform.module", String(module), "the URL of a file");
  const read = readColumns(columns ?? {});
  if (read.length === 0) throw invalidOption("transform.columns", "none", "at least one column");
  return { kind: "module", url: module.href, name, columns: read };
}

function planTarget(target: FileTarget | TableTarget): PlannedTarget {
  if ("database" in target) {
    const table = resolveOptions<TableTarget, typeof tableTargetChecks>("etl.target", target, {}, tableTargetChecks);
    const { onConflict } = table;
    if (onConflict && (!["update", "keep"].includes(onConflict.action) || onConflict.key.length === 0)) {
      throw invalidOption("target.onConflict", JSON.stringify(onConflict), '{ key: ["id"], action: "update" } or "keep"');
    }
    return { name: table.table, table };
  }
  const { file, format, delimiter, header } = resolveOptions<FileTarget, typeof fileTargetChecks>(
    "etl.target",
    target,
    fileTargetDefaults,
    fileTargetChecks,
  );
  if (file === undefined || format === undefined)
    throw invalidOption("target", "without file or format", "a file and its format, or a table");
  return { name: file, file: resolve(file), format, delimiter, header };
}

async function runWhole(
  options: Resolved,
  plan: ReadPlan,
  deadline: Deadline,
  run: string,
  onDone: (done: WorkDone) => void,
): Promise<Omit<EtlResult, "durationMs">> {
  const { target } = plan;
  const intoTable = "table" in target ? target.table : undefined;
  // Asked first: an hour of reading for a table that does not exist helps nobody.
  const allowed = intoTable && (await columnsOf(intoTable.database, intoTable.table));
  await using workspace = await openWorkspace(options.directory);
  const file = "file" in target ? await placeOf(target.file) : undefined;
  const unfinished = file === undefined ? join(workspace.path, "rows.copy") : await unfinishedName(file);
  const reported = join(workspace.path, "report.ndjson");
  const share = intoTable ? 1 - loadingShare : 1;
  let latest: EtlProgress | undefined;
  const tell = (progress: EtlProgress) => {
    latest = progress;
    options.onProgress?.(progress);
    if (etlProgressChannel.hasSubscribers) etlProgressChannel.publish({ run, source: plan.input.name, ...progress });
  };
  const publishReport = async () => {
    if (options.report !== undefined) await publishCopy(reported, options.report);
  };
  try {
    const input = await placed(plan.input, join(workspace.path, "input"), deadline);
    const tables: Record<string, SourcePlan> = {};
    for (const [name, source] of plan.tables) tables[name] = await placed(source, join(workspace.path, `table-${name}`), deadline);
    const output: OutputPlan = {
      path: unfinished,
      name: target.name,
      ...("file" in target
        ? { format: target.format, delimiter: target.delimiter, header: target.header, allowed: undefined, key: [] }
        : { format: "copy", delimiter: ",", header: false, allowed, key: target.table.onConflict?.key ?? [] }),
    };
    const { memoryLimitMb, maxSpillMb, threads, maxRowBytes, maxRejects, nice, maxHeapMb } = options;
    const done = await runPlan({
      plan: {
        workspace: workspace.path,
        memoryLimitMb,
        maxSpillMb,
        threads,
        maxRowBytes,
        maxRejects,
        input,
        tables,
        transform: plan.transform,
        output,
        report: options.report === undefined ? undefined : reported,
      },
      deadline,
      nice,
      maxHeapMb,
      onProgress: (progress) => tell({ ...progress, fraction: progress.fraction * share }),
    });
    onDone(done);
    deadline.throwIfAborted();
    await publishReport();
    try {
      const changed = intoTable
        ? await load(intoTable, done, unfinished, deadline, (fraction) =>
            tell({
              ...(latest ?? { bytesTotal: input.bytes }),
              stage: "loading",
              rowsRead: done.rowsRead,
              bytesRead: done.bytesRead,
              bytesTotal: input.bytes,
              rowsRejected: done.rowsRejected,
              fraction: share + loadingShare * fraction,
            }),
          )
        : await publish(unfinished, file!).then(() => done.rowsWritten);
      const { rowsRead, rowsRejected, rowsWritten, bytesRead, bytesWritten, peakMemoryBytes, cpuMs } = done;
      return { rowsRead, rowsRejected, rowsWritten, rowsChanged: changed, bytesRead, bytesWritten, peakMemoryBytes, cpuMs };
    } catch (error) {
      // A report of a run that wrote nothing would say that the rows beside it are there.
      if (options.report !== undefined) await rm(options.report, { force: true });
      throw error;
    }
  } catch (error) {
    if (!(error instanceof ReportedFailure)) throw error;
    await publishReport();
    throw error.failure;
  } finally {
    await rm(unfinished, { force: true });
  }
}

/** Where a target is, wherever a linked directory leads. @throws MILLRACE_OPTION_INVALID when there is no such directory */
async function placeOf(file: string): Promise<string> {
  try {
    return join(await realpath(dirname(file)), basename(file));
  } catch {
    throw invalidOption("target.file", file, "a file in a directory that exists");
  }
}

/** A source as a file: its own, or what its stream brings. */
async function placed(source: PlannedSource, path: string, deadline: Deadline): Promise<SourcePlan> {
  const { file, stream, ...rest } = source;
  if (file === undefined) {
    await noRoomIs(path, () => pipeline(stream!, createWriteStream(path, { mode: 0o600 }), { signal: deadline.signal }));
  }
  // The engine is let in to this one file, wherever a link leads.
  const place = file === undefined ? path : await realpath(file).catch(() => resolve(file));
  const { size } = await stat(place).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT" && error.code !== "ENOTDIR") throw error;
    throw etlErrors.create("MILLRACE_ETL_SOURCE_INVALID", { source: source.name, reason: "there is no such file" }, error);
  });
  return { ...rest, path: place, bytes: size };
}

/** How often loading tells how far it is. */
const tellEveryMs = 200;

function load(
  target: TableTarget,
  done: WorkDone,
  path: string,
  deadline: Deadline,
  tell: (fraction: number) => void,
): Promise<number> {
  let toldMs = -Infinity;
  return loadTable(target, { ...done, path }, deadline, (bytes) => {
    const nowMs = systemClock.monotonic();
    if (nowMs - toldMs < tellEveryMs) return;
    toldMs = nowMs;
    tell(bytes / Math.max(1, done.bytesWritten));
  });
}
