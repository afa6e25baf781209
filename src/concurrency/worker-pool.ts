// Work that would hold up the event loop, on threads: bounded, with a deadline that really ends it. See docs/worker-pool.md.
//
// | a task is | left by                                         | what then happens                                        |
// | --------- | ----------------------------------------------- | -------------------------------------------------------- |
// | waiting   | a thread is free                                | running                                                  |
// | waiting   | its deadline, its caller's leaving, close()     | settled: it never runs                                   |
// | running   | the function returns or throws                  | settled: its result, its error                           |
// | running   | its deadline, its caller's leaving, close()     | settled: the thread is ended and replaced                |
// | running   | the thread ends: memory, exit, an uncaught error | settled: MILLRACE_WORKER_LOST; the thread is replaced   |

import {
  type Clock,
  type Closeable,
  type Duration,
  type ErrorDetails,
  MillraceError,
  type ResolvedOptions,
  coreErrors,
  parseDuration,
  resolveOptions,
  systemClock,
} from "../core/index.ts";
import { type Ending, endingOf } from "./abortable.ts";
import { type WorkerTaskMessage, workerTaskChannel } from "./channels.ts";
import { currentContext, portableContext } from "./context.ts";
import { Deadline } from "./deadline.ts";
import { concurrencyErrors } from "./errors.ts";
import { workerPoolChecks, workerPoolDefaults } from "./options.ts";
import { type Permit, Semaphore } from "./semaphore.ts";
import { transferablesOf } from "./transfer.ts";
import { newWorkId } from "./work-id.ts";
import type { TaskAnswer } from "./worker-protocol.ts";
import { ThreadFailure, type Threads, maxStarts, startThreads } from "./worker-threads.ts";

export interface WorkerPoolOptions {
  /** For messages. Default "the worker pool". */
  readonly name?: string;
  /** Threads at the most. Default: one less than the processor has cores, at least 1. */
  readonly threads?: number;
  /** Tasks that may wait for a thread; the next is refused with MILLRACE_WORKER_QUEUE_FULL. Default 100. 0: nobody waits. */
  readonly maxQueue?: number;
  /** How long a task may take, waiting included, unless run() says otherwise. Default "30s". */
  readonly deadline?: Duration;
  /** A thread that has had no task for so long is ended. Default "30s". */
  readonly idleTimeout?: Duration;
  /** Heap of a thread, in MB; a task that needs more is lost, and nothing else. Default 512. */
  readonly maxHeapMb?: number;
  /** How long close() lets tasks finish before it ends them. Default "10s". */
  readonly closeTimeout?: Duration;
  /** Starts all threads at the first task and keeps them. Default: they come and go with the work. */
  readonly keepWarm?: boolean;
  /** Options of Node for the threads. Default: those of the process. */
  readonly execArgv?: readonly string[];
  readonly clock?: Clock;
}

/** A module whose exported functions run in threads; made by workerModule(). */
export interface WorkerModule<Exports extends object> {
  readonly url: string;
  /** Never there: it carries the module's type. */
  readonly exports?: Exports;
}

/** The functions of a module that can be a task: of one argument or none. */
export type TaskName<Exports extends object> = {
  [Name in keyof Exports]: Exports[Name] extends (input: never) => unknown ? Name : never;
}[keyof Exports] &
  string;

export type TaskInput<Exports extends object, Name extends keyof Exports> = Exports[Name] extends (
  ...input: infer Input extends unknown[]
) => unknown
  ? Input[0]
  : never;

export type TaskResult<Exports extends object, Name extends keyof Exports> = Exports[Name] extends (
  ...input: never[]
) => infer Result
  ? Awaited<Result>
  : never;

export interface RunTaskOptions {
  /** How long the task may take, waiting included. Default: the pool's. */
  readonly deadline?: Duration | undefined;
  /** Ends the task before. Default: the deadline of the running work's context. */
  readonly signal?: Ending | undefined;
}

export interface WorkerPoolStats {
  readonly threads: number;
  readonly running: number;
  readonly waiting: number;
}

