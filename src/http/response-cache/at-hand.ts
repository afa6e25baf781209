// Answers that can be sent without asking the framework: which request-target stands for which key, and their heads as bytes. Both short ways use it:
// the fast lane, before the HTTP parser, and the first hook of an endpoint, before anything is made for a request. See docs/response-cache.md.
//
// | a target is    | by                                                                                                        |
// | -------------- | --------------------------------------------------------------------------------------------------------- |
// | learned        | an answer on the ordinary way that came from the cache or went into it, on a route with no hooks but ours |
// | used           | the cache itself, at every request: it is asked under the key, and judges                                 |
// | forgotten      | the cache having nothing under the key any more that may be served, or others being asked for more often  |

import { channel } from "node:diagnostics_channel";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { FastifyReply, FastifyRequest } from "fastify";
import { type MemoryTier, type MemoryTierStats, type Outcome, createMemoryTier } from "../../cache/index.ts";
import { responseCacheChannel } from "../channels.ts";
import type { CompiledEndpoint } from "../compile.ts";
import { negotiateCoding } from "../compression/negotiate.ts";
import type { FastAnswer, FastAnswers, FastRequest } from "../fast-lane/answers.ts";
import type { Kit } from "../kit.ts";
import { responseCacheDefaults } from "../options.ts";
import { isReported, report } from "../report.ts";
import { acceptedRequestId } from "../request-id.ts";
import { pathOf } from "../validation/request-input.ts";
import { cdnHeaders } from "./cdn-headers.ts";
import { type AnswerOutcome, type FilledAnswer, ResponseEntry } from "./entry.ts";
import { entryCodec } from "./entry-codec.ts";
import type { ResponseCache } from "./consult.ts";
import { Head } from "./head.ts";
import { keyOf } from "./key.ts";
import { isOurs } from "./our-route.ts";
import type { CachePlan } from "./plan.ts";
import type { Variant } from "./variants.ts";
import { freshnessTokenHeader } from "./tokens.ts";

const nothing = Buffer.alloc(0);

/** Whoever listens to one of these would not see a request that goes the short way. */
const diagnostics = [
  "http.server.request.start",
  "http.server.response.created",
  "http.server.response.finish",
  "tracing:fastify.request.handler:start",
].map((name) => channel(name));

/** A target without its heads: the object, the map of its keys, its place in the table. */
const targetBytes = 400;

/** What is known of a target. */
class Target {
  readonly endpoint: CompiledEndpoint;
  readonly plan: CachePlan;
  /** Of endpoints whose answers differ by no header. */
  readonly key: string | undefined;
  heads: Head[] = [];
  /** Kept as they come up, for endpoints that differ by headers: a key costs a hash. */
  keys: Map<string, string> | undefined;

  constructor(endpoint: CompiledEndpoint, plan: CachePlan, key: string | undefined) {
    this.endpoint = endpoint;
    this.plan = plan;
    this.key = key;
  }

  get bytes(): number {
    let bytes = targetBytes + 2 * (this.key?.length ?? 0);
    for (const head of this.heads) bytes += head.bytes;
    if (this.keys) for (const [values, key] of this.keys) bytes += 64 + 2 * (values.length + key.length);
    return bytes;
  }
}

/** Keys of one target that are kept: more values of its headers than that are hashed at every request. */
const mostKeys = 32;

export class AnswersAtHand implements FastAnswers {
  readonly #kit: Kit;
  readonly #responseCache: ResponseCache;
  readonly #server: Server;
  readonly #targets: MemoryTier<Target>;
  readonly #view = new NodeRequest();
  /** By endpoint: whether only the kit's own hooks run for it. */
  readonly #ours = new Map<CompiledEndpoint, boolean>();
  #hasConstraints = false;

