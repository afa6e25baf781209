// The process that does the work of one run: started, told what to do, listened to, and ended when nobody waits any more. A process and
// not a thread: a crash or the memory of the engine is none of the service's, it can be ended at any moment, and it gives way to the
// service where both want the processor (docs/decisions/etl.md).

import { type ChildProcess, fork } from "node:child_process";
import { setPriority } from "node:os";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import type { Deadline } from "../concurrency/index.ts";
import { MillraceError } from "../core/index.ts";
import { etlErrors } from "./errors.ts";
import type { EtlPlan, EtlProgress, FromChild, WorkDone, WorkFailure } from "./protocol.ts";

const program = fileURLToPath(new URL(`./child/main${extname(import.meta.filename)}`, import.meta.url));

/** As much of what it says about its end as is kept: V8 says a good deal about memory. */
const keptOutput = 8_000;

/** The line that matters of what a process said before it ended. */
function reasonIn(said: string): string | undefined {
  const lines = said
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  return (
    lines.find((line) => /fatal|terminate called/i.test(line)) ?? lines.findLast((line) => /error/i.test(line)) ?? lines.at(-1)
  );
}

export interface WorkerProcessOptions {
  readonly plan: EtlPlan;
  readonly deadline: Deadline;
  readonly nice: number;
  readonly maxHeapMb: number;
  readonly onProgress: (progress: EtlProgress) => void;
}

/** A failed run whose report is worth keeping. */
export class ReportedFailure extends Error {
  readonly failure: unknown;

  constructor(failure: unknown) {
    super("The run failed and its report says why.");
    this.failure = failure;
  }
}

/** Options of Node that say how modules are found and loaded; with a value, where it stands alone. Others are this process's own. */
const loading = /^(?:-C|-r|--conditions|--import|--require|--loader|--experimental-loader)$/;
const loadingInOne =
  /^--(?:conditions|import|require|loader|experimental-[\w-]+|no-experimental-[\w-]+|enable-source-maps|preserve-symlinks)\b/;

function inheritedOptions(options: readonly string[]): string[] {
  return options.flatMap((option, index) => {
    if (loading.test(option)) return [option, options[index + 1]!];
    return loadingInOne.test(option) ? [option] : [];
  });
}

/** Runs the plan in a process of its own. When it settles the process is gone. */
export async function runPlan({ plan, deadline, nice, maxHeapMb, onProgress }: WorkerProcessOptions): Promise<WorkDone> {
  deadline.throwIfAborted();
  const child = fork(program, [], {
    execArgv: [...inheritedOptions(process.execArgv), `--max-old-space-size=${maxHeapMb}`],
    serialization: "advanced",
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  const { promise, resolve, reject } = Promise.withResolvers<WorkDone>();
  let said = "";
  child.stderr!.setEncoding("utf8");
  child.stderr!.on("data", (text: string) => {
    said = (said + text).slice(-keptOutput);
  });
  child.on("message", (message) => {
    const told = message as FromChild;
    if (told.kind === "ready") child.send(plan);
    else if (told.kind === "progress") onProgress(told.progress);
    else if (told.kind === "done") resolve(told.done);
    else reject(told.failure.reported ? new ReportedFailure(revive(told.failure)) : revive(told.failure));
  });
  const lost = (reason: string) => reject(etlErrors.create("MILLRACE_ETL_PROCESS_LOST", { reason }));
  child.on("error", (error) => lost(error.message));
  const exited = new Promise<void>((resolve) => {
    // "close" comes after the last of its output, and also when it could not be started.
    child.once("close", (code, signal) => {
      const how = signal ? `it was ended by ${signal}` : `it exited with ${code}`;
      const reason = reasonIn(said);
      lost(reason === undefined ? how : `${how} and said: ${reason}`);
      resolve();
    });
  });
  giveWay(child, nice);
  const forget = deadline.onAbort(reject);
  try {
    return await promise;
  } finally {
    forget();
    // Also when it is done: it has nothing left to do, and what it would close is thrown away.
    child.kill("SIGKILL");
    await exited;
  }
}

function giveWay({ pid }: ChildProcess, nice: number): void {
  try {
    if (pid !== undefined) setPriority(pid, nice);
  } catch {
    // It may be gone already, or the system may not allow it: then it competes on equal terms.
  }
}

function revive({ code, message, details, retryable, stack }: WorkFailure): unknown {
  const error = code === undefined ? new Error(message) : new MillraceError(code, message, { details, retryable });
  if (stack !== undefined) error.stack = stack;
  return error;
}
