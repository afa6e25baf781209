// A caching reverse proxy as an object: a server in front of an origin. See docs/proxy.md.

import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { MemoryTierStats } from "../cache/index.ts";
import { type Clock, type Closeable, MillraceError, coreErrors, resolveOptions } from "../core/index.ts";
import { Fields, createCachingRules } from "../http-caching/index.ts";
import { AnswerStore } from "./answer-store.ts";
import { proxyRequestChannel } from "./channels.ts";
import { proxyErrors } from "./errors.ts";
import { Exchange } from "./exchange.ts";
import { Forwarding } from "./forwarding.ts";
import { type ProxyOptions, proxyChecks, proxyDefaults } from "./options.ts";
import { Origin } from "./origin.ts";
import { Pipeline } from "./pipeline.ts";
import { Replies } from "./reply.ts";
import { targetOf } from "./target.ts";
import { tunnel } from "./tunnel.ts";

export interface ProxyAddress {
  readonly host: string;
  readonly port: number;
  readonly url: string;
}

export interface ProxyStats {
  readonly memory: MemoryTierStats;
  /** Requests that are being answered. */
  readonly running: number;
}

export interface Proxy extends Closeable {
  /** Takes requests. Port 0: any free one. @throws MILLRACE_PROXY_LISTEN_FAILED */
  listen(where?: { readonly port?: number; readonly host?: string }): Promise<ProxyAddress>;
  /** Answers one request of a server of yours. It never rejects. */
  readonly handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>;
  stats(): ProxyStats;
}

/**
 * Creates a proxy. It connects to the origin at the first request.
 * @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID
 */
export function createProxy(given: ProxyOptions): Proxy {
  const options = resolveOptions<ProxyOptions, typeof proxyChecks>("createProxy", given, proxyDefaults, proxyChecks);
  const { clock } = options;
  const rules = createCachingRules({
    heuristic: given.heuristic,
    maxHeuristic: given.maxHeuristic,
    targets: given.targets,
    surrogate: given.surrogate ?? options.name,
    staleIfError: given.staleIfError,
    setCookie: given.setCookie,
  });
  const forwarding = new Forwarding({
    name: options.name,
    trustForwarded: options.trustForwarded,
    originHost: options.to.host,
    host: options.host,
  });
  const origin = new Origin({
    url: options.to,
    connections: options.connections,
    connectTimeoutMs: options.connectTimeout,
    headersTimeoutMs: options.headersTimeout,
    bodyTimeoutMs: options.bodyTimeout,
  });
  const store = new AnswerStore({ maxBytes: options.maxBytes, maxEntryRatio: options.maxEntryRatio });
  const replies = new Replies({ name: options.name, via: forwarding.via, now: () => clock.now() });
  const pipeline = new Pipeline({
    rules,
    store,
    origin,
    forwarding,
    replies,
    clock,
    collapseTimeoutMs: options.collapseTimeout,
  });
  return new ReverseProxy({
    pipeline,
    forwarding,
    origin,
    store,
    replies,
    clock,
    heedsDirectives: options.clientDirectives,
    maxHeaderBytes: options.maxHeaderBytes,
    keepAliveMs: options.keepAliveTimeout,
    closeMs: options.closeTimeout,
  });
}

interface Parts {
  readonly pipeline: Pipeline;
  readonly forwarding: Forwarding;
  readonly origin: Origin;
  readonly store: AnswerStore;
  readonly replies: Replies;
  readonly clock: Clock;
  readonly heedsDirectives: boolean;
  readonly maxHeaderBytes: number;
  readonly keepAliveMs: number;
  readonly closeMs: number;
}

/** How often connections are looked at that have become idle while the proxy closes. */
const sweepMs = 50;