  constructor(kit: Kit, responseCache: ResponseCache, server: Server, maxBytes: number = responseCacheDefaults.atHandBytes) {
    this.#kit = kit;
    this.#responseCache = responseCache;
    this.#server = server;
    this.#targets = createMemoryTier<Target>({
      name: `${responseCache.name} targets`,
      maxBytes,
      sizeOf: (target) => target.bytes,
    });
  }

  /** Of the table: entries are targets. */
  stats(): MemoryTierStats {
    return this.#targets.stats();
  }

  /** A route of this server looks at more than method and path: its target alone does not say where a request goes. From now on nothing is found. */
  noteConstraints(): void {
    this.#hasConstraints = true;
  }

  /** An answer that stands under `key` now has gone to `request`. */
  learn(request: FastifyRequest, endpoint: CompiledEndpoint, plan: CachePlan, key: string): void {
    const { url } = request;
    // An app that rewrites URLs may do so by whatever it likes.
    if (request.method !== "GET" || url !== request.originalUrl || !url.startsWith("/")) return;
    if (this.#targets.has(url)) return;
    let isOnlyOurs = this.#ours.get(endpoint);
    if (isOnlyOurs === undefined) this.#ours.set(endpoint, (isOnlyOurs = isOurs(request)));
    if (isOnlyOurs) this.#targets.set(url, new Target(endpoint, plan, plan.vary.length === 0 ? key : undefined));
  }

  find(request: FastRequest): FastAnswer | undefined {
    if (this.#kit.draining || this.#hasConstraints || isWatched()) return undefined;
    return this.#find(request, undefined, undefined);
  }

  /** `endpoint`: the one that is asked for, where that is known. `requestId`: where the request has one. */
  #find(request: FastRequest, endpoint: CompiledEndpoint | undefined, requestId: string | undefined): Hit | undefined {
    const { target: url } = request;
    const target = this.#targets.get(url);
    if (target === undefined || (endpoint !== undefined && target.endpoint !== endpoint)) return undefined;
    const { plan } = target;
    const key = target.key ?? this.#keyOf(target, request);
    if (plan.streams || plan.passes(key)) return undefined;
    const outcome = this.#responseCache.cache.readNow<FilledAnswer>(key, entryCodec.id);
    if (outcome === undefined) {
      if (target.key !== undefined) this.#targets.delete(url);
      return undefined;
    }
    const { value: entry } = outcome;
    if (!(entry instanceof ResponseEntry) || entry.failure !== undefined) return undefined;
    const { variants } = entry;
    const negotiated = negotiateCoding(request.acceptEncoding);
    const etag = request.ifNoneMatch === undefined ? undefined : variants.known(negotiated, request.ifNoneMatch);
    const variant = etag === undefined ? variants.now(negotiated, true) : variants.identity;
    if (variant === undefined) return undefined; // large, and not encoded yet
    const head = this.#headOf(url, target, entry, variant, etag, outcome);
    if (head === undefined) return undefined;
    const id = requestId ?? acceptedRequestId(request.requestId);
    return new Hit(this.#kit, target.endpoint, url, id, head, outcome, entry, etag === undefined ? variant.body : nothing);
  }

  /** Answers a GET from its first hook, if that can be done; else nothing has happened. */
  answer(endpoint: CompiledEndpoint, request: FastifyRequest, reply: FastifyReply): boolean {
    const { raw } = request;
    if (raw.method !== "GET" || this.#kit.draining || !this.#view.read(raw)) return false;
    const hit = this.#find(this.#view, endpoint, String(request.id)); // another app may number its requests
    if (hit === undefined) return false;
    reply.hijack();
    hit.writeTo(reply.raw);
    return true;
  }

  #keyOf(target: Target, request: FastRequest): string {
    const { vary } = target.plan;
    const values = vary.map((name) => request.header(name) ?? null);
    const joined = JSON.stringify(values);
    const known = target.keys?.get(joined);
    if (known !== undefined) return known;
    const { target: url } = request;
    const path = pathOf(url);
    const key = keyOf({
      release: this.#responseCache.release,
      path,
      search: url.slice(path.length + 1),
      varied: values,
      scope: "",
    });
    target.keys ??= new Map();
    if (target.keys.size < mostKeys) {
      target.keys.set(joined, key);
      this.#targets.set(url, target); // it has grown
    }
    return key;
  }

  #headOf(
    url: string,
    target: Target,
    entry: ResponseEntry,
    variant: Variant,
    etag: string | undefined,
    outcome: AnswerOutcome,
  ): Head | undefined {
    const { serial } = entry;
    const status = etag === undefined ? entry.status : 304;
    for (const head of target.heads) {
      if (head.serial === serial && head.status === status && head.variant === variant.name && head.etag === etag) return head;
    }
    // Of an entry that has been made anew; a target with `vary` has several entries in turn.
    if (target.key !== undefined) target.heads = target.heads.filter((head) => head.serial === serial);
    else if (target.heads.length >= mostHeads) target.heads.shift();
    let head: Head;
    try {
      const { cdn } = this.#responseCache;
      head = new Head(entry, variant, etag, this.#responseCache, this.#connection(), cdnHeaders(cdn, target.plan, entry, outcome));
    } catch {
      this.#targets.delete(url); // a head that Node would not send: it says so on the ordinary way
      return undefined;
    }
    target.heads.push(head);
    this.#targets.set(url, target);
    return head;
  }

  /** As node:http writes it after every answer that leaves the connection open. */
  #connection(): string {
    const { keepAliveTimeout } = this.#server;
    const keepAlive = keepAliveTimeout > 0 ? `Keep-Alive: timeout=${Math.floor(keepAliveTimeout / 1_000)}\r\n` : "";
    return `Connection: keep-alive\r\n${keepAlive}`;
  }
}

