// The stages cache and store: asks the cache for the answer to a GET or HEAD, lets the handler make it when there is none, and sends what
// came of it. See docs/response-cache.md.
//
// | the cache gives              | to whom                          | what is sent                                   |
// | ---------------------------- | -------------------------------- | ---------------------------------------------- |
// | an entry                     | all, as far as their request may | its bytes, or 304                              |
// | a refusal of the request     | all                              | the problem                                    |
// | somebody's own answer        | who began it                     | the answer, as if there were no cache          |
// |                              | who had waited for it            | what a handler run of its own makes            |

import { Readable } from "node:stream";
import { serialize } from "node:v8";
import type { Cache, Demand, Fill as CacheFill, Findings, ReadOptions } from "../../cache/index.ts";
import type { Deadline } from "../../concurrency/index.ts";
import type { Cdn } from "../../cdn/index.ts";
import { sendFailure, sendResult } from "../answer.ts";
import { responseCacheChannel } from "../channels.ts";
import type { Exchange } from "../exchange.ts";
import { pathOf } from "../validation/request-input.ts";
import { bypassed, cacheStatusOf, failed, notAsked } from "./cache-status.ts";
import { type AnswerOutcome, type FilledAnswer, PersonalAnswer, RefusedRequest, type ResponseEntry } from "./entry.ts";
import { cdnHeaders } from "./cdn-headers.ts";
import { entryCodec } from "./entry-codec.ts";
import { digestOf } from "./etag.ts";
import { Fill } from "./fill.ts";
import { keyOf } from "./key.ts";
import type { CachePlan } from "./plan.ts";
import type { CacheOff } from "./policy.ts";
import { sendEntry } from "./send-entry.ts";
import { demandOf, withToken } from "./tokens.ts";

/** The cache as an app uses it. */
export interface ResponseCache {
  readonly cache: Cache;
  /** In Cache-Status. */
  readonly name: string;
  /** In every key: the app's version. */
  readonly release: string;
  /** What every answer has, by name. */
  readonly commonHeaders: ReadonlyMap<string, string>;
  /** Cache-Status of answers to other methods, of what is no endpoint's, and of what was refused before the cache was asked. */
  readonly notAsked: string;
  readonly noEndpoint: string;
  readonly refused: string;
  /** Of answers to a GET of an endpoint that is not cached, by why it is not. */
  readonly off: ReadonlyMap<string, string>;
  /** What stands in front, and is told of answers. */
  readonly cdn: Cdn | undefined;
}

const offReasons: readonly CacheOff[] = ["off", "auth", "method", "stream"];

export const createResponseCache = (
  cache: Cache,
  name: string,
  release: string,
  commonHeaders: ReadonlyMap<string, string>,
  cdn?: Cdn,
): ResponseCache =>
  Object.freeze({
    cache,
    name,
    release,
    commonHeaders,
    notAsked: notAsked(name),
    noEndpoint: bypassed(name, "no-endpoint"),
    refused: bypassed(name, "refused"),
    off: new Map(offReasons.map((why) => [why, bypassed(name, why)])),
    cdn,
  });

/** Answers a GET or HEAD without the cache. */
type Direct = (exchange: Exchange) => void;

/** Answers the request from the cache, or through it, or past it by `direct`. Runs in the request's context. */
export function consult(exchange: Exchange, responseCache: ResponseCache, direct: Direct): void {
  const { request, target } = exchange;
  const { cachePlan: plan } = target!;
  if (typeof plan === "string") return goPast(exchange, responseCache, plan, direct);
  if (plan.streams) return goPast(exchange, responseCache, "stream", direct);
  const { headers, url } = request;
  const scope = plan.scope === "public" ? "" : scopeOf(exchange, plan.scope);
  if (scope === undefined) return goPast(exchange, responseCache, `no-${plan.scope}`, direct);
  const path = pathOf(url);
  const key = keyOf({
    release: responseCache.release,
    path,
    search: url.slice(path.length + 1),
    varied: plan.vary.map((name) => headers[name] ?? null),
    scope,
  });
  const demand = demandOf(exchange);
  const { cache } = responseCache;
  if (plan.scope === "public" && headers.authorization !== undefined && !plan.takesAuthorized) {
    // RFC 9111 § 3.5: only an answer that says so may serve a request with Authorization.
    const found = cache.peek<FilledAnswer>(key, demand);
    if (!found || !isFor(found, exchange)) return goPast(exchange, responseCache, "authorization", direct);
    return new Consultation(exchange, responseCache, plan, key, demand, direct).answer(found);
  }
  if (plan.passes(key)) return goPast(exchange, responseCache, "not-shared", direct);
  new Consultation(exchange, responseCache, plan, key, demand, direct).ask();
}