class ReverseProxy implements Proxy {
  readonly #parts: Parts;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #running = 0;
  #closed: Promise<void> | undefined;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#server = createServer(
      { maxHeaderSize: parts.maxHeaderBytes, keepAliveTimeout: parts.keepAliveMs, requestTimeout: 0, insecureHTTPParser: false },
      (request, response) => void this.handle(request, response),
    );
    this.#server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
    this.#server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) => this.#upgrade(request, socket, head));
    this.#server.on("connect", (_request, socket: Socket) => {
      socket.end("HTTP/1.1 501 Not Implemented\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    });
  }

  readonly handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { pipeline, forwarding, replies, clock, heedsDirectives } = this.#parts;
    const startedMs = clock.monotonic();
    this.#running++;
    if (this.#closed) response.shouldKeepAlive = false;
    response.once("close", () => {
      this.#running--;
      this.#say(request, response, clock.monotonic() - startedMs);
    });
    response.on("error", () => {}); // the client is gone; "close" says so
    request.on("error", () => {});
    const fields = new Fields(request.rawHeaders);
    const method = request.method ?? "GET";
    const refuse = (status: number, error: MillraceError) =>
      replies.failure({ method, fields, response }, status, error.code, error.message, undefined);
    try {
      const target = targetOf(request);
      if (!target) {
        return refuse(
          400,
          proxyErrors.create("MILLRACE_PROXY_REQUEST_INVALID", { reason: "it does not say, once, which host it means" }),
        );
      }
      if (forwarding.isLoop(fields)) return refuse(508, proxyErrors.create("MILLRACE_PROXY_LOOP", {}));
      await pipeline.run(new Exchange(request, response, fields, target, heedsDirectives));
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : String(error));
      refuse(500, proxyErrors.create("MILLRACE_PROXY_INTERNAL", {}));
    }
  };

  async listen({ port = 0, host = "127.0.0.1" }: { readonly port?: number; readonly host?: string } = {}): Promise<ProxyAddress> {
    if (this.#closed) throw coreErrors.create("MILLRACE_CLOSED", { subject: "the proxy" });
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", (error: NodeJS.ErrnoException) =>
        reject(proxyErrors.create("MILLRACE_PROXY_LISTEN_FAILED", { host, port, reason: error.code ?? error.message }, error)),
      );
      this.#server.listen(port, host, resolve);
    });
    const address = this.#server.address() as AddressInfo;
    const name = address.family === "IPv6" ? `[${address.address}]` : address.address;
    return { host: address.address, port: address.port, url: `http://${name}:${address.port}` };
  }

  stats(): ProxyStats {
    return { memory: this.#parts.store.stats(), running: this.#running };
  }

  /** Takes no more connections, lets the requests that run end within closeTimeout, and closes. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    const { clock, origin, closeMs } = this.#parts;
    if (this.#server.listening) {
      this.#server.close();
      const { promise: allGone, resolve } = Promise.withResolvers<void>();
      const limit = clock.timer(
        closeMs,
        () => {
          for (const socket of this.#sockets) socket.destroy();
          resolve();
        },
        true,
      );
      // Idle ones close now; those that are answered, when they are.
      let sweep = clock.timer(0, () => {}, true);
      const look = () => {
        this.#server.closeIdleConnections();
        if (this.#sockets.size === 0) return resolve();
        sweep = clock.timer(sweepMs, look, true);
      };
      look();
      await allGone;
      limit.clear();
      sweep.clear();
    }
    await origin.close();
  }

  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const { forwarding, origin } = this.#parts;
    const target = targetOf(request);
    const fields = new Fields(request.rawHeaders);
    socket.on("error", () => {});
    if (!target || forwarding.isLoop(fields)) {
      socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
      return;
    }
    tunnel({ request, socket, head, origin: origin.url, fields: forwarding.toOrigin(fields, request, target), path: target.path });
  }

  #say(request: IncomingMessage, response: ServerResponse, durationMs: number): void {
    if (!proxyRequestChannel.hasSubscribers) return;
    proxyRequestChannel.publish({
      method: request.method ?? "GET",
      path: (request.url ?? "").split("?", 1)[0]!,
      status: response.writableFinished ? response.statusCode : 499,
      cacheStatus: this.#parts.replies.said.get(response),
      durationMs,
    });
  }
}
