// A client for one external API, whose failures stay its own. See docs/upstream.md.

import { Deadline, Semaphore, concurrencyErrors, currentContext } from "../concurrency/index.ts";
import { type Closeable, MillraceError, coreErrors, parseDuration, resolveOptions, systemClock } from "../core/index.ts";
import { isIP } from "node:net";
import { addressRule } from "./addresses.ts";
import type { AttemptReport } from "./attempt.ts";
import { Breaker, type BreakerState } from "./breaker.ts";
import { Call, type CallHost } from "./call.ts";
import { upstreamBreakerChannel, upstreamCallChannel, upstreamReplicaChannel } from "./channels.ts";
import { upstreamErrors } from "./errors.ts";
import { Latencies } from "./latencies.ts";
import { type UpstreamOptions, upstreamChecks, upstreamDefaults } from "./options.ts";
import { Replicas } from "./replicas.ts";
import { type UpstreamRequest, prepare } from "./request.ts";
import { Resolver } from "./resolver.ts";
import { RetryBudget } from "./retry-budget.ts";
import { type Transport, type WireResponse, undiciTransport } from "./transport.ts";

/** An answer, read to its end. Its status is below 500, and neither a redirect nor one that asks to come again. */
export interface UpstreamResponse extends WireResponse {
  /** Who answered: host and port. */
  readonly replica: string;
  /** Attempts that had failed or were overtaken. */
  readonly attempts: readonly AttemptReport[];
}

/** Judges a value: a function that narrows its type, or whatever has a `Check` that does, such as a compiled TypeBox schema. */
export type ValueCheck<Value> = ((value: unknown) => value is Value) | { Check(value: unknown): value is Value };

export interface UpstreamStats {
  readonly breaker: BreakerState;
  readonly running: number;
  readonly waiting: number;
  /** Milliseconds after which a call is hedged; undefined while too little is known. */
  readonly p95Ms: number | undefined;
  readonly replicas: readonly { readonly replica: string; readonly inFlight: number; readonly out: boolean }[];
}

export interface Upstream extends Closeable {
  readonly name: string;
  /**
   * Calls the upstream: as often as budget, breaker and deadline allow, until there is an answer.
   * @throws MILLRACE_UPSTREAM_FAILED, _TIMEOUT, _OPEN, _BUSY, _REDIRECT, _RESPONSE_TOO_LARGE, _ADDRESS_REFUSED, _REQUEST_INVALID,
   * MILLRACE_CLOSED, the reason with which the running work or the signal ends
   */
  request(request: UpstreamRequest): Promise<UpstreamResponse>;
  /**
   * The JSON of a successful answer, judged by `check`. Without one nobody has looked at its shape.
   * @throws as request() does; MILLRACE_UPSTREAM_STATUS, MILLRACE_UPSTREAM_RESPONSE_INVALID
   */
  json<Value = unknown>(request: UpstreamRequest, check?: ValueCheck<Value>): Promise<Value>;
  stats(): UpstreamStats;
}

/**
 * Creates the client of an upstream, which messages name `name`. It connects at the first call.
 * @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID, MILLRACE_UPSTREAM_ADDRESS_REFUSED
 */
export function createUpstream(name: string, options: UpstreamOptions): Upstream {
  return new UpstreamClient(name, options, undefined);
}

/** Bytes of a refused answer's body that its error quotes. */
const quotedBytes = 500;

/** Hedges per call and, beside, per second: with one call in twenty later than the 95th percentile, hardly less than there is use for. */
const hedgeRatio = 0.04;
const hedgesPerSecond = 1;

/** Longest that the breaker stays open at a time, and a replica out. */
const longestMs = 60_000;

export class UpstreamClient implements Upstream {
  readonly name: string;
  readonly #host: CallHost;
  readonly #slots: Semaphore;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #prefix: string;
  readonly #deadlineMs: number;
  readonly #calls = new Set<Deadline>();
  #running = 0;
  #closed: Promise<void> | undefined;
  #allDone: PromiseWithResolvers<void> | undefined;

