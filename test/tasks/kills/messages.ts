// What a run of kills tells its workers.

/** The argument of worker.ts, as JSON. */
export interface KillWorkerConfig {
  readonly store: "postgresql" | "redis";
  /** Of the store's server. */
  readonly url: string;
  /** A file of its own, a line of JSON per event: what was written survives the process. */
  readonly log: string;
  readonly lease: `${number}s`;
}

/** The tasks' queue. */
export const killQueue = "kills";
