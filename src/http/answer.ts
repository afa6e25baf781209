// The end of the pipeline: a handler's result as bytes, or a failure as a problem. Every answer of the kit leaves from here.
// See docs/problems.md and docs/compression.md.

import { Readable } from "node:stream";
import { isExportStream } from "../database/index.ts";
import { encodeElsewhere, encodeNow, encodeStream } from "./compression/encode.ts";
import { type Negotiated, isCompressible, negotiateCoding } from "./compression/negotiate.ts";
import { httpErrors } from "./errors.ts";
import type { CompiledEndpoint } from "./compile.ts";
import type { Exchange } from "./exchange.ts";
import { compressionDefaults } from "./options.ts";
import { type Failure, failureOf, failuresIn, problemDocument } from "./problem-table.ts";
import { pathOf } from "./validation/request-input.ts";

const jsonType = "application/json; charset=utf-8";
const textType = "text/plain; charset=utf-8";
const bytesType = "application/octet-stream";

/** A result as bytes or text, and the type that it has when the handler names none. */
export interface RenderedResult {
  readonly body: string | Buffer;
  readonly type: string;
  /** RFC 8288 links to the neighbouring pages of a list. */
  readonly links: string | undefined;
}

/**
 * What `result`, which is no stream, becomes; undefined for nothing.
 * @throws MILLRACE_HTTP_RESPONSE_INVALID with checkResponses, and what JSON.stringify throws
 */
export function renderResult(target: CompiledEndpoint, url: string, result: unknown): RenderedResult | undefined {
  if (result === undefined) return undefined;
  if (typeof result === "string") return { body: result, type: textType, links: undefined };
  if (result instanceof Uint8Array) {
    const body = Buffer.isBuffer(result) ? result : Buffer.from(result.buffer, result.byteOffset, result.byteLength);
    return { body, type: bytesType, links: undefined };
  }
  const text = JSON.stringify(result) as string | undefined;
  if (text === undefined) return undefined;
  if (target.validateResponse) {
    const errors = target.validateResponse(JSON.parse(text), text.length);
    if (errors) throw httpErrors.create("MILLRACE_HTTP_RESPONSE_INVALID", { route: target.endpoint.route, errors });
  }
  return { body: text, type: jsonType, links: target.orderBy && pageLinks(url, result) };
}

/** Answers with what a handler returned. Does nothing when the request has been answered already. */
export function sendResult(exchange: Exchange, result: unknown): void {
  const { reply, target } = exchange;
  if (exchange.answered || reply.sent) {
    if (result instanceof Readable) result.destroy();
    exchange.answered = true;
    return;
  }
  try {
    const { status, auth } = target!.endpoint;
    if (status !== 200 && reply.statusCode === 200) reply.code(status);
    if (result instanceof Readable) return sendStream(exchange, result);
    if (reply.statusCode === 204 || reply.statusCode === 304) return sendNothing(exchange);
    const rendered = renderResult(target!, exchange.request.url, result);
    if (!rendered) return sendNothing(exchange);
    if (rendered.links !== undefined) reply.header("link", rendered.links);
    if (auth && rendered.type === jsonType && !reply.hasHeader("cache-control")) reply.header("cache-control", "no-store"); // somebody's own data
    sendBody(exchange, rendered.body, rendered.type);
  } catch (error) {
    sendFailure(exchange, error);
  }
}

export function sendNothing(exchange: Exchange): void {
  exchange.answer();
  const { reply } = exchange;
  // For a HEAD Fastify would claim a length of 0, which is not that of the GET: a stream has none.
  if (reply.statusCode !== 200 && exchange.request.method === "HEAD") reply.send(Readable.from([]));
  else reply.send();
}

/** Links to the neighbouring pages, with the rest of the query as it was asked. */
function pageLinks(url: string, result: unknown): string | undefined {
  const { page } = result as { page?: { next?: string | null; previous?: string | null } };
  if (!page?.next && !page?.previous) return undefined;
  const path = pathOf(url);
  const others = new URLSearchParams(url.slice(path.length));
  const linkTo = (cursor: string, rel: string): string => {
    others.set("cursor", cursor);
    return `<${path}?${others.toString()}>; rel="${rel}"`;
  };
  const links = [...(page.next ? [linkTo(page.next, "next")] : []), ...(page.previous ? [linkTo(page.previous, "prev")] : [])];
  return links.join(", ");
}

/** Names in `header`, which is a list, and `more`, each once. "*" stays alone. */
export function addVary(header: string, more: string): string {
  if (header === "*" || more === "*") return "*";
  const names = new Map(
    [...header.split(","), ...more.split(",")]
      .map((name) => name.trim())
      .flatMap((name) => (name ? [[name.toLowerCase(), name]] : [])),
  );
  return [...names.values()].join(", ");
}

/** How the body is to be encoded: undefined when this answer is never encoded, whoever asks. */
function codingOf(exchange: Exchange, type: string): Negotiated | undefined {
  const { reply } = exchange;
  if (!exchange.target!.endpoint.compress || !isCompressible(type) || reply.hasHeader("content-encoding")) return undefined;
  const cacheControl = reply.getHeader("cache-control");
  if (typeof cacheControl === "string" && cacheControl.includes("no-transform")) return undefined;
  const vary = reply.getHeader("vary");
  reply.header("vary", vary === undefined ? "accept-encoding" : addVary(String(vary), "accept-encoding"));
  return negotiateCoding(exchange.request.headers["accept-encoding"]);
}

