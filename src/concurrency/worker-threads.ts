// The threads of a worker pool, on piscina. What piscina does not do is done here: the thread that should have taken a call may
// end before it does, and piscina then keeps the call for a thread that nobody starts. docs/decisions/concurrency.md has the rest.

import { extname } from "node:path";
import type { Transferable } from "node:worker_threads";
import type { Deadline } from "./deadline.ts";
import type { TaskAnswer, TaskMessage } from "./worker-protocol.ts";

export interface ThreadOptions {
  /** Threads at the most; the caller makes no more calls at once. */
  readonly threads: number;
  /** Threads that are started at once and kept. */
  readonly minThreads: number;
  readonly idleTimeoutMs: number;
  readonly maxHeapMb: number;
  readonly execArgv: readonly string[] | undefined;
}

/** How a call ended without an answer. */
export class ThreadFailure extends Error {
  /** uncloneable: input or result cannot leave its thread. lost: the thread ended. unstarted: no thread could be started. */
  readonly kind: "uncloneable" | "lost" | "unstarted";

  constructor(kind: ThreadFailure["kind"], message: string | undefined, cause: unknown) {
    super(message, { cause });
    this.kind = kind;
  }
}

export interface Threads {
  /** Runs one call on a thread of its own; when the deadline aborts, the thread is ended. @throws ThreadFailure, the deadline's reason */
  run(message: TaskMessage, transferables: readonly Transferable[], deadline: Deadline): Promise<TaskAnswer>;
  /** Threads that exist now. */
  readonly count: number;
  /** Ends all threads, whatever they do. */
  end(): Promise<void>;
}

/** Threads that may end one after the other before a call is given up. */
export const maxStarts = 3;

/** A call that piscina has; `taken` once a thread has it. */
interface Call {
  taken: boolean;
  readonly restart: AbortController;
}

/** A DOMException that comes from another thread has lost its name and its message; its stack has both. */
const cloneFailure = /^DataCloneError(?: \[\w+\])?: (.*)/;

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const runner = new URL(`./worker-runner${extname(import.meta.filename)}`, import.meta.url).href;

export async function startThreads(options: ThreadOptions): Promise<Threads> {
  // Here and not at the top: loading it takes 20 ms, which whoever has no pool should not pay.
  const { Piscina } = await import("piscina");
  const calls = new Set<Call>();
  let lastError: unknown = new Error("it exited");

  const pool = new Piscina({
    filename: null, // no module is loaded before a task names one, so that a mistake in it is the task's and not the thread's
    minThreads: options.minThreads,
    maxThreads: options.threads,
    idleTimeout: options.idleTimeoutMs,
    concurrentTasksPerWorker: 1,
    atomics: "disabled", // between tasks a thread would stand still in Atomics.wait, and with it the connections that it keeps
    recordTiming: false,
    resourceLimits: { maxOldGenerationSizeMb: options.maxHeapMb },
    ...(options.execArgv && { execArgv: [...options.execArgv] }),
    loadBalancer: (task, workers) => {
      const free = workers.find(({ currentUsage }) => currentUsage === 0) ?? null;
      const call = (task as unknown as Readonly<Record<symbol, Call | null>>)[Piscina.queueOptionsSymbol];
      if (free && call) call.taken = true;
      return free;
    },
  });
  pool.on("error", (error: unknown) => void (lastError = error)); // of a thread without a task
  pool.on("workerDestroy", () => queueMicrotask(restartStranded));

  /** Calls for which there is no thread any more, nor one that is starting. */
  function restartStranded(): void {
    const untaken = [...calls].filter(({ taken }) => !taken);
    const free = pool.threads.length - (calls.size - untaken.length);
    for (const call of untaken.slice(Math.max(0, free))) call.restart.abort();
  }

  return {
    async run(message, transferables, deadline) {
      for (let start = 1; ; start++) {
        const call: Call = { taken: false, restart: new AbortController() };
        const stopListening = deadline.onAbort(() => call.restart.abort());
        calls.add(call);
        try {
          return (await pool.run(
            { ...message, [Piscina.queueOptionsSymbol]: call },
            { filename: runner, name: "runTask", signal: call.restart.signal, transferList: [...transferables] },
          )) as TaskAnswer;
        } catch (error) {
          deadline.throwIfAborted();
          if (!call.restart.signal.aborted) {
            const uncloneable = cloneFailure.exec((error as Error).stack ?? "");
            throw uncloneable
              ? new ThreadFailure("uncloneable", uncloneable[1], error)
              : new ThreadFailure("lost", messageOf(error), error);
          }
          if (start === maxStarts) throw new ThreadFailure("unstarted", messageOf(lastError), lastError);
        } finally {
          stopListening();
          calls.delete(call);
        }
      }
    },
    get count() {
      return pool.threads.length;
    },
    end: () => pool.destroy(),
  };
}
