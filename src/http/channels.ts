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

/** The response cache was asked for an answer to a GET or HEAD, or passed by. */
export interface ResponseCacheMessage {
  readonly requestId: string;
  /** The endpoint's path as it was declared. */
  readonly route: string;
  /** As in the cache's outcomes; bypass also when the cache was not asked. */
  readonly state: "hit" | "stale" | "miss" | "joined" | "bypass";
  readonly tier: "memory" | "store" | undefined;
  /** Why what stood there was not served. */
  readonly refusal: string | undefined;
  /** Whether the answer is kept now. */
  readonly stored: boolean;
  /** Why it is not kept, or why the cache was not asked. */
  readonly reason: string | undefined;
}

/** A request came with a freshness token that says nothing to us; it was answered as if it had none. */
export interface TokenIgnoredMessage {
  readonly requestId: string;
  readonly route: string | undefined;
  /** malformed: too long, or no token at all. unreadable: forged, of another key, or too old. */
  readonly reason: "malformed" | "unreadable";
}

export const requestChannel = defineChannel<RequestMessage>("millrace:http:request");
export const drainChannel = defineChannel<DrainMessage>("millrace:http:drain");
export const responseCacheChannel = defineChannel<ResponseCacheMessage>("millrace:http:response-cache");
export const tokenIgnoredChannel = defineChannel<TokenIgnoredMessage>("millrace:http:token-ignored");
