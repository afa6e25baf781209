// From what a caller writes to what goes over the wire.

import { randomUUID } from "node:crypto";
import type { Ending } from "../concurrency/index.ts";
import { type WorkContext, currentContext } from "../concurrency/index.ts";
import type { Duration } from "../core/index.ts";
import { upstreamErrors } from "./errors.ts";
import type { WireRequest } from "./transport.ts";

export type QueryValue = string | number | boolean | null | undefined | readonly (string | number | boolean)[];

export interface UpstreamRequest {
  /** Default GET. */
  readonly method?: "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "POST" | "PATCH" | undefined;
  /** From the root of the upstream's URL, with a slash. Encode what comes from strangers: `/cities/${encodeURIComponent(name)}`. */
  readonly path: string;
  /** Appended as a query string, encoded; undefined and null are left out, arrays repeat the name. */
  readonly query?: Readonly<Record<string, QueryValue>> | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Sent as JSON. */
  readonly json?: unknown;
  /** Sent as it is. */
  readonly body?: string | Uint8Array | undefined;
  /**
   * Whether doing it twice is as good as once, so that it may be repeated after it was sent. Default: by the method (RFC 9110
   * §9.2.2); POST and PATCH are not, unless the upstream honours `Idempotency-Key`, which they always carry.
   */
  readonly idempotent?: boolean | undefined;
  /** Of POST and PATCH. Default: a new UUID per call, the same in all its attempts. */
  readonly idempotencyKey?: string | undefined;
  /** Instead of the upstream's. */
  readonly deadline?: Duration | undefined;
  /** Ends the call. Default: the deadline of the running work's context. */
  readonly signal?: Ending | undefined;
}

export interface PreparedRequest {
  readonly wire: WireRequest;
  readonly idempotent: boolean;
  /** For messages: method and path, without the query. */
  readonly name: string;
}

const idempotentMethods = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);

function queryText(query: Readonly<Record<string, QueryValue>> | undefined): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value === undefined || value === null) continue;
    for (const one of Array.isArray(value) ? value : [value]) parameters.append(name, String(one));
  }
  return parameters.toString();
}

/** Whose work it is and which trace it belongs to, for the upstream's logs. */
function contextHeaders(context: WorkContext | undefined): Record<string, string> {
  if (!context) return {};
  const { requestId, trace } = context;
  const headers: Record<string, string> = { "x-request-id": requestId };
  if (trace) {
    headers["traceparent"] = trace.traceparent;
    if (trace.tracestate !== undefined) headers["tracestate"] = trace.tracestate;
  }
  return headers;
}

const lowerCase = (headers: Readonly<Record<string, string>> | undefined): Record<string, string> =>
  Object.fromEntries(Object.entries(headers ?? {}).map(([name, value]) => [name.toLowerCase(), value]));

/** @throws MILLRACE_UPSTREAM_REQUEST_INVALID */
export function prepare(
  upstream: string,
  prefix: string,
  common: Readonly<Record<string, string>>,
  request: UpstreamRequest,
): PreparedRequest {
  const invalid = (reason: string) => upstreamErrors.create("MILLRACE_UPSTREAM_REQUEST_INVALID", { upstream, reason });
  const { method = "GET", path } = request;
  // The URL parser resolves dots, in every spelling, and removes tabs and line breaks: what it says is what is sent.
  if (typeof path !== "string" || !path.startsWith("/")) throw invalid("its path does not begin with a slash");
  const url = new URL(`http://upstream${prefix}${path}`);
  if (url.host !== "upstream" || !url.pathname.startsWith(`${prefix}/`)) throw invalid("its path leads out of the upstream's URL");
  const query = queryText(request.query);
  const search = url.search === "" ? query && `?${query}` : query === "" ? url.search : `${url.search}&${query}`;

  const headers: Record<string, string> = {
    accept: "application/json, */*;q=0.5",
    "user-agent": "millrace",
    ...contextHeaders(currentContext()),
    ...lowerCase(common),
    ...lowerCase(request.headers),
  };
  let { body } = request;
  if (request.json !== undefined) {
    if (body !== undefined) throw invalid("it has both `json` and `body`");
    const text: string | undefined = JSON.stringify(request.json);
    if (text === undefined) throw invalid("its `json` is not JSON");
    body = text;
    headers["content-type"] ??= "application/json";
  }
  const once = !idempotentMethods.has(method);
  if (once) headers["idempotency-key"] ??= request.idempotencyKey ?? randomUUID();
  return {
    wire: { method, path: `${url.pathname}${search}`, headers, body },
    idempotent: request.idempotent ?? !once,
    name: `${method} ${url.pathname}`,
  };
}
