// What happens to a request, top to bottom: from the store, with others that ask the same, or to the origin. See docs/proxy.md.
//
// | stored answer             | request           | what happens                                                                     |
// | ------------------------- | ----------------- | -------------------------------------------------------------------------------- |
// | may be used               | GET, HEAD         | answered from the store; "refresh" also asks the origin behind the client's back |
// | must be confirmed         | GET               | conditional request; 304 renews what is stored, 200 replaces it                  |
// | must be confirmed, origin fails | GET         | the stored answer if it may stand in, else 504                                   |
// | none                      | GET               | asked for whole and without conditions; recorded while it streams                |
// | none                      | GET with Range    | passed                                                                           |
// | any                       | HEAD beyond it    | passed; 200 renews the stored answer or ends it                                  |
// | any                       | other methods     | passed; success ends the stored answers of the URL and of those it names         |

import type { Readable } from "node:stream";
import { pipeline as pipeStreams } from "node:stream/promises";
import { type LruMap, createLruMap } from "../concurrency/index.ts";
import { type Clock, MillraceError } from "../core/index.ts";
import {
  type CacheStatus,
  type CachingRules,
  Fields,
  type RequestHead,
  type ResponseHead,
  cacheGroups,
  conditional,
  currentAge,
  freshened,
  invalidatedGroups,
  invalidatedUrls,
  isForOrigin,
  isNotModified,
  isSafe,
  isSameByHead,
  remaining,
  unconditional,
  variantKey,
  varyOf,
} from "../http-caching/index.ts";
import type { AnswerStore } from "./answer-store.ts";
import { proxyInvalidationChannel } from "./channels.ts";
import { proxyErrors } from "./errors.ts";
import type { Exchange } from "./exchange.ts";
import { type Flight, Flights, Interest, type Outcome } from "./flights.ts";
import type { Forwarding } from "./forwarding.ts";
import type { Origin, OriginAnswer } from "./origin.ts";
import { Recording, RecordingBudget } from "./recording.ts";
import type { Replies } from "./reply.ts";
import { StoredAnswer } from "./stored-answer.ts";

export interface PipelineParts {
  readonly rules: CachingRules;
  readonly store: AnswerStore;
  readonly origin: Origin;
  readonly forwarding: Forwarding;
  readonly replies: Replies;
  readonly clock: Clock;
  readonly collapseTimeoutMs: number;
}

/** Failures of the origin that a stored answer may stand in for (RFC 5861 § 4). */
const failures = new Set([500, 502, 503, 504]);

/** After these a stored answer that could not be confirmed is out of date. */
const replacing = (status: number): boolean => (status >= 200 && status < 400) || status === 404 || status === 410;

/** Times that a request looks again because the answer it waited for was another variant. */
const mostRounds = 3;

/** Questions that are remembered to have answers for one alone, and for how long. */
const mostUnshared = 10_000;
const unsharedFor = "30s";

type Forward = NonNullable<CacheStatus["forward"]>;

/** What one asks the origin for. */
interface Asking {
  readonly exchange: Exchange;
  /** Undefined: nobody waits; it is to be made anew. */
  readonly waits: boolean;
  readonly found: StoredAnswer | undefined;
  readonly forward: Forward;
  readonly question: string;
  readonly flight: Flight | undefined;
}

/** An answer whose head has come. */
interface Arrived {
  readonly answer: OriginAnswer;
  readonly head: ResponseHead;
  readonly since: number;
}

export class Pipeline {
  readonly #parts: PipelineParts;
  readonly #flights = new Flights();
  readonly #budget: RecordingBudget;
  readonly #unshared: LruMap<string, true>;
  readonly #clientOrigin: readonly string[];

  constructor(parts: PipelineParts) {
    this.#parts = parts;
    this.#budget = new RecordingBudget(parts.store.stats().maxBytes);
    this.#unshared = createLruMap({ maxEntries: mostUnshared, ttl: unsharedFor, clock: parts.clock });
    this.#clientOrigin = [parts.origin.url.origin];
  }