/** Heads of one target with `vary`: more entries than that in turn are written anew. */
const mostHeads = 32;

function isWatched(): boolean {
  for (const each of diagnostics) if (each.hasSubscribers) return true;
  return false;
}

/** A request of node:http as find() wants it. One for all: it is looked at at once. */
class NodeRequest implements FastRequest {
  target = "";
  acceptEncoding: string | undefined;
  ifNoneMatch: string | undefined;
  readonly requestId: undefined;
  #headers: IncomingMessage["headers"] = {};

  /** False: it asks for more than find() looks at. */
  read({ url, headers }: IncomingMessage): boolean {
    if (headers.authorization !== undefined || headers.range !== undefined || headers[freshnessTokenHeader] !== undefined)
      return false;
    if (headers["if-match"] !== undefined || headers["if-modified-since"] !== undefined) return false;
    this.target = url!;
    this.acceptEncoding = headers["accept-encoding"];
    this.ifNoneMatch = headers["if-none-match"];
    this.#headers = headers;
    return true;
  }

  header(name: string): string | undefined {
    return this.#headers[name] as string | undefined; // a list only for Set-Cookie, which no request has
  }
}

const hitKey: unique symbol = Symbol("millrace.hit");

interface Marked {
  [hitKey]?: Hit;
}

/** One listener for all responses: no closure per request. */
function onClose(this: ServerResponse): void {
  (this as Marked)[hitKey]!.sent(this.writableFinished);
}

const seconds = (ms: number): number => Math.floor(ms / 1_000);

/** One answer, found. */
class Hit implements FastAnswer {
  readonly body: Buffer;
  readonly #kit: Kit;
  readonly #endpoint: CompiledEndpoint;
  readonly #url: string;
  readonly #requestId: string;
  readonly #head: Head;
  readonly #ttl: number;
  readonly #age: number;
  readonly #startedMs: number;

  constructor(
    kit: Kit,
    endpoint: CompiledEndpoint,
    url: string,
    requestId: string,
    head: Head,
    outcome: Outcome<FilledAnswer>,
    entry: ResponseEntry,
    body: Buffer,
  ) {
    this.body = body;
    this.#kit = kit;
    this.#endpoint = endpoint;
    this.#url = url;
    this.#requestId = requestId;
    this.#head = head;
    this.#ttl = seconds(outcome.remainingMs);
    this.#age = entry.age + seconds(outcome.ageMs);
    this.#startedMs = isReported(kit) ? performance.now() : 0;
  }

  get status(): number {
    return this.#head.status;
  }

  get headBytes(): number {
    return this.#head.length(this.#ttl, this.#age) + this.#requestId.length + 4;
  }

  copyHead(into: Buffer, at: number): number {
    return this.#head.copy(this.#ttl, this.#age, this.#requestId, into, at);
  }

  writeTo(response: ServerResponse): void {
    (response as Marked)[hitKey] = this;
    response.on("close", onClose);
    response.writeHead(this.status, this.#head.list(this.#ttl, this.#age, this.#requestId));
    response.end(this.body.length === 0 ? undefined : this.body);
  }

  sent(complete: boolean): void {
    const kit = this.#kit;
    const requestId = this.#requestId;
    const route = this.#endpoint.endpoint.path;
    if (responseCacheChannel.hasSubscribers) {
      const state = { state: "hit", tier: "memory", refusal: undefined, stored: true, reason: undefined } as const;
      responseCacheChannel.publish({ requestId, route, ...state });
    }
    if (!isReported(kit)) return;
    const durationMs = this.#startedMs === 0 ? 0 : performance.now() - this.#startedMs;
    report(kit, {
      requestId,
      method: "GET",
      route,
      path: pathOf(this.#url),
      status: complete ? this.status : 499,
      durationMs,
      bytes: complete ? this.body.length : 0,
      principalId: undefined,
    });
  }
}
