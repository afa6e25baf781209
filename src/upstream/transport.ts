// One attempt on the wire, on undici's Pools. What undici raises becomes a failure in words, and whether the request had been sent.

import type { Dispatcher, Pool } from "undici";
import { coreErrors } from "../core/index.ts";
import { upstreamErrors } from "./errors.ts";
import type { Resolver } from "./resolver.ts";

export interface WireRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array | undefined;
}

export interface WireResponse {
  readonly status: number;
  /** Names in lower case; a header that came several times is an array. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

export interface Transport {
  /** @throws WireFailure; an error of the kit's when repeating is of no use; the signal's reason */
  send(origin: string, request: WireRequest, signal: AbortSignal): Promise<WireResponse>;
  close(): Promise<void>;
}

/** An attempt that brought no answer. */
export class WireFailure extends Error {
  /** Whether the upstream may have seen the request. */
  readonly sent: boolean;

  constructor(message: string, sent: boolean, cause: unknown) {
    super(message, { cause });
    this.sent = sent;
  }
}

/** The answer is larger than is allowed. */
export class TooLarge extends Error {}

export interface UndiciOptions {
  readonly connections: number;
  readonly connectTimeoutMs: number;
  readonly headersTimeoutMs: number;
  readonly bodyTimeoutMs: number;
  readonly connectionTtlMs: number;
  readonly maxResponseBytes: number;
  readonly resolver: Resolver;
}

/** Codes of failures before a byte of the request was sent. */
const unsent: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ENOTFOUND: "name not found",
  EAI_AGAIN: "name could not be looked up",
  EHOSTUNREACH: "host unreachable",
  ENETUNREACH: "network unreachable",
  ETIMEDOUT: "no connection in time",
  UND_ERR_CONNECT_TIMEOUT: "no connection in time",
  UND_ERR_PRX_TLS: "TLS failed",
};

const sent: Readonly<Record<string, string>> = {
  UND_ERR_HEADERS_TIMEOUT: "no answer in time",
  UND_ERR_BODY_TIMEOUT: "the answer stalled",
  UND_ERR_SOCKET: "connection lost",
  ECONNRESET: "connection reset",
  EPIPE: "connection lost",
  UND_ERR_HEADERS_OVERFLOW: "headers too large",
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: "the answer has another length than it says",
  UND_ERR_RES_EXCEEDED_MAX_SIZE: "the answer is too large",
};

/** The error, or the one of several connection attempts (RFC 8305) that says most. */
const tellingOf = (error: unknown): Error & { readonly code?: string } =>
  error instanceof AggregateError && error.errors[0] instanceof Error ? error.errors[0] : (error as Error);

function failureOf(error: unknown): WireFailure {
  const telling = tellingOf(error);
  const code = String(telling.code ?? "");
  if (Object.hasOwn(unsent, code)) return new WireFailure(unsent[code]!, false, error);
  if (Object.hasOwn(sent, code)) return new WireFailure(sent[code]!, true, error);
  if (code.startsWith("HPE_") || telling.name === "HTTPParserError") return new WireFailure("the answer is not HTTP", true, error);
  if (/^(?:ERR_TLS|ERR_SSL|CERT_|UNABLE_TO|SELF_SIGNED|DEPTH_ZERO)/.test(code))
    return new WireFailure(`TLS failed (${code})`, false, error);
  return new WireFailure(`${telling.name}${code && ` ${code}`}: ${telling.message}`, true, error);
}

/** Makes a Pool per origin, when it is first needed. */
export function undiciTransport(options: UndiciOptions): Transport {
  const pools = new Map<string, Promise<Pool>>();
  let closed = false;

  const open = async (origin: string): Promise<Pool> => {
    // Here and not at the top: loading it takes 60 ms, which whoever calls nobody should not pay.
    const undici = await import("undici");
    return new undici.Pool(origin, {
      connections: options.connections,
      pipelining: 1, // the next request would wait for the slow answer before it
      clientTtl: options.connectionTtlMs,
      headersTimeout: options.headersTimeoutMs,
      bodyTimeout: options.bodyTimeoutMs,
      connect: { timeout: options.connectTimeoutMs, lookup: options.resolver.lookup },
      allowH2: false,
    });
  };
  const poolOf = (origin: string): Promise<Pool> => {
    let pool = pools.get(origin);
    if (!pool) pools.set(origin, (pool = open(origin)));
    return pool;
  };

  return {
    async send(origin, request, signal) {
      if (closed) throw coreErrors.create("MILLRACE_CLOSED", { subject: "the upstream" });
      const pool = await poolOf(origin);
      let answer: Dispatcher.ResponseData | undefined;
      try {
        answer = await pool.request({
          method: request.method,
          path: request.path,
          headers: request.headers,
          body: request.body ?? null,
          signal,
        });
        const body = await readBody(answer, options.maxResponseBytes);
        return { status: answer.statusCode, headers: answer.headers, body };
      } catch (error) {
        answer?.body.on("error", () => {}).destroy();
        signal.throwIfAborted();
        const telling = tellingOf(error);
        if (error instanceof TooLarge || upstreamErrors.is(telling)) throw telling;
        if (telling.code === "UND_ERR_INVALID_ARG") throw telling;
        throw failureOf(error);
      }
    },
    async close() {
      closed = true;
      await Promise.all([...pools.values()].map(async (opening) => (await opening).destroy()));
    },
  };
}

/** The whole body, or TooLarge before more than `maxBytes` of it are held. */
async function readBody({ headers, body }: Dispatcher.ResponseData, maxBytes: number): Promise<Buffer> {
  if (Number(headers["content-length"] ?? 0) > maxBytes) throw new TooLarge();
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw new TooLarge();
    chunks.push(chunk);
  }
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, bytes);
}
