// The origin: one request, and the head of its answer with a body that streams. Over undici's pool, with bounded waits.

import type { IncomingMessage } from "node:http";
import type { Readable } from "node:stream";
import type { Pool } from "undici";
import { MillraceError } from "../core/index.ts";
import type { Fields } from "../http-caching/index.ts";
import { proxyOriginFailureChannel } from "./channels.ts";
import { proxyErrors } from "./errors.ts";

export interface OriginRequest {
  readonly method: string;
  /** Path and query, as the client wrote it. */
  readonly path: string;
  readonly fields: Fields;
  /** The client's request, when it has a body. */
  readonly body: IncomingMessage | undefined;
  readonly signal: AbortSignal;
  /** Called with an interim answer (103, 102). */
  readonly onInterim?: ((status: number, rawHeaders: readonly string[]) => void) | undefined;
}

export interface OriginAnswer {
  readonly status: number;
  readonly statusText: string;
  readonly rawHeaders: readonly string[];
  readonly body: Readable;
  /** Filled when the body has ended. */
  readonly trailers: Readonly<Record<string, string>>;
}

export interface OriginOptions {
  readonly url: URL;
  readonly connections: number;
  readonly connectTimeoutMs: number;
  readonly headersTimeoutMs: number;
  readonly bodyTimeoutMs: number;
}

/** What a connection dies of that the origin had closed while it was idle; also what a crash looks like. */
const lost = new Set(["UND_ERR_SOCKET", "ECONNRESET", "EPIPE"]);
const late = new Set(["UND_ERR_CONNECT_TIMEOUT", "UND_ERR_HEADERS_TIMEOUT", "ETIMEDOUT"]);

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ENOTFOUND: "its name is not known",
  EAI_AGAIN: "its name could not be looked up",
  EHOSTUNREACH: "host unreachable",
  ENETUNREACH: "network unreachable",
  ECONNRESET: "connection reset",
  EPIPE: "connection lost",
  UND_ERR_SOCKET: "connection lost",
  UND_ERR_CONNECT_TIMEOUT: "no connection in time",
  UND_ERR_HEADERS_TIMEOUT: "no answer in time",
  UND_ERR_HEADERS_OVERFLOW: "the head of its answer is too large",
};

const tellingOf = (error: unknown): Error & { readonly code?: string } =>
  error instanceof AggregateError && error.errors[0] instanceof Error ? error.errors[0] : (error as Error);

const retryable = new Set(["GET", "HEAD", "OPTIONS", "TRACE"]);

/** The client's body as it comes. Its stream is not destroyed when the origin fails: the client still wants an answer. */
const bodyOf = (body: IncomingMessage): AsyncIterable<Buffer> => ({
  [Symbol.asyncIterator]: () => body.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>,
});

export class Origin {
  readonly #options: OriginOptions;
  readonly #prefix: string;
  #pool: Promise<Pool> | undefined;

  constructor(options: OriginOptions) {
    this.#options = options;
    this.#prefix = options.url.pathname.replace(/\/+$/, "");
  }

  get url(): URL {
    return this.#options.url;
  }

  /** @throws MILLRACE_PROXY_ORIGIN_FAILED, _ORIGIN_TIMEOUT, _REQUEST_INVALID, the signal's reason */
  async send(request: OriginRequest): Promise<OriginAnswer> {
    const pool = await (this.#pool ??= this.#open());
    try {
      return await this.#attempt(pool, request);
    } catch (error) {
      request.signal.throwIfAborted();
      const code = tellingOf(error).code ?? "";
      // A connection that the origin closed while it was idle: a safe request can be made again. Once: a crash looks the same.
      if (request.body !== undefined || !retryable.has(request.method) || !lost.has(code)) throw this.#failure(error, request);
    }
    try {
      return await this.#attempt(pool, request);
    } catch (error) {
      request.signal.throwIfAborted();
      throw this.#failure(error, request);
    }
  }

  async close(): Promise<void> {
    await (await this.#pool)?.destroy();
  }

  async #attempt(pool: Pool, { method, path, fields, body, signal, onInterim }: OriginRequest): Promise<OriginAnswer> {
    const answer = await pool.request({
      method,
      path: path === "*" ? path : `${this.#prefix}${path}`,
      headers: [...fields.flat],
      body: body === undefined ? null : (bodyOf(body) as unknown as Readable), // its type does not know iterables, its code does
      signal,
      responseHeaders: "raw",
      ...(onInterim && {
        // With responseHeaders "raw" it is a flat list, whatever its type says.
        onInfo: ({ statusCode, headers }) => onInterim(statusCode, headers as unknown as readonly string[]),
      }),
    });
    return {
      status: answer.statusCode,
      statusText: answer.statusText,
      rawHeaders: answer.headers as unknown as readonly string[],
      body: answer.body,
      trailers: answer.trailers,
    };
  }

  #failure(error: unknown, { method, path }: OriginRequest): MillraceError {
    const telling = tellingOf(error);
    const code = telling.code ?? "";
    const reason = reasons[code] ?? (code === "" ? telling.message : `${telling.message} (${code})`);
    // What node's parser lets through and a request must not have.
    if (code === "UND_ERR_INVALID_ARG")
      return proxyErrors.create("MILLRACE_PROXY_REQUEST_INVALID", { reason: telling.message }, error);
    const { origin } = this.#options.url;
    if (proxyOriginFailureChannel.hasSubscribers) {
      proxyOriginFailureChannel.publish({ origin, method, path: path.split("?", 1)[0]!, reason });
    }
    const kind = late.has(code) ? "MILLRACE_PROXY_ORIGIN_TIMEOUT" : "MILLRACE_PROXY_ORIGIN_FAILED";
    return proxyErrors.create(kind, { origin, reason }, error);
  }

  async #open(): Promise<Pool> {
    // Here and not at the top: loading it takes 60 ms, which whoever makes no proxy should not pay.
    const { Pool } = await import("undici");
    const { url, connections, connectTimeoutMs, headersTimeoutMs, bodyTimeoutMs } = this.#options;
    return new Pool(url.origin, {
      connections,
      pipelining: 1, // the next request would wait for the slow answer before it
      headersTimeout: headersTimeoutMs,
      bodyTimeout: bodyTimeoutMs,
      connect: { timeout: connectTimeoutMs },
      allowH2: false,
    });
  }
}
