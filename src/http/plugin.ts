// The kit inside of Fastify: routes for endpoints, a strict JSON parser, problems for failures. See docs/endpoints.md.
//
// The plugin is encapsulated on purpose: in an existing app it changes nothing outside of its own routes, and takes a prefix.
// What is the server's as a whole (404 and 405 problems, timeouts, request ids, drain) belongs to createApp().

import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import fastifyPlugin from "fastify-plugin";
import type { Cache } from "../cache/index.ts";
import type { Cdn } from "../cdn/index.ts";
import { resolveOptions } from "../core/index.ts";
import { sendProblem } from "./answer.ts";
import { type CompiledEndpoint, compileEndpoint } from "./compile.ts";
import { httpErrors } from "./errors.ts";
import { Exchange, exchangeOf } from "./exchange.ts";
import { serveHealth } from "./health.ts";
import { type Kit, commonHeaders } from "./kit.ts";
import { acceptMultipart } from "./multipart.ts";
import { serveDocs } from "./openapi/serve-docs.ts";
import { type PluginOptions, pluginChecks, pluginDefaults } from "./options.ts";
import { arrive, work } from "./pipeline.ts";
import { AnswersAtHand } from "./response-cache/at-hand.ts";
import { createResponseCache } from "./response-cache/consult.ts";
import { parseJsonBody } from "./validation/json-body.ts";

type ServeOptions = Required<Omit<PluginOptions, "database" | "cacheTokens" | "cdn">> &
  Pick<PluginOptions, "database" | "cacheTokens" | "cdn">;

/** What every request of one app shares. */
export function createKit(options: ServeOptions, fastify: FastifyInstance, silent: boolean): Kit {
  const headers = commonHeaders(options.strictTransportSecurity);
  const { cache, cacheName: name, version } = options;
  const release = version.replaceAll(/[^A-Za-z0-9._-]/g, "-");
  const kit: Kit = {
    database: options.database,
    checkResponses: options.checkResponses,
    log: fastify.log,
    silent,
    headers,
    responseCache: cache ? createResponseCache(cache, name, release, new Map(headers), options.cdn) : undefined,
    answers: undefined,
    lane: undefined,
    tokens: options.cacheTokens,
    draining: false,
  };
  if (options.cdn && cache) follow(options.cdn, cache, fastify);
  if (kit.responseCache) kit.answers = new AnswersAtHand(kit, kit.responseCache, fastify.server);
  return kit;
}

/** What the cache hears of is purged, as long as the server is there. */
function follow(cdn: Cdn, { ledger }: Cache, fastify: FastifyInstance): void {
  if (!ledger.listen) {
    fastify.log.warn("the cache's ledger does not say what is written: answers at the CDN end by cdn.purge(), or with their time");
    return;
  }
  const following = cdn.follow({ onWritten: (listener) => ledger.listen!(listener) });
  fastify.addHook("onClose", async () => following[Symbol.dispose]());
}

/** Reads a JSON body, or says why not. An empty body is none. */
function parseBody(request: FastifyRequest, bytes: Buffer): unknown {
  const { "content-encoding": encoding, "content-type": type } = request.headers;
  if (encoding !== undefined && encoding.toLowerCase() !== "identity") {
    throw httpErrors.create("MILLRACE_HTTP_MEDIA_TYPE_UNSUPPORTED", {
      accepted: "it uncompressed",
      reason: "The body has a Content-Encoding",
    });
  }
  const charset = /;\s*charset\s*=\s*"?([^";\s]*)/i.exec(type ?? "")?.[1];
  if (charset !== undefined && !/^utf-?8$/i.test(charset)) {
    throw httpErrors.create("MILLRACE_HTTP_MEDIA_TYPE_UNSUPPORTED", {
      accepted: "JSON in UTF-8",
      reason: "The body has another charset",
    });
  }
  return bytes.length === 0 ? undefined : parseJsonBody(bytes);
}