  async run(exchange: Exchange): Promise<void> {
    const { method, fields, directives, hasBody } = exchange;
    if ((method !== "GET" && method !== "HEAD") || exchange.target.path === "*")
      return await this.#pass(exchange, { forward: "method" });
    if (hasBody) return await this.#pass(exchange, { forward: "bypass", detail: "body" });
    if (isForOrigin(fields)) return await this.#pass(exchange, { forward: "bypass", detail: "precondition" });
    if (directives.has("no-store")) return await this.#pass(exchange, { forward: "request", detail: "no-store" });
    await this.#consult(exchange);
  }

  async #consult(exchange: Exchange): Promise<void> {
    const { store, rules, clock, replies, collapseTimeoutMs } = this.#parts;
    const { target, fields, directives } = exchange;
    for (let round = 1; ; round++) {
      const nowMs = clock.now();
      const found = store.find(target.url, fields);
      const verdict = found && rules.judge(directives, found.facts, nowMs);
      if (found && verdict && verdict.kind !== "validate") {
        replies.stored(exchange, found, { hit: true, ttlMs: remaining(found.facts, nowMs) });
        if (verdict.kind === "refresh") this.#refresh(exchange, found);
        return;
      }
      if (directives.has("only-if-cached")) {
        return replies.failure(exchange, 504, "MILLRACE_PROXY_NOT_CACHED", "There is no stored answer that may be used.", {
          detail: "only-if-cached",
        });
      }
      const onRequest = verdict?.kind === "validate" && verdict.because === "request";
      const forward: Forward = found ? (onRequest ? "request" : "stale") : store.knows(target.url) ? "vary-miss" : "uri-miss";
      if (exchange.method === "HEAD") return await this.#askForHead(exchange, found, forward);
      if (!found && fields.has("range")) return await this.#pass(exchange, { forward, detail: "range" });
      const question = store.questionOf(target.url, fields);
      const asking = { exchange, waits: true, found, forward, question };
      // Who wants it anew does not take what was asked for before he came, and who identifies himself gets what is his.
      const mayJoin =
        round < mostRounds && collapseTimeoutMs > 0 && !onRequest && !fields.has("authorization") && !this.#unshared.has(question);
      if (!mayJoin) return await this.#ask({ ...asking, flight: undefined });
      const flight = this.#flights.get(target.url, question);
      if (!flight) return await this.#ask({ ...asking, flight: this.#flights.begin(target.url, question) });
      const release = flight.interest.add();
      exchange.onDone(release);
      const outcome = await flight.wait(collapseTimeoutMs, clock);
      if (outcome.kind === "own") {
        release();
        return await this.#ask({ ...asking, flight: undefined });
      }
      if (await this.#join(exchange, outcome, forward)) return;
      release();
    }
  }

