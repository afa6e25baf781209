// What concurrency publishes. Metrics, logs and traces subscribe.

import { defineChannel } from "../core/index.ts";

/** A task of a worker pool has ended. */
export interface WorkerTaskMessage {
  /** The pool's `name`. */
  readonly pool: string;
  /** Module and function. */
  readonly task: string;
  /** aborted: its deadline passed or its caller left; lost: its thread ended under it; refused: the queue was full. */
  readonly outcome: "done" | "failed" | "aborted" | "lost" | "refused";
  /** In the queue. */
  readonly waitedMs: number;
  /** On a thread; 0 when it never got one. */
  readonly ranMs: number;
}

export const workerTaskChannel = defineChannel<WorkerTaskMessage>("millrace:concurrency:worker-task");