  /** `transport`: for tests; default undici. */
  constructor(name: string, given: UpstreamOptions, transport: Transport | undefined) {
    const subject = `createUpstream "${name}"`;
    const options = resolveOptions<UpstreamOptions, typeof upstreamChecks>(subject, given, upstreamDefaults, upstreamChecks);
    const urls = (options.urls ?? (options.url === undefined ? [] : [options.url])).map((url) => new URL(url));
    const [first] = urls;
    const invalid = (option: string, value: string, expected: string) =>
      coreErrors.create("MILLRACE_OPTION_INVALID", { subject, option, value, expected });
    if (!first || (options.url !== undefined && options.urls !== undefined))
      throw invalid("url", "there", "either `url` or `urls`");
    this.#prefix = first.pathname.replace(/\/+$/, "");
    if (urls.some((url) => url.pathname.replace(/\/+$/, "") !== this.#prefix)) {
      throw invalid("urls", "of several paths", "the same path in each");
    }
    const isAllowed = addressRule(options.allowPrivate);
    for (const { hostname } of urls) {
      const host = hostname.replace(/^\[(.*)\]$/, "$1");
      // A literal address is connected to without a look-up.
      if (isIP(host) && !isAllowed(host)) throw upstreamErrors.create("MILLRACE_UPSTREAM_ADDRESS_REFUSED", { host, address: host });
    }
    const clock = options.clock ?? systemClock;
    const resolver = new Resolver({ resolve: options.resolve, ttlMs: options.dnsTtl, isAllowed, clock });
    this.name = name;
    this.#headers = options.headers;
    this.#deadlineMs = options.deadline;
    this.#slots = new Semaphore({ permits: options.maxConcurrent, maxWaiting: options.maxQueue });
    this.#host = {
      name,
      clock,
      random: options.random,
      transport:
        transport ??
        undiciTransport({
          connections: options.connections,
          connectTimeoutMs: options.connectTimeout,
          headersTimeoutMs: options.headersTimeout,
          bodyTimeoutMs: options.bodyTimeout,
          connectionTtlMs: options.connectionTtl,
          maxResponseBytes: options.maxResponseBytes,
          resolver,
        }),
      breaker: new Breaker(
        {
          failureRatio: options.breakerRatio,
          minimumCalls: options.breakerMinimum,
          windowMs: options.breakerWindow,
          openMs: options.breakerOpen,
          maxOpenMs: Math.max(longestMs, options.breakerOpen),
          probes: 5,
          probeSuccessRatio: 0.8,
        },
        clock,
        (state) => {
          if (upstreamBreakerChannel.hasSubscribers) upstreamBreakerChannel.publish({ upstream: name, state });
        },
      ),
      budget: new RetryBudget(options.budgetRatio, options.budgetPerSecond, clock),
      hedgeBudget: new RetryBudget(hedgeRatio, hedgesPerSecond, clock),
      latencies: new Latencies(),
      replicas: new Replicas(
        urls.map(({ origin }) => origin),
        { ejectAfter: options.ejectAfter, ejectMs: options.ejectFor, maxEjectMs: Math.max(longestMs, options.ejectFor) },
        clock,
        options.random,
        ({ name: replica }, event) => {
          if (upstreamReplicaChannel.hasSubscribers) upstreamReplicaChannel.publish({ upstream: name, replica, event });
        },
      ),
      maxAttempts: options.maxAttempts,
      backoffMs: options.backoff,
      maxBackoffMs: options.maxBackoff,
      hedge: options.hedge,
      maxResponseBytes: options.maxResponseBytes,
    };
  }

