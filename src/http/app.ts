// createApp(): a Fastify server with safe settings, the kit's plugin, and an orderly end. See docs/endpoints.md,
// docs/http-safety.md and docs/health-and-drain.md.

import { lookup } from "node:dns/promises";
import { LogController, fastify as createFastify, type FastifyBaseLogger, type FastifyInstance } from "fastify";
import { type Closeable, resolveOptions } from "../core/index.ts";
import { sendProblem } from "./answer.ts";
import { answerClientError } from "./client-error.ts";
import { Drain } from "./drain.ts";
import { Exchange } from "./exchange.ts";
import { FastLane, type FastLaneStatus } from "./fast-lane/fast-lane.ts";
import type { Kit } from "./kit.ts";
import { LazyLog, createLogger } from "./log.ts";
import { createNotFoundHandler } from "./not-found.ts";
import { type AppOptions, appChecks, appDefaults, connectionsCheckingIntervalMs, maxHeadersCount } from "./options.ts";
import { createErrorHandler, createKit, serve } from "./plugin.ts";
import { requestIdOf } from "./request-id.ts";

export interface ListenOptions {
  /** Default "127.0.0.1": nobody outside of the machine reaches it by accident. */
  readonly host?: string;
  /** Default 3000. 0: any free port. */
  readonly port?: number;
}

export interface App extends Closeable {
  /** The server below: add plugins, hooks and routes of your own before listen(). */
  readonly fastify: FastifyInstance;
  /** What the fast lane does; undefined when there is none. */
  readonly fastLane: FastLaneStatus | undefined;
  /** Starts to listen; resolves with the URL. */
  listen(options?: ListenOptions): Promise<string>;
  /**
   * Waits for SIGTERM or SIGINT, then drains and closes: SIGTERM after `drainDelay`, SIGINT at once. Resolves with the signal when
   * all is closed; the process then ends by itself when the rest is closed too. A second signal exits at once with 130 or 143.
   */
  untilSignal(): Promise<"SIGTERM" | "SIGINT">;
  /** Finishes what runs, without delay, and closes. Cuts what runs longer than `drainTimeout`. */
  close(): Promise<void>;
}

/**
 * A second signal means "at once", but not so soon after the first: npm and service managers pass a signal on that the whole
 * process group has received already.
 */
const sameSignalMs = 500;

const exitCodes = { SIGINT: 130, SIGTERM: 143 } as const;

/**
 * Creates an app; nothing listens yet.
 * @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID, MILLRACE_HTTP_ENDPOINT_INVALID (the last when it starts)
 */
export function createApp(given: AppOptions): App {
  const options = resolveOptions("createApp", given, appDefaults, appChecks) as ResolvedAppOptions;
  const logger = options.logger === false ? undefined : createLogger(options.logger);
  // Fastify wants the handlers when the server is made, and the kit needs the server's log.
  let kit: Kit;
  const fastify = createFastify({
    ...(logger
      ? {
          loggerInstance: logger,
          childLoggerFactory: (parent: FastifyBaseLogger, bindings: Record<string, unknown>) => new LazyLog(parent, bindings),
        }
      : { logger: false }),
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: "requestId" }),
    genReqId: requestIdOf,
    requestIdHeader: false,
    bodyLimit: options.bodyLimit,
    requestTimeout: options.requestTimeout,
    keepAliveTimeout: options.keepAliveTimeout,
    trustProxy: Array.isArray(options.trustProxy)
      ? [...options.trustProxy]
      : (options.trustProxy as string | number | false as string | false),
    routerOptions: { maxParamLength: options.maxParamLength },
    http: {
      maxHeaderSize: options.maxHeaderBytes,
      headersTimeout: options.headersTimeout,
      requestTimeout: options.requestTimeout,
      connectionsCheckingInterval: Math.min(connectionsCheckingIntervalMs, options.headersTimeout),
    },
    clientErrorHandler: (error, socket) => answerClientError(error, socket, kit.responseCache?.refused),
    frameworkErrors: (error, request, reply) => sendProblem(new Exchange(kit, undefined, request, reply), error),
  });
  fastify.server.maxHeadersCount = maxHeadersCount;
  kit = createKit(options, fastify, options.logger === false);
  // A target alone then does not say any more where a request goes.
  fastify.addHook("onRoute", ({ constraints }) => {
    if (constraints && Object.keys(constraints).length > 0) kit.answers?.noteConstraints();
  });
  if (kit.answers && options.fastLane) {
    kit.lane = new FastLane({
      server: fastify.server,
      answers: kit.answers,
      maxHeaderBytes: options.maxHeaderBytes,
      warn: (reason, error) => kit.log.warn({ reason, err: error }, "the fast lane is off: answers go the ordinary way"),
    });
  }
  const drain = new Drain(fastify.server, kit);
  fastify.setErrorHandler(createErrorHandler(kit));
  fastify.setNotFoundHandler(createNotFoundHandler(kit, options.endpoints));
  fastify.register(async (scope) => serve(scope, kit, options));

  let closed: Promise<void> | undefined;
  const closeAfter = (delayMs: number): Promise<void> =>
    (closed ??= (async () => {
      await drain.run(delayMs, options.drainTimeout);
      await fastify.close();
    })());

  return {
    fastify,
    fastLane: kit.lane,
    async listen({ host = "127.0.0.1", port = 3000 } = {}) {
      // For "localhost" Fastify would open one more server per address, which a drain could not see.
      return fastify.listen({ host: host === "localhost" ? (await lookup(host)).address : host, port });
    },
    untilSignal: () =>
      new Promise((resolve, reject) => {
        let firstAtMs: number | undefined;
        const onSignal = (signal: "SIGTERM" | "SIGINT"): void => {
          if (firstAtMs !== undefined) {
            if (performance.now() - firstAtMs > sameSignalMs) process.exit(exitCodes[signal]);
            return;
          }
          firstAtMs = performance.now();
          closeAfter(signal === "SIGTERM" ? options.drainDelay : 0).then(() => resolve(signal), reject);
        };
        process.on("SIGTERM", onSignal);
        process.on("SIGINT", onSignal);
      }),
    close: () => closeAfter(0),
    [Symbol.asyncDispose]: () => closeAfter(0),
  };
}

type WithDefault =
  | "bodyLimit"
  | "maxHeaderBytes"
  | "maxParamLength"
  | "cache"
  | "cacheName"
  | "checkResponses"
  | "docs"
  | "health"
  | "title"
  | "version"
  | "strictTransportSecurity"
  | "fastLane"
  | "endpoints";
type Durations = "headersTimeout" | "requestTimeout" | "keepAliveTimeout" | "drainDelay" | "drainTimeout";

/** The options with their defaults; durations in milliseconds. */
type ResolvedAppOptions = Required<Pick<AppOptions, WithDefault>> &
  Pick<AppOptions, "database" | "cacheTokens" | "cdn" | "logger" | "trustProxy"> & { readonly [Name in Durations]: number };
