// One request of a client and what is known of it from its head.

import type { IncomingMessage, ServerResponse } from "node:http";
import { type Directives, Fields, parseDirectives } from "../http-caching/index.ts";
import type { Client } from "./reply.ts";
import type { Target } from "./target.ts";

export class Exchange implements Client {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly target: Target;
  readonly method: string;
  readonly fields: Fields;
  /** Its Cache-Control. */
  readonly directives: Directives;
  /** Whether a body comes with it. */
  readonly hasBody: boolean;

  constructor(request: IncomingMessage, response: ServerResponse, fields: Fields, target: Target, heedsDirectives: boolean) {
    this.request = request;
    this.response = response;
    this.target = target;
    this.method = request.method ?? "GET";
    this.fields = fields;
    this.directives = parseDirectives(heedsDirectives ? fields.lines("cache-control") : []);
    this.hasBody = fields.has("transfer-encoding") || Number(fields.get("content-length") ?? 0) > 0;
  }

  /** The client is there and has not got all of its answer. */
  get isWaiting(): boolean {
    return !this.response.destroyed && !this.response.writableFinished;
  }

  /** Calls back when the client has its answer or is gone. */
  onDone(callback: () => void): void {
    if (this.isWaiting) this.response.once("close", callback);
    else callback();
  }

  /** An interim answer, as far as node can send it. To a client of HTTP/1.0 there is none. */
  interim(status: number, rawHeaders: readonly string[]): void {
    const { request, response } = this;
    if (request.httpVersionMinor < 1 || response.headersSent || response.destroyed) return;
    if (status === 102) response.writeProcessing();
    if (status !== 103) return;
    const hints: Record<string, string | string[]> = {};
    for (const name of new Fields(rawHeaders).names()) hints[name] = [...new Fields(rawHeaders).lines(name)];
    try {
      if (hints["link"] !== undefined) response.writeEarlyHints(hints);
    } catch {
      // A link that node does not take for one: the hint is lost, and the answer comes all the same.
    }
  }
}