  async request(request: UpstreamRequest): Promise<UpstreamResponse> {
    if (this.#closed) throw coreErrors.create("MILLRACE_CLOSED", { subject: this.name });
    const prepared = prepare(this.name, this.#prefix, this.#headers, request);
    const { clock } = this.#host;
    const timeoutMs = request.deadline === undefined ? this.#deadlineMs : parseDuration(request.deadline);
    const outer = request.signal ?? currentContext()?.deadline;
    using deadline = new Deadline({ timeoutMs, parent: outer, clock });
    deadline.throwIfAborted();
    const call = new Call(this.#host, prepared, deadline, timeoutMs, outer);
    const startedMs = clock.monotonic();
    let status: number | undefined;
    let failure: unknown;
    this.#calls.add(deadline);
    try {
      using _permit = await this.#slot(call, deadline);
      this.#running++;
      try {
        const { response, replica } = await call.run();
        status = response.status;
        const { location } = response.headers;
        if (status >= 300 && status < 400 && location !== undefined) {
          const details = { ...call.details, status, location: String(location).slice(0, 200) };
          throw upstreamErrors.create("MILLRACE_UPSTREAM_REDIRECT", details);
        }
        return { ...response, replica, attempts: call.attempts };
      } finally {
        this.#running--;
      }
    } catch (error) {
      failure = error;
      throw error;
    } finally {
      this.#calls.delete(deadline);
      if (this.#calls.size === 0) this.#allDone?.resolve();
      if (upstreamCallChannel.hasSubscribers) {
        upstreamCallChannel.publish({
          upstream: this.name,
          method: prepared.wire.method,
          path: prepared.wire.path.split("?", 1)[0]!,
          status,
          error:
            failure === undefined ? undefined : failure instanceof MillraceError ? failure.code : String((failure as Error).name),
          durationMs: clock.monotonic() - startedMs,
          attempts: call.attempts,
        });
      }
    }
  }

  async json<Value = unknown>(request: UpstreamRequest, check?: ValueCheck<Value>): Promise<Value> {
    const { status, body, attempts } = await this.request(request);
    const details = { upstream: this.name, request: `${request.method ?? "GET"} ${request.path.split("?", 1)[0]}`, attempts };
    if (status < 200 || status > 299) {
      const quoted = body.subarray(0, quotedBytes).toString();
      throw upstreamErrors.create("MILLRACE_UPSTREAM_STATUS", { ...details, status, body: quoted });
    }
    let value: unknown;
    try {
      value = JSON.parse(body.toString());
    } catch (error) {
      throw upstreamErrors.create("MILLRACE_UPSTREAM_RESPONSE_INVALID", { ...details, reason: "what is not JSON" }, error);
    }
    const fits = check === undefined || (typeof check === "function" ? check(value) : check.Check(value));
    if (!fits) throw upstreamErrors.create("MILLRACE_UPSTREAM_RESPONSE_INVALID", { ...details, reason: "JSON of another shape" });
    return value as Value;
  }

  stats(): UpstreamStats {
    const { breaker, latencies, replicas, clock } = this.#host;
    const nowMs = clock.monotonic();
    return {
      breaker: breaker.state,
      running: this.#running,
      waiting: this.#slots.waiting,
      p95Ms: latencies.p95,
      replicas: replicas.all.map((one) => ({ replica: one.name, inFlight: one.inFlight, out: one.isOut(nowMs) })),
    };
  }

  /** Takes no more calls, lets those that run end within their deadlines, and closes the connections. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    if (this.#calls.size > 0) {
      this.#allDone = Promise.withResolvers();
      await this.#allDone.promise;
    }
    await this.#host.transport.close();
  }

  async #slot(call: Call, deadline: Deadline): Promise<Disposable> {
    try {
      return await this.#slots.acquire({ signal: deadline });
    } catch (error) {
      if (deadline.aborted) throw call.ended();
      if (!concurrencyErrors.is(error, "MILLRACE_SEMAPHORE_FULL")) throw error;
      const { waiting } = this.#slots;
      throw upstreamErrors.create("MILLRACE_UPSTREAM_BUSY", { ...call.details, running: this.#running, waiting });
    }
  }
}
