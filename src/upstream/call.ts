// One call with all its attempts: first, hedge, retries, under one deadline, one budget and one breaker. See docs/upstream.md.
//
// | after an attempt         | and                                                            | comes                          |
// | ------------------------ | -------------------------------------------------------------- | ------------------------------ |
// | succeeded                |                                                                | its answer; others are aborted |
// | runs longer than the p95 | idempotent, budget, breaker                                    | a hedge, beside it             |
// | failed                   | a hedge still runs                                             | wait for that                  |
// | failed                   | may be repeated, attempts, budget, time, breaker               | a retry, after a jittered wait |
// | failed                   | otherwise                                                      | an error with all attempts     |

import { Deadline, type Ending, startWaiting } from "../concurrency/index.ts";
import { type Clock, type MillraceError, formatDuration } from "../core/index.ts";
import {
  type AttemptKind,
  type AttemptReport,
  type Outcome,
  backoffMs,
  isHealthy,
  isWorthRepeating,
  retryAfterMs,
} from "./attempt.ts";
import type { Breaker } from "./breaker.ts";
import { upstreamBudgetChannel } from "./channels.ts";
import { type CallDetails, upstreamErrors } from "./errors.ts";
import type { Latencies } from "./latencies.ts";
import type { Replica, Replicas } from "./replicas.ts";
import type { PreparedRequest } from "./request.ts";
import type { RetryBudget } from "./retry-budget.ts";
import { TooLarge, type Transport, WireFailure } from "./transport.ts";

/** What the calls of one upstream share. */
export interface CallHost {
  readonly name: string;
  readonly transport: Transport;
  readonly breaker: Breaker;
  readonly budget: RetryBudget;
  /** What hedges need beside the budget: where everything stalls at once, every call is late, and asking twice makes it worse. */
  readonly hedgeBudget: RetryBudget;
  readonly latencies: Latencies;
  readonly replicas: Replicas;
  readonly clock: Clock;
  readonly random: () => number;
  readonly maxAttempts: number;
  readonly backoffMs: number;
  readonly maxBackoffMs: number;
  readonly hedge: boolean;
  readonly maxResponseBytes: number;
}

export interface Answer {
  readonly outcome: Outcome & { readonly ok: true };
  readonly attempts: readonly AttemptReport[];
}

type Failed = Outcome & { readonly ok: false };

const overtaken = new Error("Another attempt of the same call was faster.");

export class Call {
  readonly attempts: AttemptReport[] = [];
  readonly #host: CallHost;
  readonly #request: PreparedRequest;
  readonly #deadline: Deadline;
  readonly #timeoutMs: number;
  readonly #outer: Ending | undefined;
  readonly #startedMs: number;
  readonly #tried: Replica[] = [];

  constructor(host: CallHost, request: PreparedRequest, deadline: Deadline, timeoutMs: number, outer: Ending | undefined) {
    this.#host = host;
    this.#request = request;
    this.#deadline = deadline;
    this.#timeoutMs = timeoutMs;
    this.#outer = outer;
    this.#startedMs = host.clock.monotonic();
  }

