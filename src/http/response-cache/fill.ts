// The making of an answer that may be kept. It belongs to all who wait for it: it has its own context and its own end, its handler sees of the
// request only what the key covers, and its reply is a record. Whatever else the handler takes makes the answer the property of the one
// request that it was begun for.

import { Readable } from "node:stream";
import type { IncomingHttpHeaders } from "node:http";
import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from "fastify";
import type { FillTools } from "../../cache/index.ts";
import { Deadline, type TraceContext, type WorkContext, runInContext } from "../../concurrency/index.ts";
import type { Database } from "../../database/index.ts";
import { renderResult } from "../answer.ts";
import { isCompressible } from "../compression/negotiate.ts";
import type { Exchange } from "../exchange.ts";
import { Problem } from "../problem.ts";
import { failureOf } from "../problem-table.ts";
import { type RequestInput, readInput } from "../validation/request-input.ts";
import { type FilledAnswer, PersonalAnswer, RefusedRequest, ResponseEntry } from "./entry.ts";
import { digestOf, isEtag } from "./etag.ts";
import { type CachePlan, saidBy, says, variesBy } from "./plan.ts";
import { RecordedHead, recordedReply } from "./recorded-reply.ts";

/** Successes that may be kept. 202 and 206 speak of this request. */
const keptStatuses = new Set([200, 203, 204]);

/** RFC 9111 § 1.2.2: a number of seconds that is too large for a cache counts as 2^31. */
const mostSeconds = 2 ** 31;

/** The seconds of an Age header; anything else is none. */
const ageOf = (header: string | undefined): number =>
  header !== undefined && /^\d+$/.test(header) ? Math.min(Number(header), mostSeconds) : 0;

/**
 * A copy, for the handler may keep and change what it returned. Not of Buffer's pool: an entry would keep all of its 64 KB alive, of which nobody
 * knows. What is ASCII needs no encoding.
 */
function keptBytes(body: string | Buffer): Buffer {
  const bytes = Buffer.allocUnsafeSlow(Buffer.byteLength(body));
  if (typeof body === "string") bytes.write(body, bytes.length === body.length ? "latin1" : "utf8");
  else body.copy(bytes);
  return bytes;
}

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";

export class Fill implements WorkContext, RequestInput {
  readonly requestId: string;
  readonly principalId: string | undefined;
  /** Follows from the principal, which is in the key of scope user. */
  readonly tenant: string | undefined;
  readonly trace: TraceContext | undefined;
  readonly deadline: Deadline;
  readonly head: RecordedHead;
  params: Record<string, unknown> = {};
  query: Record<string, unknown> = {};
  headers: IncomingHttpHeaders | Record<string, unknown> = {};
  body: undefined;

  readonly exchange: Exchange;
  readonly plan: CachePlan;
  readonly #tools: FillTools;
  #personal: string | undefined;
  #stream: Readable | undefined;

  constructor(exchange: Exchange, plan: CachePlan, tools: FillTools, commonHeaders: ReadonlyMap<string, string>) {
    this.exchange = exchange;
    this.plan = plan;
    this.#tools = tools;
    this.requestId = exchange.requestId;
    // An answer for a whole tenant is made for none of its members.
    this.principalId = plan.scope === "user" ? exchange.principalId : undefined;
    this.tenant = exchange.tenant;
    this.trace = exchange.trace;
    // Its time is the cache's hard timeout, which follows from the endpoint's deadline.
    this.deadline = new Deadline({ parent: tools.deadline });
    this.head = new RecordedHead(commonHeaders);
  }

  /** Why the answer is this request's own; undefined while it is not. */
  get personal(): string | undefined {
    return this.#personal;
  }

