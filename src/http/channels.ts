// What http publishes. Metrics, logs, traces and the dashboard subscribe.

import { defineChannel } from "../core/index.ts";

/** A request has been answered, or its client has gone. */
export interface RequestMessage {
  readonly requestId: string;
  readonly method: string;
  /** The endpoint's path as it was declared; undefined when none matched. */
  readonly route: string | undefined;
  /** 499: the client closed the connection before the answer was complete. */
  readonly status: number;
  readonly durationMs: number;
  /** Bytes of the answer's body as sent, compressed or not. */
  readonly bytes: number;
  readonly principalId: string | undefined;
}

/** The server stops taking requests. */
export interface DrainMessage {
  readonly phase: "not-ready" | "listener-closed" | "idle-closed" | "cut" | "drained";
  /** Connections still open. */
  readonly connections: number;
}

export const requestChannel = defineChannel<RequestMessage>("millrace:http:request");
export const drainChannel = defineChannel<DrainMessage>("millrace:http:drain");