  get details(): CallDetails {
    return { upstream: this.#host.name, request: this.#request.name, attempts: this.attempts };
  }

  /** @throws as Upstream.request() does */
  async run(): Promise<Outcome & { readonly ok: true }> {
    const { budget, hedgeBudget, maxAttempts } = this.#host;
    budget.deposit();
    hedgeBudget.deposit();
    for (let attempt = 1; ; attempt++) {
      const outcome = await this.#race(attempt === 1 ? "first" : "retry");
      if (outcome.ok) return outcome;
      if (this.#deadline.aborted) throw this.ended();
      if (outcome.refused && attempt === 1) throw this.#open();
      const stopped = this.#whyNotAgain(outcome, attempt, maxAttempts);
      if (stopped !== undefined) throw this.#failed(outcome, stopped);
      const jitterMs = backoffMs(attempt, this.#host.backoffMs, this.#host.maxBackoffMs, this.#host.random);
      const waitMs = Math.max(jitterMs, outcome.retryAfterMs ?? 0);
      if (waitMs >= this.#deadline.remainingMs) throw this.#failed(outcome, "there is no time left for the wait before another");
      if (!budget.withdraw()) {
        if (upstreamBudgetChannel.hasSubscribers) upstreamBudgetChannel.publish({ upstream: this.#host.name, wanted: "retry" });
        throw this.#failed(outcome, "the retry budget is spent");
      }
      await this.#pause(waitMs);
    }
  }

  /** What the end of the deadline is for the caller: the outer work's own reason, or a timeout of this call. */
  ended(): unknown {
    if (this.#outer?.aborted) return this.#deadline.reason;
    const deadline = formatDuration(this.#timeoutMs);
    return upstreamErrors.create("MILLRACE_UPSTREAM_TIMEOUT", { ...this.details, deadline }, this.#deadline.reason);
  }

  #whyNotAgain(outcome: Failed, attempt: number, maxAttempts: number): string | undefined {
    if (outcome.refused) return "the breaker is open";
    if (!outcome.again) return "another attempt would not help";
    if (outcome.sent && !this.#request.idempotent) return "the upstream may have acted on it, and it is not idempotent";
    if (attempt >= maxAttempts)
      return `${maxAttempts === 1 ? "one attempt is" : `${maxAttempts} attempts are`} all that it may take`;
    return undefined;
  }

  #failed(outcome: Failed, stopped: string): unknown {
    const { cause } = outcome;
    if (cause instanceof TooLarge) {
      const maxBytes = this.#host.maxResponseBytes;
      return upstreamErrors.create("MILLRACE_UPSTREAM_RESPONSE_TOO_LARGE", { ...this.details, maxBytes });
    }
    if (upstreamErrors.is(cause, "MILLRACE_UPSTREAM_ADDRESS_REFUSED")) return cause;
    return upstreamErrors.create(
      "MILLRACE_UPSTREAM_FAILED",
      { ...this.details, stopped, retryAfterMs: outcome.retryAfterMs },
      cause,
    );
  }

  #open(): MillraceError {
    const { retryAfterMs: waitMs } = this.#host.breaker;
    return upstreamErrors.create("MILLRACE_UPSTREAM_OPEN", { ...this.details, retryAfterMs: waitMs });
  }

  /** One attempt, and a hedge beside it when it takes long. Never rejects. */
  #race(kind: AttemptKind): Promise<Outcome> {
    const { clock, latencies, hedge, budget, hedgeBudget, name } = this.#host;
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    const running = new Set<Deadline>();
    const start = (of: AttemptKind): void => {
      const end = new Deadline({ parent: this.#deadline, clock });
      running.add(end);
      void this.#attempt(of, end).then((outcome) => {
        end[Symbol.dispose]();
        running.delete(end);
        if (!outcome.ok && running.size > 0) return;
        timer?.clear();
        for (const other of running) other.abort(overtaken);
        resolve(outcome);
      });
    };
    const { p95 } = latencies;
    // A millisecond more: where all take the same time, nobody is late who takes it, too.
    const hedgeAfterMs = kind === "first" && hedge && this.#request.idempotent && p95 !== undefined ? p95 + 1 : undefined;
    const timer =
      hedgeAfterMs === undefined
        ? undefined
        : clock.timer(hedgeAfterMs, () => {
            if (running.size === 0 || this.#deadline.aborted) return;
            if (hedgeBudget.withdraw() && budget.withdraw()) start("hedge");
            else if (upstreamBudgetChannel.hasSubscribers) upstreamBudgetChannel.publish({ upstream: name, wanted: "hedge" });
          });
    start(kind);
    return promise;
  }

  async #attempt(kind: AttemptKind, end: Deadline): Promise<Outcome> {
    const { breaker, replicas, transport, clock } = this.#host;
    const ticket = breaker.admit();
    if (!ticket) return { ok: false, again: false, sent: false, retryAfterMs: undefined, cause: undefined, refused: true };
    const replica = replicas.choose(this.#tried);
    this.#tried.push(replica);
    replica.inFlight++;
    const startedMs = clock.monotonic();
    let failure: string;
    let outcome: Outcome;
    try {
      // Whatever the transport does, the attempt ends with its deadline.
      const waiter = startWaiting<never>(end, () => {});
      waiter.promise.catch(() => {});
      end.throwIfAborted();
      const response = await Promise.race([transport.send(replica.origin, this.#request.wire, end.signal), waiter.promise]);
      const healthy = isHealthy(response.status);
      if (healthy === undefined) ticket.giveBack();
      else {
        ticket.report(healthy);
        replicas.report(replica, healthy);
      }
      if (!isWorthRepeating(response.status)) {
        this.#took(replica, clock.monotonic() - startedMs);
        return { ok: true, response, replica: replica.name, kind };
      }
      failure = `status ${response.status}`;
      const waitMs = retryAfterMs(response.headers["retry-after"], clock.now());
      outcome = { ok: false, again: true, sent: true, retryAfterMs: waitMs, cause: undefined, refused: false };
    } catch (error) {
      const failed = { ok: false, retryAfterMs: undefined, cause: error, refused: false } as const;
      if (end.aborted) {
        const late = end.reason !== overtaken && !this.#outer?.aborted;
        // Who was overtaken, or whose caller left, has not failed. Who is not done at the deadline has.
        if (late) {
          ticket.report(false);
          replicas.report(replica, false);
        } else ticket.giveBack();
        failure = end.reason === overtaken ? "overtaken" : late ? "not done at the deadline" : "given up by its caller";
        outcome = { ...failed, again: false, sent: true };
      } else if (error instanceof WireFailure) {
        ticket.report(false);
        replicas.report(replica, false);
        failure = error.message;
        outcome = { ...failed, again: true, sent: error.sent };
      } else {
        // Too large, an address that is not allowed, a request that cannot be sent: of no meaning for the upstream's health.
        ticket.giveBack();
        failure = error instanceof TooLarge ? "the answer is too large" : (error as Error).message;
        outcome = { ...failed, again: false, sent: true };
      }
    } finally {
      replica.inFlight--;
    }
    const ms = clock.monotonic() - startedMs;
    // A quick failure is no quick answer.
    if (end.aborted) this.#tookLonger(replica, ms);
    this.attempts.push({ replica: replica.name, kind, failure, startedMs: startedMs - this.#startedMs, ms });
    return outcome;
  }

  #took(replica: Replica, ms: number): void {
    this.#host.latencies.record(ms);
    replica.tookMs(ms, this.#host.clock.monotonic());
  }

  /** It was given up after `ms`. That it was overtaken soon says nothing of it; that it was overtaken late does. */
  #tookLonger(replica: Replica, ms: number): void {
    this.#host.latencies.recordLonger(ms);
    replica.tookLonger(ms, this.#host.clock.monotonic());
  }

  async #pause(ms: number): Promise<void> {
    const waiter = startWaiting<void>(this.#deadline, () => {});
    using _timer = this.#host.clock.timer(ms, () => waiter.resolve(), true);
    try {
      await waiter.promise;
    } catch {
      throw this.ended();
    }
  }
}