  makePersonal(reason: string): void {
    if (this.#personal !== undefined) return;
    this.#personal = reason;
    this.#tools.dontKeep(reason);
  }

  /** Reads the request, runs the handler and makes the answer. Rejects only with what is a fault (5xx). */
  run(): FilledAnswer | Promise<FilledAnswer> {
    const { target, request } = this.exchange;
    let result: unknown;
    try {
      readInput(request, target!, this);
      const { depends } = this.plan;
      if (depends) this.#tools.depends(...depends({ params: this.params, query: this.query }));
      const handler = target!.endpoint.handler as (input: unknown) => unknown;
      result = runInContext(this, () => handler(new FillInput(this)));
    } catch (error) {
      return this.#fail(error);
    }
    return isThenable(result) ? this.#wait(result) : this.#finish(result);
  }

  #wait(result: PromiseLike<unknown>): Promise<FilledAnswer> {
    return new Promise((resolve, reject) => {
      // A handler that does not listen is not waited for.
      const forget = this.deadline.onAbort(reject);
      const conclude = (make: () => FilledAnswer): void => {
        forget();
        try {
          resolve(make());
        } catch (error) {
          reject(error);
        }
      };
      result.then(
        (value) => conclude(() => this.#finish(value)),
        (error: unknown) => conclude(() => this.#fail(error)),
      );
    });
  }

  /** @throws what is a fault */
  #fail(error: unknown): FilledAnswer {
    this.deadline[Symbol.dispose]();
    if (this.#personal !== undefined) return new PersonalAnswer(this.exchange, this.#personal, { error });
    const failure = failureOf(error);
    if (failure.status >= 500) throw error;
    const refusal = this.#ownBecause();
    if (refusal !== undefined) return this.#own(refusal, { error });
    if (failure.status === 404 && error instanceof Problem && this.plan.negativeTtlMs > 0) {
      this.#tools.keepFor(this.plan.negativeTtl);
      this.#respectRequest(false);
      this.head.headers.delete("set-cookie");
      return new ResponseEntry({
        status: 404,
        headers: this.head.kept(),
        body: Buffer.alloc(0),
        etag: undefined,
        vary: "",
        compressible: false,
        forAuthorized: false,
        age: 0,
        failure,
      });
    }
    this.#tools.dontKeep(`the answer is ${failure.status} ${failure.code}`);
    return new RefusedRequest(error);
  }

  /** @throws what is a fault */
  #finish(result: unknown): FilledAnswer {
    try {
      return this.#made(result);
    } catch (error) {
      return this.#fail(error);
    } finally {
      this.deadline[Symbol.dispose]();
    }
  }

  #made(result: unknown): FilledAnswer {
    const { exchange, plan, head } = this;
    if (result instanceof Readable) {
      plan.streams = true;
      if (exchange.answered || this.deadline.aborted) result.destroy();
      this.#stream = result;
      return this.#own("the handler returns a stream", { result });
    }
    const own = this.#ownBecause() ?? (head.headers.has("set-cookie") ? "the answer sets a cookie" : undefined);
    if (own !== undefined) return this.#own(own, { result });

    const { endpoint } = exchange.target!;
    const status = head.status ?? endpoint.status;
    const rendered = status === 204 || status === 304 ? undefined : renderResult(exchange.target!, exchange.request.url, result);
    if (rendered?.links !== undefined) head.set("link", rendered.links);
    if (rendered && !head.headers.has("content-type")) head.set("content-type", rendered.type);
    const cacheControl = head.text("cache-control");
    if (cacheControl === undefined) head.set("cache-control", plan.cacheControl);
    const said = cacheControl === undefined ? plan.said : saidBy(cacheControl);
    const compressible =
      rendered !== undefined &&
      endpoint.compress &&
      isCompressible(head.text("content-type")!) &&
      !head.headers.has("content-encoding") &&
      !said.noTransform;
    const varies = head.text("vary");
    const body = rendered ? keptBytes(rendered.body) : Buffer.alloc(0);
    const given = head.text("etag");
    head.headers.delete("etag");
    head.headers.delete("vary");
    const { forAuthorized } = said;
    if (forAuthorized) plan.takesAuthorized = true;
    if (!keptStatuses.has(status)) this.#tools.dontKeep(`the status is ${status}`);
    else this.#respectRequest(forAuthorized);
    return new ResponseEntry({
      status,
      headers: head.kept(),
      body,
      etag: rendered && (given !== undefined && isEtag(given) ? given : `"${digestOf(body)}"`),
      vary: varies === undefined ? plan.varies[compressible ? "encoded" : "plain"] : variesBy(varies, plan.vary, compressible),
      compressible,
      forAuthorized,
      age: ageOf(head.text("age")),
      failure: undefined,
    });
  }

