// The options of http, their checks, and every default in one literal with its reason.

import type { Logger, LoggerOptions } from "pino";
import type { Cache } from "../cache/index.ts";
import type { Cdn } from "../cdn/index.ts";
import { type Duration, type OptionChecks, boolean, duration, given, integer, string } from "../core/index.ts";
import type { Database } from "../database/index.ts";
import type { Endpoint } from "./endpoint.ts";
import type { CacheTokens } from "./response-cache/tokens.ts";

/** Numbers of the encoders, from docs/compression.md: 20 KB of JSON, microseconds and bytes. */
export const compressionDefaults = {
  zstdLevel: 3, // 78 µs, 6,068 bytes: a third of gzip-6's time at the same size
  brotliQuality: 4, // 216 µs, 6,050 bytes; 1 takes 75 µs for 6,882, 11 takes 20 ms
  gzipLevel: 6, // 250 µs, 6,028 bytes; zlib's own default
  minBytes: 1_024, // below it fits into one packet either way, and the encoder's fixed cost is larger than the gain
  asyncBytes: 64 * 1_024, // 0.3–0.8 ms of this thread; beyond that a worker thread's round trip is cheaper than the stall
  streamBrotliQuality: 3, // a stream flushes per chunk and must keep up with the database
  hotBrotliQuality: 11, // 20 ms, 5,252 bytes: an eighth less, for a hundred times the work; for kept answers that many ask for
  hotBrotliUses: 512, // one more brotli after so many answers: 40 µs each, against 0.8 KB that each of the next saves
  hotBrotliBytes: 128 * 1_024, // about 1 µs a byte: a tenth of a second of one pool thread at the most
  mostBuilds: 2, // of the pool's four threads: the other two are for files, names and passwords
} as const;

/** How kept answers are sent without asking the framework. */
export const responseCacheDefaults = {
  atHandBytes: 8 * 1_024 * 1_024, // targets and their heads: some 3,000 of those with two heads each, the busiest ones
} as const;

/** How compressed answers are chosen and made. */
export const maxNegotiations = 256; // distinct Accept-Encoding headers kept; browsers and clients send a few dozen

/** Options of the plugin, which createApp() takes too. */
export interface PluginOptions {
  readonly endpoints: readonly Endpoint[];
  /** The handlers' `db`, and what readiness asks. */
  readonly database?: Database | undefined;
  /**
   * Where answers are kept, from createCache(). With it every GET endpoint without `auth` is cached unless it says `cache: false`. The app does
   * not close it. Default false: nothing is cached.
   */
  readonly cache?: Cache | false;
  /** What the cache is called in Cache-Status. Default "millrace". */
  readonly cacheName?: string;
  /** Read-your-writes across processes: makes and reads the tokens in Freshness-Token headers. Default: none. */
  readonly cacheTokens?: CacheTokens | undefined;
  /**
   * What stands in front, from createCdn(): answers for everybody that the cache keeps are kept there, too, until what they were read from is
   * written. The app does not close it. Without `cache` it has no effect. Default: none.
   */
  readonly cdn?: Cdn | undefined;
  /** Validates answers against their schemas, and answers 500 when they do not match. For development and tests. Default false. */
  readonly checkResponses?: boolean;
  /** Serves /openapi.json, /docs and /docs/problems. Default true. */
  readonly docs?: boolean;
  /** Serves /healthz and /readyz. Default true. */
  readonly health?: boolean;
  /** Title and version of the OpenAPI document. Answers that a release of another version has cached are not found. */
  readonly title?: string;
  readonly version?: string;
  /** Strict-Transport-Security on every answer: only behind TLS. Default false. */
  readonly strictTransportSecurity?: boolean;
}

