// The options of upstream, their checks, and every default in one literal with its reason.

import { type Clock, type Duration, type OptionChecks, boolean, duration, given, integer, ratio } from "../core/index.ts";
import { type AllowPrivate, addressRule } from "./addresses.ts";
import { type Resolve, resolveBySystem } from "./resolver.ts";

/** Where an upstream is and how it is called. See docs/upstream.md. */
export interface UpstreamOptions {
  /** Where it is; a path is the beginning of every path. This or `urls`. */
  readonly url?: string | undefined;
  /** Replicas that answer alike. */
  readonly urls?: readonly string[] | undefined;
  /** Headers of every request, such as a key. */
  readonly headers?: Readonly<Record<string, string>> | undefined;

  /** The end of a call with all its attempts and waits. Default "3s". The running work's deadline ends it, too. */
  readonly deadline?: Duration | undefined;
  /** Of one connection. Default "1s". */
  readonly connectTimeout?: Duration | undefined;
  /** From the request to the head of its answer. Default "2s". */
  readonly headersTimeout?: Duration | undefined;
  /** Between two pieces of the body. Default "1s". */
  readonly bodyTimeout?: Duration | undefined;

  /** Calls that run at once at the most. Default 64. */
  readonly maxConcurrent?: number | undefined;
  /** Calls that may wait for their turn. Default 64. 0: none. */
  readonly maxQueue?: number | undefined;
  /** Connections to each replica. Default 64. */
  readonly connections?: number | undefined;
  /** How old a connection may become; then the name is looked up for another. Default "1m". */
  readonly connectionTtl?: Duration | undefined;
  /** How long an answer of the DNS is good. Default "10s". */
  readonly dnsTtl?: Duration | undefined;
  /** Largest body of an answer. Default 10 MiB. */
  readonly maxResponseBytes?: number | undefined;

  /** Attempts of one call, hedges aside. Default 3. 1: no retries. */
  readonly maxAttempts?: number | undefined;
  /** Retries and hedges per call that the budget allows. Default 0.2. */
  readonly budgetRatio?: number | undefined;
  /** Retries and hedges per second that it allows beside. Default 10. */
  readonly budgetPerSecond?: number | undefined;
  /** Ceiling of the wait before the first retry; doubles with each. Default "50ms". */
  readonly backoff?: Duration | undefined;
  readonly maxBackoff?: Duration | undefined;
  /** Whether a call that takes longer than 95 % of them is asked a second time elsewhere. Default true. */
  readonly hedge?: boolean | undefined;

  /** Share of failures that opens the breaker. Default 0.5. */
  readonly breakerRatio?: number | undefined;
  /** Calls in the window below which it stays closed. Default 20. */
  readonly breakerMinimum?: number | undefined;
  readonly breakerWindow?: Duration | undefined;
  /** How long it stays open the first time; doubles up to a minute. Default "2s". */
  readonly breakerOpen?: Duration | undefined;
  /** Failures in a row that put a replica out. Default 5. */
  readonly ejectAfter?: number | undefined;
  /** For how long. Default "10s". */
  readonly ejectFor?: Duration | undefined;

  /**
   * Whether it may have a private, local or reserved address; or a list of ranges that are allowed ("10.1.0.0/16"). Default false:
   * a name that leads into the own network is an attack or a mistake.
   */
  readonly allowPrivate?: AllowPrivate | undefined;
  /** Looks names up. Default: the system. */
  readonly resolve?: Resolve | undefined;
  readonly clock?: Clock | undefined;
  /** A number from 0 to 1, 1 excluded. Default Math.random. */
  readonly random?: (() => number) | undefined;
}

export const upstreamDefaults = {
  headers: {},
  deadline: "3s", // longer than a person waits gladly; the request's own deadline is usually shorter
  connectTimeout: "1s", // one lost SYN and its repetition
  headersTimeout: "2s", // leaves time for another attempt within the deadline
  bodyTimeout: "1s", // between two pieces: a drip is as good as nothing
  maxConcurrent: 64, // at 100 ms a call 640 a second; enough to see that it hangs, too few to fill the process with waiting
  maxQueue: 64, // one more round: a queue that takes longer only waits to fail
  connections: 64, // as maxConcurrent: the bulkhead decides, not the pool's queue
  connectionTtl: "1m", // how long a change in the DNS can go unnoticed by a busy connection
  dnsTtl: "10s", // short enough for a failover by DNS, long enough that no call notices
  maxResponseBytes: 10 * 2 ** 20, // far beyond what an API answers, far below what hurts
  maxAttempts: 3, // a fourth has rarely helped who was not helped by two
  budgetRatio: 0.2, // Finagle's: an upstream that fails wholly gets a fifth more load, not three times as much
  budgetPerSecond: 10, // so that a service with few calls can retry at all; Finagle's, too
  backoff: "50ms", // a garbage collection, or a restart of one of several
  maxBackoff: "1s",
  hedge: true, // one call in 25 and one a second at the most, and within the same budget
  breakerRatio: 0.5, // below, more calls succeed than fail: retries carry them
  breakerMinimum: 20, // fewer say little: with 20 a healthy upstream of 95 % fails ten by chance once in 10⁹
  breakerWindow: "10s",
  breakerOpen: "2s", // a restart; then five probes, then twice as long
  ejectAfter: 5, // Envoy's
  ejectFor: "10s",
  allowPrivate: false,
  resolve: resolveBySystem,
  random: Math.random,
} as const satisfies UpstreamOptions;

const webUrl = {
  expected: "an http or https URL without a user, a query or a fragment",
  secret: true, // what is refused may hold a password
  read: (value: string) => {
    if (typeof value !== "string" || !URL.canParse(value)) return undefined;
    const url = new URL(value);
    const plain = url.username === "" && url.password === "" && url.search === "" && url.hash === "";
    return plain && /^https?:$/.test(url.protocol) ? value : undefined;
  },
};

export const upstreamChecks = {
  url: webUrl,
  urls: {
    expected: "a list of http or https URLs with the same path",
    secret: true,
    read: (value: readonly string[]) =>
      Array.isArray(value) && value.length > 0 && value.length <= 100 && value.every((one) => webUrl.read(one) !== undefined)
        ? value
        : undefined,
  },
  headers: { ...given<Readonly<Record<string, string>>>("an object of texts"), secret: true },
  deadline: duration("1ms"),
  connectTimeout: duration("1ms"),
  headersTimeout: duration("1ms"),
  bodyTimeout: duration("1ms"),
  maxConcurrent: integer(1),
  maxQueue: integer(0),
  connections: integer(1),
  connectionTtl: duration("1ms"),
  dnsTtl: duration("0s"),
  maxResponseBytes: integer(1),
  maxAttempts: integer(1, 10),
  budgetRatio: ratio,
  budgetPerSecond: integer(0),
  backoff: duration("1ms"),
  maxBackoff: duration("1ms"),
  hedge: boolean,
  breakerRatio: ratio,
  breakerMinimum: integer(1),
  breakerWindow: duration("100ms"),
  breakerOpen: duration("1ms"),
  ejectAfter: integer(1),
  ejectFor: duration("1ms"),
  allowPrivate: {
    expected: 'true, false, or a list of address ranges such as "10.1.0.0/16"',
    read: (value: AllowPrivate) => {
      try {
        addressRule(value);
        return value;
      } catch {
        return undefined;
      }
    },
  },
  resolve: given<Resolve>("a function from a name to its addresses"),
  clock: given<Clock>("a clock"),
  random: given<() => number>("a function"),
} as const satisfies OptionChecks<UpstreamOptions>;
