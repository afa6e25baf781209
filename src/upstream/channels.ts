// What upstream publishes. Metrics, logs and traces subscribe.

import { defineChannel } from "../core/index.ts";
import type { AttemptReport } from "./attempt.ts";

/** A call has ended. */
export interface UpstreamCallMessage {
  readonly upstream: string;
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  /** Of the answer; undefined without one. */
  readonly status: number | undefined;
  /** The code of the error; undefined when the call succeeded. */
  readonly error: string | undefined;
  readonly durationMs: number;
  /** The attempts that failed or were overtaken; the one that succeeded is not among them. */
  readonly attempts: readonly AttemptReport[];
}

/** The breaker of an upstream changes its state. */
export interface UpstreamBreakerMessage {
  readonly upstream: string;
  readonly state: "closed" | "open" | "half-open";
}

/** A replica is left out for a while, or is back. */
export interface UpstreamReplicaMessage {
  readonly upstream: string;
  readonly replica: string;
  readonly event: "ejected" | "returned";
}

/** A retry or a hedge was not made because the budget is spent. */
export interface UpstreamBudgetMessage {
  readonly upstream: string;
  readonly wanted: "retry" | "hedge";
}

export const upstreamCallChannel = defineChannel<UpstreamCallMessage>("millrace:upstream:call");
export const upstreamBreakerChannel = defineChannel<UpstreamBreakerMessage>("millrace:upstream:breaker");
export const upstreamReplicaChannel = defineChannel<UpstreamReplicaMessage>("millrace:upstream:replica");
export const upstreamBudgetChannel = defineChannel<UpstreamBudgetMessage>("millrace:upstream:budget");
