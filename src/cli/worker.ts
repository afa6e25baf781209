// `millrace worker <module>`: works on the tasks of a module until it is told to stop. See docs/workers.md.

import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { Command } from "commander";
import { destination, pino } from "pino";
import { type Duration, systemClock } from "../core/index.ts";
import { createDatabase } from "../database/index.ts";
import { type AnyTask, type TaskModuleContext, createTasks, redisTaskStore, tasksErrors } from "../tasks/index.ts";
import { targetOf } from "./database-target.ts";
import { type TaskStoreOptions, count, withTaskStore } from "./task-store-target.ts";

interface WorkerOptions extends TaskStoreOptions {
  readonly queues?: string;
  readonly concurrency?: number;
  readonly drain: string;
}

/** What a module's default export may be, when it is a function: it gets what tasks need, and returns them. */
type TaskModuleFactory = (given: TaskModuleContext) => readonly AnyTask[] | Promise<readonly AnyTask[]>;

/** How often a line says how it goes. */
const healthMs = 60_000;

/** A second signal means "at once", but not so soon after the first: npm and service managers pass a signal on that the group has had. */
const sameSignalMs = 500;

const exitCodes = { SIGINT: 130, SIGTERM: 143 } as const;

const isTask = (value: unknown): value is AnyTask =>
  typeof value === "object" && value !== null && "handler" in value && "keepDeadMs" in value && "enqueue" in value;

/** Every task that the module exports: alone, in arrays, or from a default function. @throws MILLRACE_TASKS_DEFINITION_INVALID */
async function tasksOf(path: string, context: TaskModuleContext): Promise<readonly AnyTask[]> {
  const exported = (await import(pathToFileURL(resolve(path)).href)) as Readonly<Record<string, unknown>>;
  const found = new Set<AnyTask>();
  for (const [name, value] of Object.entries(exported)) {
    const given: unknown = name === "default" && typeof value === "function" ? await (value as TaskModuleFactory)(context) : value;
    for (const one of Array.isArray(given) ? (given as readonly unknown[]) : [given]) if (isTask(one)) found.add(one);
  }
  if (found.size > 0) return [...found];
  throw tasksErrors.create("MILLRACE_TASKS_DEFINITION_INVALID", {
    task: path,
    reason: "the module exports no tasks: neither a task() nor an array of them, nor a default function that returns one.",
  });
}

/** The queues that are worked on here: those that were named, or all. @throws MILLRACE_TASKS_DEFINITION_INVALID */
function chosenQueues(tasks: readonly AnyTask[], named: string | undefined): readonly string[] {
  const all = [...new Set(tasks.map(({ queue }) => queue))];
  if (named === undefined) return all;
  const chosen = named.split(",").map((queue) => queue.trim());
  for (const queue of chosen) {
    if (all.includes(queue)) continue;
    throw tasksErrors.create("MILLRACE_TASKS_DEFINITION_INVALID", {
      task: queue,
      reason: `--queues names it, but no task has this queue. The tasks have: ${all.join(", ")}.`,
    });
  }
  return chosen;
}

/** Resolves at the first signal; the second ends the process. */
function untilSignal(): Promise<keyof typeof exitCodes> {
  return new Promise((resolveSignal) => {
    let firstAtMs: number | undefined;
    const onSignal = (signal: keyof typeof exitCodes): void => {
      if (firstAtMs === undefined) {
        firstAtMs = performance.now();
        resolveSignal(signal);
      } else if (performance.now() - firstAtMs > sameSignalMs) process.exit(exitCodes[signal]);
    };
    process.on("SIGTERM", onSignal);
    process.on("SIGINT", onSignal);
  });
}

async function work(path: string, options: WorkerOptions): Promise<void> {
  const signal = untilSignal();
  const logger = pino({ level: process.env["LOG_LEVEL"] || "info" }, destination({ fd: 1, sync: true }));
  const target = targetOf(options);
  const { redisUrl, redisPrefix: prefix, concurrency } = options;
  await using database = await createDatabase({
    ...(target.kind === "server" ? { url: target.url } : { embedded: { dataDir: target.dataDir } }),
    applicationName: "millrace worker",
  });
  await using opened = new AsyncDisposableStack();
  const tasks = await tasksOf(path, { database, opened });
  const chosen = chosenQueues(tasks, options.queues);
  const left = new Set(tasks.map(({ queue }) => queue).filter((queue) => !chosen.includes(queue)));
  await using store =
    redisUrl === undefined
      ? undefined
      : redisTaskStore({ url: redisUrl, outbox: database, ...(prefix !== undefined && { prefix }) });
  await using worker = await createTasks({
    database,
    ...(store && { store }),
    tasks,
    queues: Object.fromEntries([...left].map((queue) => [queue, { concurrency: 0 }])),
    ...(concurrency !== undefined && { concurrency }),
    drain: options.drain as Duration,
    logger,
  });
  await worker.start();
  logger.info(
    { worker: worker.worker, store: worker.store.name, tasks: tasks.map(({ name }) => name), queues: chosen },
    "The worker is up.",
  );
  const say = (): void => {
    const { running, buffered, ended } = worker.stats();
    logger.info({ worker: worker.worker, running, buffered, ended }, "The worker's health.");
    timer = systemClock.timer(healthMs, say);
  };
  let timer = systemClock.timer(healthMs, say);
  const received = await signal;
  timer.clear();
  logger.info({ signal: received, running: worker.stats().running }, "The worker drains; a second signal ends it at once.");
  await worker.close();
  logger.info({ ended: worker.stats().ended }, "The worker has stopped.");
}

export function worker(): Command {
  return withTaskStore(new Command("worker"))
    .description("work on the tasks that a module exports, until SIGTERM or SIGINT; log lines as JSON on standard output")
    .argument("<module>", "a file such as ./tasks.ts that exports tasks")
    .option("--queues <queues>", "only these, separated by commas (default: all that its tasks have)")
    .option("--concurrency <number>", "how many tasks of one queue run at once (default: 16)", count(10_000))
    .option("--drain <duration>", "how long running tasks may take after the signal", "20s")
    .action((path: string, options: WorkerOptions) => work(path, options));
}
