// One request and its answer: the context of its work, the handler's argument, and what is logged at the end. One object per
// request; whatever not every request needs (deadline, signal, log, parts) is made when it is asked for.
//
// | state     | left by                                             | what then happens                               |
// | --------- | --------------------------------------------------- | ----------------------------------------------- |
// | working   | a result, an error, the deadline                    | the first of them is answered, the rest ignored |
// | answering | the last byte is sent, or the connection is gone    | deadline disposed (or aborted), line logged     |
// | finished  |                                                     |                                                 |

import type { IncomingHttpHeaders, ServerResponse } from "node:http";
import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from "fastify";
import { Deadline, type TraceContext, type WorkContext, traceOf } from "../concurrency/index.ts";
import type { Database } from "../database/index.ts";
import type { CompiledEndpoint } from "./compile.ts";
import { httpErrors } from "./errors.ts";
import { type Kit, setCommonHeaders } from "./kit.ts";
import { type MultipartPart, multipartParts } from "./multipart.ts";
import { isReported, report } from "./report.ts";
import { pathOf } from "./validation/request-input.ts";

const exchangeKey: unique symbol = Symbol("millrace.exchange");

interface Marked {
  [exchangeKey]?: Exchange;
}

/** The exchange of a request that has arrived, or undefined when it failed before. */
export const exchangeOf = (request: FastifyRequest): Exchange | undefined => (request as Marked)[exchangeKey];

/** One listener for all responses: no closure per request. */
function onClose(this: ServerResponse): void {
  (this as Marked)[exchangeKey]?.finish();
}

export class Exchange implements WorkContext {
  readonly requestId: string;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  /** The endpoint; undefined for requests that reached none. */
  readonly target: CompiledEndpoint | undefined;
  readonly kit: Kit;

  // Set by the pipeline's stages.
  params: Record<string, unknown> = {};
  query: Record<string, unknown> = {};
  headers: IncomingHttpHeaders | Record<string, unknown>;
  body: unknown;
  principal: unknown;
  principalId: string | undefined;
  tenant: string | undefined;

  /** Whether an answer has been decided on. */
  answered = false;
  /** The answer's body when it is sent whole: what its bytes are counted of, if somebody hears of them. */
  sent: string | Buffer | undefined;
  /** Whether the answer was cut because its stream failed. */
  cut = false;
  /** Not worth a line at level info: probes. */
  quiet = false;

  readonly #startedMs = performance.now();
  #workStartedMs: number;
  #deadline: Deadline | undefined;
  #socketBytes: (() => number) | undefined;
  #finished = false;

  constructor(kit: Kit, target: CompiledEndpoint | undefined, request: FastifyRequest, reply: FastifyReply) {
    this.kit = kit;
    this.target = target;
    this.requestId = request.id;
    this.request = request;
    this.reply = reply;
    this.headers = request.headers;
    this.#workStartedMs = this.#startedMs;
    (request as Marked)[exchangeKey] = this;
    const { raw } = reply;
    (raw as Marked)[exchangeKey] = this;
    raw.on("close", onClose);
    setCommonHeaders(kit, reply, request.id);
    // A GET of an endpoint asks the cache later, and says then what came of it.
    if (kit.responseCache && target?.endpoint.method !== "GET")
      reply.header("cache-status", target ? kit.responseCache.notAsked : kit.responseCache.noEndpoint);
  }

  get db(): Database {
    const { database } = this.kit;
    if (!database) throw httpErrors.create("MILLRACE_HTTP_NO_DATABASE", {});
    return database;
  }

  get log(): FastifyBaseLogger {
    return this.request.log;
  }

  /** The handler's name for `tenant`, as the authenticator has found it. */
  get tenantId(): string | undefined {
    return this.tenant;
  }

  /** What the request's `traceparent` and `tracestate` say. */
  get trace(): TraceContext | undefined {
    const { traceparent, tracestate } = this.request.headers;
    return typeof traceparent === "string"
      ? traceOf(traceparent, typeof tracestate === "string" ? tracestate : undefined)
      : undefined;
  }

  get deadline(): Deadline {
    if (!this.#deadline) {
      const deadlineMs = this.target?.endpoint.deadlineMs ?? Infinity;
      const timeoutMs = deadlineMs === Infinity ? undefined : Math.max(0, deadlineMs - (performance.now() - this.#workStartedMs));
      this.#deadline = new Deadline({ timeoutMs });
      if (this.#finished) this.#deadline.abort(httpErrors.create("MILLRACE_HTTP_CLIENT_CLOSED", {}));
    }
    return this.#deadline;
  }

  get signal(): AbortSignal {
    return this.deadline.signal;
  }

  get parts(): AsyncIterable<MultipartPart> {
    const limits = this.target?.multipartLimits;
    if (!limits)
      throw httpErrors.create("MILLRACE_HTTP_ENDPOINT_INVALID", {
        route: this.target?.endpoint.route ?? "",
        reason: "declare `multipart` to read parts.",
      });
    return multipartParts(this.request, limits);
  }

  /** The deadline counts from here: the body has arrived, and how long that took was the client's matter. */
  restartDeadline(): void {
    this.#deadline?.[Symbol.dispose]();
    this.#deadline = undefined;
    this.#workStartedMs = performance.now();
  }

  /** Called when the answer is decided on, before its head is written. */
  answer(): void {
    this.answered = true;
    if (this.kit.draining) this.reply.header("connection", "close");
  }

  /** Counts the bytes of a streamed answer on its socket. */
  countOnSocket(): void {
    const { socket } = this.request.raw;
    const before = socket.bytesWritten;
    this.#socketBytes = () => socket.bytesWritten - before;
  }

  #bytesOf(sent: string | Buffer | undefined): number {
    if (typeof sent !== "string") return sent?.length ?? 0;
    // Fastify has counted already.
    const length = this.reply.getHeader("content-length");
    return length === undefined ? Buffer.byteLength(sent) : Number(length);
  }

  /** The answer is out, or its client is gone. */
  finish(): void {
    if (this.#finished) return;
    this.#finished = true;
    const { raw } = this.reply;
    const complete = raw.writableFinished;
    if (this.#deadline) {
      if (!complete) this.#deadline.abort(httpErrors.create("MILLRACE_HTTP_CLIENT_CLOSED", {}));
      this.#deadline[Symbol.dispose]();
    }
    const { sent } = this;
    // The request outlives its answer on an idle connection.
    this.sent = undefined;
    if (!isReported(this.kit)) return;
    const status = complete ? raw.statusCode : this.cut ? 500 : 499;
    const durationMs = performance.now() - this.#startedMs;
    const bytes = this.#socketBytes?.() ?? (complete && raw.req.method !== "HEAD" ? this.#bytesOf(sent) : 0);
    const { requestId, principalId } = this;
    const { method, url } = this.request;
    const route = this.target?.endpoint.path;
    const path = pathOf(url);
    report(this.kit, { requestId, method, route, path, status, durationMs, bytes, principalId, quiet: this.quiet });
  }
}