/** Options of createApp(). */
export interface AppOptions extends PluginOptions {
  /** false: none. Otherwise pino's options or a pino logger. Default: JSON lines on stdout at level info. */
  readonly logger?: false | LoggerOptions | Logger;
  /** Whose X-Forwarded-For is believed: addresses or networks such as "10.0.0.0/8", or how many proxies. Default: nobody's. */
  readonly trustProxy?: string | readonly string[] | number | false;
  /** Largest JSON body in bytes, where the endpoint says nothing. Default 1 MiB. */
  readonly bodyLimit?: number;
  /** Largest header section in bytes, the request line included. Default 16 KiB. */
  readonly maxHeaderBytes?: number;
  /** Longest path parameter in characters, encoded. Default 256. */
  readonly maxParamLength?: number;
  /** How long the headers may take to arrive. Default "10s". */
  readonly headersTimeout?: Duration;
  /** How long the whole request may take to arrive, body included. Default "30s". */
  readonly requestTimeout?: Duration;
  /** How long a connection may stay idle between requests. Default "72s". */
  readonly keepAliveTimeout?: Duration;
  /**
   * Answers from the cache leave before the HTTP parser has seen the request, where that makes no difference but in speed: see
   * docs/fast-lane.md. Without `cache` it has no effect. Default true.
   */
  readonly fastLane?: boolean;
  /** From SIGTERM to the closing of the listener, for load balancers to notice that /readyz fails. Default "5s". SIGINT and close() skip it. */
  readonly drainDelay?: Duration;
  /** From the signal, the delay included, until what still runs is cut. Default "25s". */
  readonly drainTimeout?: Duration;
}

export const pluginDefaults = {
  endpoints: [], // the kit's own routes, and whatever is added to app.fastify
  cache: false, // whoever has none pays nothing
  cacheName: "millrace",
  checkResponses: false, // costs as much again as the encoding
  docs: true,
  health: true,
  title: "API",
  version: "1.0.0",
  strictTransportSecurity: false, // over plain HTTP it means nothing, and on localhost it hurts
} as const satisfies Partial<PluginOptions>;

export const appDefaults = {
  ...pluginDefaults,
  trustProxy: false, // whoever is believed can write any client address into logs and limits
  bodyLimit: 1024 * 1024, // Fastify's own; JSON of a megabyte is parsed in about 10 ms
  maxHeaderBytes: 16 * 1024, // Node's own
  maxParamLength: 256, // two UUIDs and a half-long slug; longer ones are not found
  headersTimeout: "10s", // a request line and headers are one packet or three; slow-loris holds a socket no longer
  requestTimeout: "30s", // 1 MiB at 300 kbit/s
  keepAliveTimeout: "72s", // longer than the 60 s after which the usual load balancers drop an idle connection, so that they do first
  fastLane: true, // a hit costs a third, and everything that is not one goes the ordinary way untouched
  drainDelay: "5s", // Kubernetes and most balancers stop sending within 1–5 s of a failing probe
  drainTimeout: "25s", // Kubernetes kills 30 s after SIGTERM; five are left for closing the database and the rest
} as const satisfies Partial<AppOptions>;

export const pluginChecks = {
  endpoints: given<readonly Endpoint[]>("endpoints"),
  database: given<Database>("a Database"),
  cache: {
    expected: "a cache from createCache(), or false",
    read: (value: Cache | false) => (value === false || typeof value?.readNow === "function" ? value : undefined),
  },
  cacheName: {
    expected: 'a token as RFC 8941 defines it, such as "millrace"',
    read: (value: string) => (/^[A-Za-z*][A-Za-z0-9:/!#$%&'*+.^_`|~-]{0,99}$/.test(value) ? value : undefined),
  },
  cacheTokens: given<CacheTokens>("an object with issue() and read()"),
  cdn: given<Cdn>("a Cdn from createCdn()"),
  checkResponses: boolean,
  docs: boolean,
  health: boolean,
  title: string,
  version: string,
  strictTransportSecurity: boolean,
} satisfies OptionChecks<PluginOptions>;

export const appChecks = {
  ...pluginChecks,
  logger: given<false | LoggerOptions | Logger>("false, pino options or a pino logger"),
  trustProxy: given<string | readonly string[] | number | false>("addresses, networks, or a number of proxies"),
  bodyLimit: integer(1, 1024 ** 3),
  maxHeaderBytes: integer(1_024, 1024 ** 2),
  maxParamLength: integer(1, 8_192),
  headersTimeout: duration("1ms"),
  requestTimeout: duration("1ms"),
  keepAliveTimeout: duration("1ms"),
  fastLane: boolean,
  drainDelay: duration(),
  drainTimeout: duration("1ms"),
} satisfies OptionChecks<AppOptions>;

/** Once a second: a slow-loris connection is cut at most that much after its time. Node's own default is 30 s. */
export const connectionsCheckingIntervalMs = 1_000;
/** More header lines than any client sends; Node's own default is 2,000. */
export const maxHeadersCount = 100;