  /** Answers with what another one was waiting for, too. False: it is not for this request. */
  async #join(exchange: Exchange, outcome: Exclude<Outcome, { kind: "own" }>, forward: Forward): Promise<boolean> {
    const { rules, replies, clock } = this.#parts;
    if (!exchange.isWaiting) return true;
    if (outcome.kind === "failed") {
      this.#fail(exchange, outcome.error, undefined, { forward, collapsed: true });
      return true;
    }
    const { answer } = outcome;
    if (variantKey(answer.vary, exchange.fields) !== answer.variant) return false;
    const nowMs = clock.now();
    const status: CacheStatus = { forward, collapsed: true, ttlMs: remaining(answer.facts, nowMs) };
    if (outcome.kind === "live") {
      await this.#writeLive(exchange, answer, outcome.recording, status);
      return true;
    }
    if (outcome.failure !== undefined && !rules.mayServeOnError(exchange.directives, answer.facts, nowMs)) return false;
    replies.stored(exchange, answer, outcome.failure === undefined ? status : { ...status, detail: "origin-failed" });
    return true;
  }

  /** Makes a stored answer anew while clients get what there is. */
  #refresh(exchange: Exchange, found: StoredAnswer): void {
    const question = this.#parts.store.questionOf(exchange.target.url, exchange.fields);
    if (this.#flights.get(exchange.target.url, question)) return;
    const flight = this.#flights.begin(exchange.target.url, question);
    // Nobody waits for it: a defect is told and does not end the process.
    this.#ask({ exchange, waits: false, found, forward: "stale", question, flight }).catch((error: unknown) =>
      process.emitWarning(error instanceof Error ? error : String(error)),
    );
  }

  /** Asks the origin: for a confirmation of what was found, or for all of it. */
  async #ask(asking: Asking): Promise<void> {
    const { store, origin, forwarding, clock } = this.#parts;
    const { exchange, waits, found, flight } = asking;
    const { target, request } = exchange;
    const interest = flight?.interest ?? new Interest();
    const release = interest.add();
    if (waits) exchange.onDone(release);
    const fields = (found && conditional(exchange.fields, found.fields)) ?? unconditional(exchange.fields);
    const since = store.now();
    const requestTimeMs = clock.now();
    try {
      const answer = await origin.send({
        method: "GET",
        path: target.path,
        fields: forwarding.toOrigin(fields, request, target),
        body: undefined,
        signal: interest.signal,
        onInterim: waits ? (status, rawHeaders) => exchange.interim(status, rawHeaders) : undefined,
      });
      const responseTimeMs = clock.now();
      const head = {
        status: answer.status,
        fields: forwarding.fromOrigin(answer.rawHeaders, responseTimeMs),
        requestTimeMs,
        responseTimeMs,
      };
      answer.body.on("error", () => {}); // whoever reads it hears of it
      await this.#arrived(asking, { answer, head, since }, interest);
    } catch (error) {
      if (interest.signal.aborted) flight?.end({ kind: "own" });
      else this.#failed(asking, error);
    } finally {
      if (!waits) release();
    }
  }

  #failed({ exchange, waits, found, forward, flight }: Asking, error: unknown): void {
    const { rules, clock, replies } = this.#parts;
    if (!(error instanceof MillraceError)) {
      flight?.end({ kind: "own" });
      throw error;
    }
    const nowMs = clock.now();
    if (found && rules.mayServeOnError(exchange.directives, found.facts, nowMs)) {
      flight?.end({ kind: "stored", answer: found, failure: error });
      const status: CacheStatus = { forward, ttlMs: remaining(found.facts, nowMs), detail: "origin-failed" };
      if (waits && exchange.isWaiting) replies.stored(exchange, found, status);
      return;
    }
    flight?.end({ kind: "failed", error });
    if (waits) this.#fail(exchange, error, found, { forward, detail: "origin-failed" });
  }

  /** The head is here: it confirms what is stored, is stored itself, or passes. */
  async #arrived(asking: Asking, arrived: Arrived, interest: Interest): Promise<void> {
    const { rules, store, clock, replies } = this.#parts;
    const { exchange, waits, found, forward, flight, question } = asking;
    const { answer, head } = arrived;
    const { url } = exchange.target;
    if (found && failures.has(head.status) && rules.mayServeOnError(exchange.directives, found.facts, clock.now())) {
      answer.body.resume();
      flight?.end({ kind: "stored", answer: found, failure: "5xx" });
      const ttlMs = remaining(found.facts, clock.now());
      if (waits) replies.stored(exchange, found, { forward, forwardStatus: head.status, ttlMs, detail: "origin-failed" });
      return;
    }
    const asked: RequestHead = { method: "GET", url, fields: exchange.fields };
    if (found && head.status === 304) {
      answer.body.resume();
      const { renewed, isStored } = this.#renew(asked, found, arrived);
      flight?.end({ kind: "stored", answer: renewed, failure: undefined });
      const ttlMs = remaining(renewed.facts, clock.now());
      if (waits) replies.stored(exchange, renewed, { forward, forwardStatus: 304, stored: isStored, ttlMs });
      return;
    }
    const recorded = this.#record(asked, arrived);
    if (typeof recorded === "string") {
      flight?.end({ kind: "own" });
      if (replacing(head.status)) {
        this.#unshared.set(question, true);
        if (found) store.remove(url, found);
      }
      if (!waits) answer.body.destroy();
      else await this.#passBody(exchange, answer, head.fields, { forward, detail: recorded }, head);
      return;
    }
    this.#unshared.delete(question);
    await this.#receive(asking, arrived, recorded, interest);
  }

  /** What is stored with what the 304 says. */
  #renew(asked: RequestHead, found: StoredAnswer, { head, since }: Arrived): { renewed: StoredAnswer; isStored: boolean } {
    const { rules, store } = this.#parts;
    const merged: ResponseHead = { ...head, status: found.status, fields: freshened(found.fields, head.fields) };
    const isStorable = rules.whyUnstorable(asked, merged) === undefined;
    const renewed = this.#storedAnswer(asked, found.statusText, merged, since, found.body);
    if (!isStorable) store.remove(asked.url, found);
    return { renewed, isStored: isStorable && store.put(asked.url, renewed) };
  }

  #storedAnswer(asked: RequestHead, statusText: string, head: ResponseHead, since: number, body: Buffer): StoredAnswer {
    const { rules } = this.#parts;
    const vary = varyOf(head.fields);
    const names = vary === "any" ? [] : vary;
    return new StoredAnswer({
      status: head.status,
      statusText,
      fields: rules.storedFields(head).without((name) => name === "trailer"),
      body,
      facts: rules.factsOf(head),
      vary: names,
      variant: variantKey(names, asked.fields),
      groups: cacheGroups(head.fields),
      since,
    });
  }

  /** The beginning of a recording, or why there is none. */
  #record(
    asked: RequestHead,
    { answer, head, since }: Arrived,
  ): { draft: StoredAnswer; recording: Recording; hasLength: boolean } | string {
    const { rules, store } = this.#parts;
    const reason = rules.whyUnstorable(asked, head);
    if (reason !== undefined) return reason;
    const draft = this.#storedAnswer(asked, answer.statusText, head, since, Buffer.alloc(0));
    if (store.isOutdated(asked.url, draft.groups, since)) return "invalidated";
    const length = head.fields.get("content-length");
    const hasLength = head.status === 204 || (length !== undefined && /^\d+$/.test(length));
    const bytes = head.status === 204 || length === undefined ? 0 : Number(length);
    if (hasLength && bytes > store.maxAnswerBytes) return "too-large";
    if (hasLength && !this.#budget.take(bytes)) return "busy";
    return { draft, recording: new Recording(this.#budget, store.maxAnswerBytes, hasLength ? bytes : 0), hasLength };
  }

  /** Receives a body that may be stored, for the one who asked and those who wait. */
  async #receive(
    { exchange, waits, forward, flight }: Asking,
    { answer, head }: Arrived,
    { draft, recording, hasLength }: { draft: StoredAnswer; recording: Recording; hasLength: boolean },
    interest: Interest,
  ): Promise<void> {
    const { store, clock } = this.#parts;
    const { url } = exchange.target;
    // Of a known length it is sure to fit: whoever waits may read along.
    if (hasLength) flight?.end({ kind: "live", answer: draft, recording });
    const ttlMs = remaining(draft.facts, clock.now());
    // A client who has it already gets a 304 at once; the rest is still worth having.
    const release = interest.add();
    const written = waits
      ? this.#writeLive(exchange, draft, recording, { forward, stored: true, ttlMs }, head.fields)
      : Promise.resolve();
    const isConditional = waits && exchange.response.writableEnded;
    if (!isConditional && waits) release();
    try {
      for await (const chunk of answer.body as AsyncIterable<Buffer>) {
        await recording.push(chunk);
        if (!recording.isOverflown) continue;
        flight?.end({ kind: "own" });
        if (recording.readers === 0) break; // too large to be stored, and nobody reads it
      }
      const body = recording.complete();
      if (body) {
        const complete = new StoredAnswer({ ...draft, body });
        store.put(url, complete);
        flight?.end({ kind: "stored", answer: complete, failure: undefined });
      }
    } catch {
      recording.fail();
      flight?.end({ kind: "own" });
    } finally {
      release();
    }
    await written;
  }

  /** Answers with an answer that is being received. `fields`: as they came, for the one who asked for it. */
  async #writeLive(
    exchange: Exchange,
    draft: StoredAnswer,
    recording: Recording,
    status: CacheStatus,
    fields?: Fields,
  ): Promise<void> {
    const { replies, clock } = this.#parts;
    if (this.#answerNotModified(exchange, draft.status, draft, status)) return;
    const own = (fields ?? draft.fields).without((name) => name === "trailer");
    const age = fields ? [] : ["Age", String(Math.floor(currentAge(draft.facts, clock.now()) / 1_000))];
    replies.head(exchange, draft.status, draft.statusText, own, age, status);
    await recording.writeTo(exchange.response);
  }

  #answerNotModified(exchange: Exchange, status: number, draft: StoredAnswer, cacheStatus: CacheStatus): boolean {
    if (!isNotModified(exchange.fields, status, draft.fields, draft.facts.responseTimeMs)) return false;
    this.#parts.replies.stored(exchange, draft, cacheStatus);
    return true;
  }

  /** HEAD beyond what is stored: its answer renews the stored one or ends it (RFC 9111 § 4.3.5). */
  async #askForHead(exchange: Exchange, found: StoredAnswer | undefined, forward: Forward): Promise<void> {
    await this.#pass(exchange, { forward }, (head, since) => {
      if (!found || head.status !== 200) return undefined;
      const { store, rules } = this.#parts;
      const { url } = exchange.target;
      if (!isSameByHead(found.fields, head.fields)) {
        store.remove(url, found);
        return undefined;
      }
      const asked: RequestHead = { method: "GET", url, fields: exchange.fields };
      const merged: ResponseHead = { ...head, status: found.status, fields: freshened(found.fields, head.fields) };
      if (rules.whyUnstorable(asked, merged) === undefined) {
        store.put(url, this.#storedAnswer(asked, found.statusText, merged, since, found.body));
      }
      return merged.fields;
    });
  }

  /** To the origin and back. `onHead` may give other fields for the client. */
  async #pass(
    exchange: Exchange,
    status: CacheStatus,
    onHead?: (head: ResponseHead, since: number) => Fields | undefined,
  ): Promise<void> {
    const { origin, forwarding, clock, store } = this.#parts;
    const { target, request, method } = exchange;
    const interest = new Interest();
    exchange.onDone(interest.add());
    const before = store.now();
    const requestTimeMs = clock.now();
    let answer: OriginAnswer;
    try {
      answer = await origin.send({
        method,
        path: target.path,
        fields: forwarding.toOrigin(exchange.fields, request, target),
        body: exchange.hasBody ? request : undefined,
        signal: interest.signal,
        onInterim: (code, rawHeaders) => exchange.interim(code, rawHeaders),
      });
    } catch (error) {
      if (interest.signal.aborted) return;
      if (!(error instanceof MillraceError)) throw error;
      return this.#fail(exchange, error, undefined, { ...status, detail: "origin-failed" });
    }
    answer.body.on("error", () => {}); // whoever reads it hears of it
    const responseTimeMs = clock.now();
    const fields = forwarding.fromOrigin(answer.rawHeaders, responseTimeMs);
    const head: ResponseHead = { status: answer.status, fields, requestTimeMs, responseTimeMs };
    const asked: RequestHead = { method, url: target.url, fields: exchange.fields };
    if (!isSafe(method)) {
      this.#invalidate(asked, head);
      // An answer to POST that is the resource itself: younger than what has just become worthless.
      const recorded = method === "POST" ? this.#record(asked, { answer, head, since: store.now() }) : "method";
      if (typeof recorded !== "string") {
        const asking = { exchange, waits: true, found: undefined, forward: "method" as const, question: "", flight: undefined };
        return await this.#receive(asking, { answer, head, since: before }, recorded, interest);
      }
    }
    await this.#passBody(exchange, answer, onHead?.(head, before) ?? fields, status);
  }

  async #passBody(
    exchange: Exchange,
    answer: OriginAnswer,
    fields: Fields,
    status: CacheStatus,
    asked?: ResponseHead,
  ): Promise<void> {
    const { replies } = this.#parts;
    const { method } = exchange;
    if (!exchange.isWaiting) {
      answer.body.destroy();
      return;
    }
    // Asked for without the client's conditions, which hold for an answer that is not kept as well.
    if (asked && isNotModified(exchange.fields, asked.status, asked.fields, asked.responseTimeMs)) {
      const draft = this.#storedAnswer(
        { method, url: exchange.target.url, fields: exchange.fields },
        "",
        asked,
        0,
        Buffer.alloc(0),
      );
      answer.body.destroy();
      return replies.stored(exchange, draft, status);
    }
    const canTrail =
      exchange.request.httpVersionMinor >= 1 &&
      method !== "HEAD" &&
      !fields.has("content-length") &&
      answer.status !== 204 &&
      answer.status !== 304;
    const kept = canTrail ? fields : fields.without((name) => name === "trailer");
    replies.head(exchange, answer.status, answer.statusText, kept, [], status);
    await this.#pipe(answer.body, exchange, kept.has("trailer") ? answer.trailers : undefined);
  }

  async #pipe(body: Readable, exchange: Exchange, trailers: OriginAnswer["trailers"] | undefined): Promise<void> {
    const { response } = exchange;
    // A head alone makes a client wait for less: it is sent before the first piece of the body comes.
    response.flushHeaders();
    body.once("end", () => {
      if (trailers) response.addTrailers(trailers);
    });
    try {
      await pipeStreams(body, response);
    } catch {
      response.destroy(); // cut off, so that it does not look whole
    }
  }

  #invalidate(asked: RequestHead, { status, fields }: ResponseHead): void {
    const { store } = this.#parts;
    const urls = invalidatedUrls(asked, status, fields, this.#clientOrigin);
    const groups = status >= 200 && status < 400 ? invalidatedGroups(asked.method, fields) : [];
    for (const url of urls) {
      store.invalidate(url);
      this.#flights.detach(url);
    }
    for (const group of groups) store.invalidateGroup(asked.url, group);
    if (proxyInvalidationChannel.hasSubscribers && urls.length + groups.length > 0)
      proxyInvalidationChannel.publish({ urls, groups });
  }

  #fail(exchange: Exchange, error: MillraceError, found: StoredAnswer | undefined, status: CacheStatus): void {
    const { replies } = this.#parts;
    if (!exchange.isWaiting) return;
    if (error.code === "MILLRACE_PROXY_REQUEST_INVALID") return replies.failure(exchange, 400, error.code, error.message, status);
    // A stored answer that must not be used unconfirmed: 504, as RFC 9111 § 5.2.2.2 asks.
    const code = found || proxyErrors.is(error, "MILLRACE_PROXY_ORIGIN_TIMEOUT") ? 504 : 502;
    replies.failure(exchange, code, error.code, "The server behind this one did not answer.", status);
  }
}