function goPast(exchange: Exchange, responseCache: ResponseCache, why: string, direct: Direct): void {
  setCacheStatus(exchange, responseCache.off.get(why) ?? bypassed(responseCache.name, why));
  publish(exchange, { state: "bypass", tier: undefined, refusal: undefined, stored: false, reason: why });
  direct(exchange);
}

/** For whom the answer is, as part of the key; undefined when it cannot be told. */
function scopeOf({ principal, principalId, tenantId }: Exchange, scope: "user" | "tenant"): string | undefined {
  try {
    if (scope === "tenant") return tenantId === undefined ? undefined : `tenant ${encodeURIComponent(tenantId)}`;
    if (principal === null || principal === undefined) return "nobody";
    if (principalId === undefined) return undefined;
    // Handlers see what the authenticator found out, of which the cache hears nothing: when it changes, the key does.
    return `user ${encodeURIComponent(principalId)} ${digestOf(serialize(principal))}`;
  } catch {
    return undefined; // a principal with functions in it, or an id that is no text
  }
}

/** Whether a kept answer may go to this request. */
const isFor = ({ value }: AnswerOutcome, { request, target }: Exchange): boolean =>
  request.headers.authorization === undefined ||
  target!.endpoint.auth !== undefined ||
  (!(value instanceof PersonalAnswer) && !(value instanceof RefusedRequest) && value.forAuthorized);

function setCacheStatus({ reply }: Exchange, status: string): void {
  // A handler that asks another server may pass that one's on: the nearest to the client stands last.
  const before = reply.getHeader("cache-status");
  reply.header("cache-status", before === undefined ? status : `${String(before)}, ${status}`);
}

type Consulted = Pick<AnswerOutcome, "state" | "tier" | "refusal" | "stored" | "reason">;

function publish({ requestId, target }: Exchange, { state, tier, refusal, stored, reason }: Consulted): void {
  if (!responseCacheChannel.hasSubscribers) return;
  responseCacheChannel.publish({ requestId, route: target!.endpoint.path, state, tier, refusal, stored, reason });
}

/** One request's way through the cache. It is what read() takes as options: what costs something is made when it is asked for. */
class Consultation implements ReadOptions<FilledAnswer> {
  readonly codec = entryCodec;
  readonly demand: Demand | undefined;
  readonly #exchange: Exchange;
  readonly #responseCache: ResponseCache;
  readonly #plan: CachePlan;
  readonly #key: string;
  readonly #direct: Direct;
  #fill: Fill | undefined;

  constructor(
    exchange: Exchange,
    responseCache: ResponseCache,
    plan: CachePlan,
    key: string,
    demand: Demand | undefined,
    direct: Direct,
  ) {
    this.#exchange = exchange;
    this.#responseCache = responseCache;
    this.#plan = plan;
    this.#key = key;
    this.demand = demand;
    this.#direct = direct;
  }

  /** The client's own end; a hit has none. */
  get signal(): Deadline {
    return this.#exchange.deadline;
  }