/** What an endpoint takes, in words. */
function acceptedTypes(target: CompiledEndpoint | undefined): string {
  if (target?.multipartLimits) return "multipart/form-data";
  return target && !target.validateBody ? "no body" : "application/json";
}

/** Every failure outside of handlers: bodies that are too large or of the wrong type, hooks of other plugins, broken streams. */
export function createErrorHandler(kit: Kit): (error: FastifyError, request: FastifyRequest, reply: FastifyReply) => void {
  return (error, request, reply) => {
    const exchange = exchangeOf(request) ?? new Exchange(kit, undefined, request, reply);
    sendProblem(exchange, translate(error, request, exchange.target));
  };
}

function translate(error: FastifyError, request: FastifyRequest, target: CompiledEndpoint | undefined): unknown {
  switch (error.code) {
    case "FST_ERR_CTP_INVALID_MEDIA_TYPE":
      return httpErrors.create("MILLRACE_HTTP_MEDIA_TYPE_UNSUPPORTED", { accepted: acceptedTypes(target) }, error);
    case "FST_ERR_CTP_BODY_TOO_LARGE":
      return httpErrors.create("MILLRACE_HTTP_BODY_TOO_LARGE", { limit: request.routeOptions.bodyLimit }, error);
    case "ECONNRESET":
      return httpErrors.create("MILLRACE_HTTP_BODY_INCOMPLETE", {}, error);
    default:
      return error;
  }
}

function addRoute(fastify: FastifyInstance, kit: Kit, target: CompiledEndpoint): void {
  const { method, path, bodyLimit } = target.endpoint;
  // Whoever keeps nothing is not asked.
  const answers = typeof target.cachePlan === "string" ? undefined : kit.answers;
  fastify.route({
    method,
    url: path,
    ...(bodyLimit !== undefined && { bodyLimit }),
    onRequest: (request, reply, done) => {
      if (answers?.answer(target, request, reply)) kit.lane?.invite(request.raw);
      else arrive(new Exchange(kit, target, request, reply), done);
    },
    handler: (request) => work(exchangeOf(request)!),
  });
}

/** Serves the endpoints, documentation and health of `options` on an encapsulated Fastify instance. */
export async function serve(fastify: FastifyInstance, kit: Kit, options: ServeOptions): Promise<void> {
  const targets = options.endpoints.map((endpoint) => compileEndpoint(endpoint, options.checkResponses));
  fastify.setErrorHandler(createErrorHandler(kit));

  fastify.removeAllContentTypeParsers();
  fastify.addContentTypeParser("application/json", { parseAs: "buffer" }, (request, bytes, done) => {
    try {
      done(null, parseBody(request, bytes as Buffer)); // parseAs says buffer
    } catch (error) {
      done(error as Error, undefined);
    }
  });
  for (const target of targets) if (!target.multipartLimits) addRoute(fastify, kit, target);

  const multipart = targets.filter(({ multipartLimits }) => multipartLimits);
  if (multipart.length > 0) {
    await fastify.register(async (scope) => {
      scope.removeAllContentTypeParsers();
      await acceptMultipart(scope);
      for (const target of multipart) addRoute(scope, kit, target);
    });
  }
  if (options.health) serveHealth(fastify, kit);
  if (options.docs) serveDocs(fastify, kit, options);
}

/**
 * The endpoints as a plugin of an existing Fastify 5 app: `app.register(millracePlugin, { endpoints, database, prefix: "/v1" })`.
 * Health and documentation are served below the prefix too. Readiness fails from Fastify's preClose on.
 */
export const millracePlugin = fastifyPlugin(
  async (fastify: FastifyInstance, given: PluginOptions & { readonly prefix?: string }) => {
    const { prefix: _prefix, ...rest } = given; // Fastify's own
    const options = resolveOptions("millracePlugin", rest, pluginDefaults, pluginChecks) as ServeOptions;
    const kit = createKit(options, fastify, false);
    fastify.addHook("preClose", async () => {
      kit.draining = true;
    });
    await serve(fastify, kit, options);
  },
  { name: "millrace", fastify: "5.x", encapsulate: true },
);
