// What proxy publishes. Metrics and logs subscribe.

import { defineChannel } from "../core/index.ts";

/** A request has been answered, or its client has gone. */
export interface ProxyRequestMessage {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  /** 499: the client left before the answer was complete. */
  readonly status: number;
  /** What the cache did with it, as in Cache-Status; undefined: it did not come that far. */
  readonly cacheStatus: string | undefined;
  readonly durationMs: number;
}

/** The origin failed to answer a request. */
export interface ProxyOriginFailureMessage {
  readonly origin: string;
  readonly method: string;
  readonly path: string;
  readonly reason: string;
}

/** Stored answers became worthless by a request that changed something. */
export interface ProxyInvalidationMessage {
  readonly urls: readonly string[];
  readonly groups: readonly string[];
}

export const proxyRequestChannel = defineChannel<ProxyRequestMessage>("millrace:proxy:request");
export const proxyOriginFailureChannel = defineChannel<ProxyOriginFailureMessage>("millrace:proxy:origin-failure");
export const proxyInvalidationChannel = defineChannel<ProxyInvalidationMessage>("millrace:proxy:invalidation");