  readonly admit = (findings: Findings): string | undefined => {
    if (this.#plan.keepsUnfollowed) return undefined;
    if (findings.dependencies.length === 0 && findings.inherited.length === 0)
      return "it was read from nothing that is followed: give the endpoint cache.ttl or cache.depends";
    return findings.timeDependent ? "it depends on the clock: give the endpoint cache.ttl" : undefined;
  };

  readonly #begin: CacheFill<FilledAnswer> = (tools) => {
    const fill = new Fill(this.#exchange, this.#plan, tools, this.#responseCache.commonHeaders);
    this.#fill = fill;
    return fill.run();
  };

  ask(): void {
    let outcome: AnswerOutcome | Promise<AnswerOutcome>;
    try {
      outcome = this.#responseCache.cache.read(this.#key, this.#plan.policy, this.#begin, this);
    } catch (error) {
      return this.#refuse(error);
    }
    if (!(outcome instanceof Promise)) return this.answer(outcome);
    // Each client has its own deadline, whatever becomes of the fill.
    const forget = this.#exchange.deadline.onAbort((reason) => this.#refuse(reason));
    outcome.then(
      (found) => {
        forget();
        this.answer(found);
      },
      (error: unknown) => {
        forget();
        this.#refuse(error);
      },
    );
  }

  #refuse(error: unknown): void {
    this.#fill?.abandon();
    if (this.#exchange.answered) return;
    setCacheStatus(this.#exchange, failed(this.#responseCache.name));
    sendFailure(this.#exchange, error);
  }

  /** Sends what the cache gave. */
  answer(outcome: AnswerOutcome): void {
    const exchange = this.#exchange;
    const { value, state, stored, reason } = outcome;
    if (exchange.answered) {
      this.#fill?.abandon();
      return;
    }
    if (value instanceof PersonalAnswer) {
      return value.owner === exchange ? this.#answerOwn(value, outcome) : this.#runAlone(value.reason);
    }
    if (value instanceof RefusedRequest) {
      this.#note(outcome);
      return sendFailure(exchange, value.error);
    }
    const isOwn = this.#fill !== undefined && (state === "miss" || state === "bypass");
    // Unasked, a handler's answer goes to others only if it was read from what is followed, also when it cannot be kept now; else nothing
    // is known of it.
    if (!isOwn && !outcome.admitted && !this.#plan.keepsUnfollowed) return this.#runAlone(reason ?? "not-kept");
    if (!isOwn && this.#plan.scope === "public" && !isFor(outcome, exchange))
      return goPast(exchange, this.#responseCache, "authorization", this.#direct);
    this.#note(outcome);
    if (isOwn && !stored)
      return withToken(exchange, this.#fill!, () => void sendEntry(exchange, value, outcome, this.#cdnHeaders(value, outcome)));
    if (stored && this.#plan.scope === "public" && value.failure === undefined)
      exchange.kit.answers?.learn(exchange.request, exchange.target!, this.#plan, this.#key);
    void sendEntry(exchange, value, outcome, this.#cdnHeaders(value, outcome));
  }

  #cdnHeaders(entry: ResponseEntry, outcome: AnswerOutcome) {
    return cdnHeaders(this.#responseCache.cdn, this.#plan, entry, outcome);
  }

  #note(outcome: AnswerOutcome): void {
    setCacheStatus(this.#exchange, cacheStatusOf(this.#responseCache.name, outcome));
    publish(this.#exchange, outcome);
  }

  /** What was waited for is somebody else's. Those who come now do not wait any more. */
  #runAlone(reason: string): void {
    this.#plan.pass(this.#key);
    goPast(this.#exchange, this.#responseCache, reason, this.#direct);
  }

  #answerOwn(answer: PersonalAnswer, outcome: AnswerOutcome): void {
    const exchange = this.#exchange;
    const fill = this.#fill!;
    const made = answer.outcome;
    if (exchange.reply.sent) {
      if ("result" in made) sendResult(exchange, made.result); // the handler has sent it by itself
      return;
    }
    fill.head.applyTo(exchange.reply);
    this.#note({ ...outcome, reason: answer.reason });
    withToken(exchange, fill, () => {
      if ("error" in made) return sendFailure(exchange, made.error);
      // A stream goes on under the request's deadline.
      if (made.result instanceof Readable) exchange.deadline.onAbort((end) => fill.deadline.abort(end));
      sendResult(exchange, made.result);
    });
  }
}