export interface WorkerPool extends Closeable {
  /**
   * Calls a function of a module in a thread, in the context of the running work, and resolves with what it returns. Input and
   * result are cloned, or moved where transfer() says so. What the function throws arrives with its fields.
   * @throws MILLRACE_WORKER_QUEUE_FULL, MILLRACE_WORKER_LOST, MILLRACE_WORKER_START_FAILED, MILLRACE_WORKER_TASK_INVALID,
   * MILLRACE_DEADLINE_EXCEEDED, MILLRACE_CLOSED, the signal's reason
   */
  run<Exports extends object, const Name extends TaskName<Exports>>(
    module: WorkerModule<Exports>,
    name: Name,
    input: TaskInput<Exports, Name>,
    options?: RunTaskOptions,
  ): Promise<TaskResult<Exports, Name>>;
  stats(): WorkerPoolStats;
}

/**
 * Names a module for run(): `workerModule<typeof import("./hash.worker.ts")>(new URL("./hash.worker.ts", import.meta.url))`.
 * @throws MILLRACE_WORKER_TASK_INVALID when the URL is not a file's
 */
export function workerModule<Exports extends object>(url: URL): WorkerModule<Exports> {
  if (url.protocol !== "file:") {
    throw concurrencyErrors.create("MILLRACE_WORKER_TASK_INVALID", { task: url.href.slice(0, 200), reason: "it is not a file" });
  }
  return Object.freeze({ url: url.href });
}

/** Creates a pool; threads start with its first task. @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID */
export function createWorkerPool(options: WorkerPoolOptions = {}): WorkerPool {
  return new PiscinaPool(
    resolveOptions<WorkerPoolOptions, typeof workerPoolChecks>("createWorkerPool", options, workerPoolDefaults, workerPoolChecks),
  );
}

/** A task in the eyes of whoever reads a message: file and function. */
const taskName = (url: string, name: string) => `${url.slice(url.lastIndexOf("/") + 1)}#${name}`;

/** What the thread threw, as it was there: structured cloning keeps only name, message, stack and cause of standard errors. */
function revive(error: unknown, fields: Readonly<Record<string, unknown>> | undefined): unknown {
  if (!(error instanceof Error) || !fields) return error;
  if (fields["name"] !== "MillraceError") return Object.assign(error, fields);
  const revived = new MillraceError(String(fields["code"]), error.message, {
    details: fields["details"] as ErrorDetails,
    retryable: fields["retryable"] === true,
    cause: error.cause,
  });
  if (error.stack !== undefined) revived.stack = error.stack;
  return revived;
}

class PiscinaPool implements WorkerPool {
  readonly #options: ResolvedOptions<typeof workerPoolChecks>;
  readonly #clock: Clock;
  readonly #slots: Semaphore;
  readonly #tasks = new Set<Deadline>();
  #running = 0;
  #threads: Promise<Threads> | undefined;
  #threadCount = () => 0;
  #closed: Promise<void> | undefined;
  #allDone: PromiseWithResolvers<void> | undefined;

