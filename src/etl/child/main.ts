// The program that does the work of a run, in a process of its own: it is told what to do once, reports, and ends. See docs/etl.md.

import { rmSync } from "node:fs";
import { MillraceError } from "../../core/index.ts";
import { lineColumn } from "../column-types.ts";
import { etlErrors } from "../errors.ts";
import type { EtlPlan, EtlProgress, FromChild, WorkDone, WorkFailure } from "../protocol.ts";
import type { TransformFunction } from "../transform.ts";
import { Engine, quoteName, spillDirectory } from "./engine.ts";
import { importTransform, runModuleTransform } from "./module-transform.ts";
import { Rejects } from "./rejects.ts";
import { type Selection, checkResultColumns, describeSelection, writeResult } from "./result-writer.ts";
import { readSource } from "./source-reader.ts";
import { guardSpill } from "./spill-guard.ts";

/** How often progress is told; a person sees no more, and a message costs the other side some microseconds. */
const progressEveryMs = 200;

/** What share of a run its stages take, about: measured on 3 million rows. */
const shares = { reading: [0, 0.6], transforming: [0.6, 0.8], writing: [0.8, 1], loading: [1, 1] } as const;

class Progress {
  stage: EtlProgress["stage"] = "reading";
  rowsRead = 0;
  bytesRead = 0;
  bytesTotal = 0;
  /** Of the stage, from 0 to 1. */
  part: () => number = () => 0;
  #fraction = 0;

  now(rowsRejected: number): EtlProgress {
    const { stage, rowsRead, bytesRead, bytesTotal } = this;
    const [from, to] = shares[stage];
    this.#fraction = Math.max(this.#fraction, from + (to - from) * Math.min(1, this.part()));
    return { stage, rowsRead, bytesRead, bytesTotal, rowsRejected, fraction: this.#fraction };
  }
}

async function work(plan: EtlPlan, progress: Progress, rejects: Rejects): Promise<WorkDone> {
  const { workspace, maxRowBytes, transform } = plan;
  await using engine = await Engine.open(plan);
  let run: TransformFunction | undefined;
  if (transform?.kind === "module") run = await importTransform(transform.url, transform.name);

  for (const [table, source] of Object.entries(plan.tables)) {
    const own = new Rejects(0);
    try {
      await readSource({
        engine,
        workspace,
        table,
        source,
        rejects: own,
        maxRowBytes,
        onCreated: async () => {},
        onProgress: () => {},
      });
      // Lines are those of the source: a join has only one _line then.
      await engine.run("source", `alter table ${quoteName(table)} drop column ${lineColumn}`);
    } catch (error) {
      if (!etlErrors.is(error, "MILLRACE_ETL_TOO_MANY_REJECTS")) throw error;
      const { firstLine: line, firstReason: reason } = error.details as { firstLine: number | undefined; firstReason: string };
      throw etlErrors.create("MILLRACE_ETL_TABLE_INVALID", { table, line, reason }, error);
    }
  }

  const selection: Selection =
    transform?.kind === "sql"
      ? { text: `(${transform.text}\n)`, values: transform.values }
      : { text: `select * from ${run ? "result" : "input"}`, values: [] };
  progress.part = () => (progress.bytesTotal === 0 ? 0 : progress.bytesRead / progress.bytesTotal);
  const read = await readSource({
    engine,
    workspace,
    table: "input",
    source: plan.input,
    rejects,
    maxRowBytes,
    // Statements that cannot work are refused before an hour of reading.
    onCreated: async () => {
      if (transform?.kind === "module") checkResultColumns(transform.columns, plan.output);
      else checkResultColumns(await describeSelection(engine, selection), plan.output);
    },
    onProgress: (rowsRead, bytesRead) => Object.assign(progress, { rowsRead, bytesRead }),
  });
  progress.rowsRead = read.rows;

  progress.stage = "transforming";
  progress.part = () => engine.progress;
  if (run && transform?.kind === "module") {
    let rowsIn = 0;
    progress.part = () => rowsIn / Math.max(1, read.rows);
    await runModuleTransform(run, {
      engine,
      workspace,
      url: transform.url,
      name: transform.name,
      input: read.columns,
      columns: transform.columns,
      maxRowBytes,
      rejects,
      onProgress: (rows) => {
        rowsIn = rows;
      },
    });
    progress.part = () => engine.progress;
  }
  progress.stage = "writing";
  const written = await writeResult(engine, selection, await describeSelection(engine, selection), plan.output, rejects);
  const { maxRSS, userCPUTime, systemCPUTime } = process.resourceUsage();
  return {
    rowsRead: read.rows,
    rowsRejected: rejects.count,
    rowsWritten: written.rows,
    bytesRead: progress.bytesRead,
    bytesWritten: written.bytes,
    columns: written.columns,
    peakMemoryBytes: maxRSS * 1024,
    cpuMs: (userCPUTime + systemCPUTime) / 1000,
  };
}

function failureOf(error: unknown, plan: EtlPlan): WorkFailure {
  const reported = etlErrors.is(error, "MILLRACE_ETL_TOO_MANY_REJECTS");
  const known = error instanceof MillraceError ? error : isNoRoom(error) ? noRoom(error, plan) : undefined;
  if (known) {
    const { code, message, details, retryable, stack } = known;
    return { code, message, details, retryable, stack, reported };
  }
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  return { code: undefined, message, details: {}, retryable: false, stack, reported };
}

const isNoRoom = (error: unknown): error is Error =>
  ["ENOSPC", "EDQUOT", "EFBIG"].includes(String((error as { code?: unknown })?.code));

const noRoom = (error: Error, plan: EtlPlan) =>
  etlErrors.create("MILLRACE_ETL_DISK_FULL", { directory: plan.workspace, reason: error.message }, error);

/** Sends a message, and resolves when it is on its way. */
const send = (message: FromChild): Promise<void> =>
  new Promise((resolve) => {
    if (process.connected) process.send!(message, undefined, {}, () => resolve());
    else resolve();
  });

async function run(plan: EtlPlan): Promise<void> {
  // Whoever asked is gone: nobody is left who would clean up.
  process.on("disconnect", () => {
    rmSync(plan.workspace, { recursive: true, force: true });
    rmSync(plan.output.path, { force: true });
    process.exit(1);
  });
  const progress = new Progress();
  progress.bytesTotal = plan.input.bytes;
  const rejects = new Rejects(plan.maxRejects);
  const timer = setInterval(() => void send({ kind: "progress", progress: progress.now(rejects.count) }), progressEveryMs);
  try {
    using spill = guardSpill(spillDirectory(plan.workspace), plan.maxSpillMb);
    const done = await Promise.race([work(plan, progress, rejects), spill.exceeded]);
    if (plan.report !== undefined) await rejects.write(plan.report);
    clearInterval(timer);
    await send({ kind: "done", done });
  } catch (error) {
    clearInterval(timer);
    const failure = failureOf(error, plan);
    if (failure.reported && plan.report !== undefined) await rejects.write(plan.report).catch(() => {});
    await send({ kind: "failed", failure });
  }
}

process.once("message", (plan) => void run(plan as EtlPlan));
await send({ kind: "ready" });