  /** What the handler or its answer said that makes it one request's own. */
  #ownBecause(): string | undefined {
    if (this.#personal !== undefined) return this.#personal;
    const { head, plan } = this;
    const cacheControl = head.text("cache-control");
    if (cacheControl !== undefined) {
      if (says(cacheControl, /^no-store$/i)) return "the answer says no-store";
      if (plan.scope !== "user" && says(cacheControl, /^private(?:$|[\s=])/i)) return "the answer says private";
    }
    for (const given of head.text("vary")?.split(",") ?? []) {
      const name = given.trim().toLowerCase();
      if (name !== "" && name !== "accept-encoding" && !plan.vary.includes(name))
        return `the answer varies by ${name}, which its key does not cover: name it in cache.vary`;
    }
    return undefined;
  }

  /** What the request that began this says about keeping. Others may have the answer all the same. */
  #respectRequest(forAuthorized: boolean): void {
    const { authorization, "cache-control": cacheControl } = this.exchange.request.headers;
    if (authorization !== undefined && this.plan.scope === "public" && !forAuthorized)
      this.#tools.dontKeep("the request has Authorization, and the answer does not say public (RFC 9111 § 3.5)");
    else if (cacheControl !== undefined && says(cacheControl, /^no-store$/i)) this.#tools.dontKeep("the request says no-store");
  }

  #own(reason: string, outcome: PersonalAnswer["outcome"]): PersonalAnswer {
    this.makePersonal(reason);
    return new PersonalAnswer(this.exchange, this.#personal!, outcome);
  }

  /** Nobody will send the answer: a stream would keep its source open. */
  abandon(): void {
    this.#stream?.destroy();
  }
}

/** What the handler of a fill gets. Getters only: what it does not take is not made, and does not count. */
class FillInput {
  readonly #fill: Fill;
  #reply: FastifyReply | undefined;
  #headers: Readonly<Record<string, unknown>> | undefined;

  constructor(fill: Fill) {
    this.#fill = fill;
  }

  get params(): Record<string, unknown> {
    return this.#fill.params;
  }

  get query(): Record<string, unknown> {
    return this.#fill.query;
  }

  get body(): undefined {
    return undefined;
  }

  get headers(): Readonly<Record<string, unknown>> {
    const fill = this.#fill;
    const { request, target } = fill.exchange;
    return (this.#headers ??= target!.headers ? fill.headers : coveredHeaders(request.headers, fill));
  }

  get principal(): unknown {
    const { plan, exchange } = this.#fill;
    if (plan.scope === "tenant") this.#fill.makePersonal("the handler reads the principal, and the answer is for a whole tenant");
    return exchange.principal;
  }

  get tenantId(): string | undefined {
    return this.#fill.tenant;
  }

  get db(): Database {
    return this.#fill.exchange.db;
  }

  get log(): FastifyBaseLogger {
    return this.#fill.exchange.log;
  }

  get deadline(): Deadline {
    return this.#fill.deadline;
  }

  get signal(): AbortSignal {
    return this.#fill.deadline.signal;
  }

  get requestId(): string {
    this.#fill.makePersonal("the handler reads requestId");
    return this.#fill.requestId;
  }

  get request(): FastifyRequest {
    this.#fill.makePersonal("the handler reads request");
    return this.#fill.exchange.request;
  }

  get parts(): unknown {
    return this.#fill.exchange.parts; // throws: a GET has none
  }

  get reply(): FastifyReply {
    const fill = this.#fill;
    return (this.#reply ??= recordedReply(fill.head, (use) => {
      fill.makePersonal(`the handler uses reply.${use}`);
      if (fill.exchange.answered) throw new Error(`reply.${use} cannot be used: the answer is made ahead of time, nobody waits.`);
      return fill.exchange.reply;
    }));
  }
}

/** The request's headers, of which those that the key does not cover make the answer personal. Whether one is absent is known by asking, too. */
function coveredHeaders(headers: IncomingHttpHeaders, fill: Fill): Readonly<Record<string, unknown>> {
  const { vary } = fill.plan;
  const note = (name: string | symbol): void => {
    if (typeof name === "string" && !vary.includes(name) && !Object.hasOwn(Object.prototype, name))
      fill.makePersonal(`the handler reads the header ${name}, which its key does not cover: name it in cache.vary`);
  };
  const all = (): void => fill.makePersonal("the handler reads all headers");
  return new Proxy(headers, {
    get(target, name) {
      note(name);
      return target[name as string];
    },
    has(target, name) {
      note(name);
      return name in target;
    },
    getOwnPropertyDescriptor(target, name) {
      note(name);
      return Reflect.getOwnPropertyDescriptor(target, name);
    },
    ownKeys(target) {
      all();
      return Reflect.ownKeys(target);
    },
  });
}