/** Sends a whole body, encoded when that is worth it. */
function sendBody(exchange: Exchange, body: string | Buffer, defaultType: string): void {
  const { reply } = exchange;
  let type = reply.getHeader("content-type");
  if (type === undefined) reply.header("content-type", (type = defaultType));
  const negotiated = codingOf(exchange, String(type));
  if (
    !negotiated ||
    negotiated.coding === "identity" ||
    (body.length < compressionDefaults.minBytes && !negotiated.identityRefused)
  ) {
    return sendBytes(exchange, body);
  }
  const { coding } = negotiated;
  if (body.length <= compressionDefaults.asyncBytes) {
    const encoded = encodeNow(coding, body);
    reply.header("content-encoding", coding);
    return sendBytes(exchange, encoded);
  }
  encodeElsewhere(coding, body).then(
    (encoded) => {
      if (exchange.answered) return;
      reply.header("content-encoding", coding);
      sendBytes(exchange, encoded);
    },
    (error: unknown) => sendFailure(exchange, error),
  );
}

export function sendBytes(exchange: Exchange, bytes: string | Buffer): void {
  exchange.answer();
  exchange.sent = bytes;
  exchange.reply.send(bytes);
}

/**
 * Pipes a stream. Its failure before the first byte is a problem; after it the connection is destroyed, so that the answer cannot
 * look complete. The client's leaving destroys the stream, and the deadline does unless the stream is an export.
 */
function sendStream(exchange: Exchange, source: Readable): void {
  const { reply } = exchange;
  exchange.answer();
  const { contentType } = source as { contentType?: unknown };
  let type = reply.getHeader("content-type");
  if (type === undefined) reply.header("content-type", (type = typeof contentType === "string" ? contentType : bytesType));
  const negotiated = codingOf(exchange, String(type));
  if (exchange.request.method === "HEAD") {
    source.on("error", () => {}).destroy();
    reply.send(Readable.from([])); // a stream, so that no length is claimed
    return;
  }
  exchange.countOnSocket();
  source.once("error", () => void (exchange.cut = true));
  // An export hears of the deadline itself: NDJSON then ends with a line that says why.
  if (!isExportStream(source)) exchange.deadline.onAbort((reason) => source.destroy(reason as Error));
  if (!negotiated || negotiated.coding === "identity") {
    reply.send(source);
    return;
  }
  reply.header("content-encoding", negotiated.coding);
  reply.removeHeader("content-length");
  reply.send(encodeStream(negotiated.coding, source));
}

/** What described the answer that is not sent. */
const staleHeaders = [
  "content-encoding",
  "content-disposition",
  "content-length",
  "content-language",
  "etag",
  "last-modified",
  "link",
  "accept-ranges",
  "set-cookie",
  "connection",
];

/** Answers with the problem that `error` is. Does nothing when the request has been answered already. */
export function sendFailure(exchange: Exchange, error: unknown): void {
  const { reply } = exchange;
  if (exchange.answered || reply.sent) return;
  sendProblem(exchange, error);
}

/** As sendFailure(), also when a stream was about to be the answer but failed before its first byte. */
export function sendProblem(exchange: Exchange, error: unknown): void {
  exchange.cut = false;
  const failure = failureOf(error);
  logFailure(exchange, error, failure.status);
  sendFailureDocument(exchange, failure);
}

/** Answers with a failure that is known already. */
export function sendFailureDocument(exchange: Exchange, failure: Failure): void {
  const { reply, request, requestId } = exchange;
  for (const name of staleHeaders) if (reply.hasHeader(name)) reply.removeHeader(name);
  if (failure.headers) reply.headers(failure.headers);
  exchange.answer();
  const { responseCache } = exchange.kit;
  if (responseCache && !reply.hasHeader("cache-status")) reply.header("cache-status", responseCache.refused);
  reply.header("cache-control", "no-store"); // 404, 405 and 410 are cacheable by default (RFC 9110 § 15.1)
  reply.header("content-type", "application/problem+json");
  const body = Buffer.from(JSON.stringify(problemDocument(failure, pathOf(request.url), requestId)));
  exchange.sent = body;
  reply.code(failure.status).send(body);
}

const isPassing = (status: number): boolean => status === 503 || status === 504;

/** The client learns nothing of a fault; the log has all of it, under the same request id. Of several failures the worst decides how. */
function logFailure(exchange: Exchange, error: unknown, status: number): void {
  const { requestId, kit } = exchange;
  const failures = failuresIn(error);
  const statuses = failures.length === 1 ? [status] : failures.map((failure) => failureOf(failure).status);
  if (statuses.some((each) => each >= 500 && !isPassing(each))) {
    kit.log.error({ requestId, status, err: error }, "request failed");
  } else if (statuses.some(isPassing)) {
    const reasons = failures.map((failure) => {
      const { code, message, cause } = failure as { code?: string; message?: string; cause?: unknown };
      return { code, reason: message, ...(cause instanceof Error && { cause: cause.message }) };
    });
    kit.log.warn({ requestId, status, ...reasons[0], ...(reasons.length > 1 && { more: reasons.slice(1) }) }, "request not served");
  }
}