  constructor(options: ResolvedOptions<typeof workerPoolChecks>) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#slots = new Semaphore({ permits: options.threads, maxWaiting: options.maxQueue });
  }

  async run<Exports extends object, const Name extends TaskName<Exports>>(
    module: WorkerModule<Exports>,
    name: Name,
    input: TaskInput<Exports, Name>,
    options: RunTaskOptions = {},
  ): Promise<TaskResult<Exports, Name>> {
    if (this.#closed) throw coreErrors.create("MILLRACE_CLOSED", { subject: this.#options.name });
    const timeoutMs = options.deadline === undefined ? this.#options.deadline : parseDuration(options.deadline);
    using deadline = new Deadline({ timeoutMs, parent: endingOf(options), clock: this.#clock });
    deadline.throwIfAborted();
    this.#tasks.add(deadline);
    const task = taskName(module.url, name);
    const sinceMs = this.#clock.monotonic();
    let startedMs: number | undefined;
    let outcome: WorkerTaskMessage["outcome"] = "aborted";
    try {
      using _permit = await this.#slot(deadline);
      startedMs = this.#clock.monotonic();
      this.#running++;
      try {
        const threads = await (this.#threads ??= this.#start());
        deadline.throwIfAborted();
        const context = currentContext();
        const answer = await threads.run(
          {
            module: module.url,
            name,
            input,
            context: context ? portableContext(context) : { requestId: newWorkId() },
            remainingMs: Number.isFinite(deadline.remainingMs) ? deadline.remainingMs : undefined,
          },
          transferablesOf(input) ?? [],
          deadline,
        );
        outcome = answer.ok ? "done" : "failed";
        return this.#read(answer, task) as TaskResult<Exports, Name>;
      } finally {
        this.#running--;
      }
    } catch (error) {
      if (concurrencyErrors.is(error, "MILLRACE_WORKER_QUEUE_FULL")) outcome = "refused";
      if (!(error instanceof ThreadFailure)) throw error;
      outcome = error.kind === "uncloneable" ? "failed" : "lost";
      throw this.#explain(error, task);
    } finally {
      this.#tasks.delete(deadline);
      if (this.#tasks.size === 0) this.#allDone?.resolve();
      if (workerTaskChannel.hasSubscribers) {
        const nowMs = this.#clock.monotonic();
        const waitedMs = (startedMs ?? nowMs) - sinceMs;
        workerTaskChannel.publish({ pool: this.#options.name, task, outcome, waitedMs, ranMs: nowMs - (startedMs ?? nowMs) });
      }
    }
  }

  stats(): WorkerPoolStats {
    return { threads: this.#threadCount(), running: this.#running, waiting: this.#slots.waiting };
  }

  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #slot(deadline: Deadline): Promise<Permit> {
    try {
      return await this.#slots.acquire({ signal: deadline });
    } catch (error) {
      if (!concurrencyErrors.is(error, "MILLRACE_SEMAPHORE_FULL")) throw error;
      const { name: pool, threads } = this.#options;
      throw concurrencyErrors.create("MILLRACE_WORKER_QUEUE_FULL", { pool, threads, waiting: this.#slots.waiting });
    }
  }

  async #start(): Promise<Threads> {
    const { threads: count, keepWarm, idleTimeout, maxHeapMb, execArgv } = this.#options;
    const minThreads = keepWarm ? count : 0;
    const threads = await startThreads({ threads: count, minThreads, idleTimeoutMs: idleTimeout, maxHeapMb, execArgv });
    this.#threadCount = () => threads.count;
    return threads;
  }

  #read(answer: TaskAnswer, task: string): unknown {
    if (answer.ok) return answer.result;
    if ("invalid" in answer) {
      throw concurrencyErrors.create("MILLRACE_WORKER_TASK_INVALID", { task, reason: answer.invalid }, answer.cause);
    }
    throw revive(answer.error, answer.fields);
  }

  #explain(failure: ThreadFailure, task: string): MillraceError {
    const { name: pool } = this.#options;
    const { cause, message: reason } = failure;
    if (failure.kind === "uncloneable") return concurrencyErrors.create("MILLRACE_WORKER_TASK_INVALID", { task, reason }, cause);
    if (failure.kind === "lost") return concurrencyErrors.create("MILLRACE_WORKER_LOST", { pool, task, reason }, cause);
    return concurrencyErrors.create("MILLRACE_WORKER_START_FAILED", { pool, task, attempts: maxStarts }, cause);
  }

  /** Lets tasks finish, waiting ones too, then ends what is left. */
  async #close(): Promise<void> {
    if (this.#tasks.size > 0) {
      this.#allDone = Promise.withResolvers();
      using _timer = this.#clock.timer(
        this.#options.closeTimeout,
        () => {
          const closed = coreErrors.create("MILLRACE_CLOSED", { subject: this.#options.name });
          for (const task of this.#tasks) task.abort(closed);
        },
        true,
      );
      await this.#allDone.promise;
    }
    const threads = await this.#threads?.catch(() => undefined);
    await threads?.end();
  }
}
