// The options of proxy, their checks, and every default in one literal with its reason.

import {
  type Clock,
  type Duration,
  type OptionCheck,
  type OptionChecks,
  boolean,
  duration,
  given,
  integer,
  ratio,
  systemClock,
} from "../core/index.ts";
import { type CachingRulesOptions, cachingRulesChecks, cachingRulesDefaults, isToken } from "../http-caching/index.ts";

/** What a proxy stands in front of, and how it behaves. See docs/proxy.md. */
export interface ProxyOptions extends Omit<CachingRulesOptions, "shared"> {
  /** The origin: `http://` or `https://`, host and port. A path is the beginning of every path. */
  readonly to: string;
  /** The Host that the origin is asked for: its own, or the one that the client named. Default "origin". */
  readonly host?: "origin" | "client" | undefined;
  /** Names the cache in Cache-Status and Via. Default "millrace". */
  readonly name?: string | undefined;
  /** Whether X-Forwarded-For, -Host and -Proto of the client are believed and added to; else they are replaced. Default false. */
  readonly trustForwarded?: boolean | undefined;
  /** Whether clients may ask the cache for less or more by Cache-Control. Default true. */
  readonly clientDirectives?: boolean | undefined;

  /** What the answers in memory may take. Default 64 MiB. */
  readonly maxBytes?: number | undefined;
  /** The largest answer that is stored, as a share of `maxBytes`. Default 0.125. */
  readonly maxEntryRatio?: number | undefined;
  /** How long a request waits for another's answer to the same question before it asks by itself. Default "5s". */
  readonly collapseTimeout?: Duration | undefined;

  /** Connections to the origin. Default 128. */
  readonly connections?: number | undefined;
  /** Of one connection. Default "5s". */
  readonly connectTimeout?: Duration | undefined;
  /** From the request to the head of the answer. Default "60s". */
  readonly headersTimeout?: Duration | undefined;
  /** Between two pieces of the body. Default "60s". */
  readonly bodyTimeout?: Duration | undefined;
  /** A client's idle connection is closed after this. Default "65s". */
  readonly keepAliveTimeout?: Duration | undefined;
  /** How long requests that run may take once close() is called. Default "10s". */
  readonly closeTimeout?: Duration | undefined;
  /** Bytes of a request's head. Default 16 KiB. */
  readonly maxHeaderBytes?: number | undefined;

  readonly clock?: Clock | undefined;
}

const { shared: _shared, ...rules } = cachingRulesDefaults;
const { shared: _sharedCheck, ...rulesChecks } = cachingRulesChecks;

export const proxyDefaults = {
  ...rules,
  host: "origin", // what the origin answers to when it is asked directly
  name: "millrace",
  trustForwarded: false, // anybody can write them; who stands behind a balancer knows it
  clientDirectives: true, // RFC 9111 § 5.2.1
  maxBytes: 64 * 2 ** 20, // room for it in the smallest containers that people run, as the cache has it
  maxEntryRatio: 0.125, // 8 MiB of the default: what is larger belongs on a disk
  collapseTimeout: "5s", // most answers are complete by then; whoever waits longer asks by himself
  connections: 128, // as many requests at once as a busy origin's pool of workers
  connectTimeout: "5s", // two SYNs lost and a third one
  headersTimeout: "60s", // what nginx and others grant, so that nothing that worked behind them fails here
  bodyTimeout: "60s", // the same
  keepAliveTimeout: "65s", // longer than the 60 s after which balancers give an idle connection up: they close first, not we
  closeTimeout: "10s", // a third of what most init systems wait after SIGTERM
  maxHeaderBytes: 16_384, // node's own limit
  clock: systemClock,
} as const satisfies Omit<ProxyOptions, "to">;

const origin: OptionCheck<string, URL> = {
  expected: "the URL of an origin, such as http://127.0.0.1:8080, without a query or a user",
  read: (value) => {
    const url = URL.parse(value);
    const fits = url !== null && /^https?:$/.test(url.protocol) && url.search === "" && url.hash === "" && url.username === "";
    return fits && url.password === "" ? url : undefined;
  },
};

export const proxyChecks = {
  ...rulesChecks,
  to: origin,
  host: {
    expected: '"origin" or "client"',
    read: (value: "origin" | "client") => (/^(?:origin|client)$/.test(value) ? value : undefined),
  },
  name: { expected: "a token, such as edge-1", read: (value: string) => (isToken(value) ? value : undefined) },
  trustForwarded: boolean,
  clientDirectives: boolean,
  maxBytes: integer(1024),
  maxEntryRatio: ratio,
  collapseTimeout: duration(),
  connections: integer(1, 10_000),
  connectTimeout: duration("1ms"),
  headersTimeout: duration("1ms"),
  bodyTimeout: duration("1ms"),
  keepAliveTimeout: duration("1ms"),
  closeTimeout: duration(),
  maxHeaderBytes: integer(1_024, 1_048_576),
  clock: given<Clock>("a clock"),
} as const satisfies OptionChecks<ProxyOptions>;
