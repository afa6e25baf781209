// What arrives on a connection and is no HTTP, or too slow, or too large to be a request: answered by hand, for there is no
// request that could be. See docs/http-safety.md.

import { STATUS_CODES, type IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { httpErrors } from "./errors.ts";
import { failureOf, problemDocument } from "./problem-table.ts";
import { newRequestId } from "./request-id.ts";

const errorOf = (code: string | undefined): Error => {
  switch (code) {
    case "HPE_HEADER_OVERFLOW":
      return httpErrors.create("MILLRACE_HTTP_HEADERS_TOO_LARGE", {});
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return httpErrors.create("MILLRACE_HTTP_REQUEST_TIMEOUT", {});
    default:
      return httpErrors.create("MILLRACE_HTTP_MESSAGE_INVALID", {});
  }
};

/** For Fastify's `clientErrorHandler`. `cacheStatus`: what the app's cache, if it has one, says of a request that is none. */
export function answerClientError(error: NodeJS.ErrnoException, socket: Socket, cacheStatus: string | undefined): void {
  // Node keeps the response that is being written here; a second head inside of it would be read as its body.
  const { _httpMessage: current } = socket as { _httpMessage?: { _header?: unknown; req?: IncomingMessage } };
  if (error.code === "ECONNRESET" || !socket.writable || current?._header) {
    socket.destroy();
    return;
  }
  const requestId = newRequestId();
  const failure = failureOf(errorOf(error.code));
  const body = JSON.stringify(problemDocument(failure, undefined, requestId));
  const head = [
    `HTTP/1.1 ${failure.status} ${STATUS_CODES[failure.status]}`,
    "content-type: application/problem+json",
    `content-length: ${Buffer.byteLength(body)}`,
    `x-request-id: ${requestId}`,
    "x-content-type-options: nosniff",
    "cache-control: no-store",
    ...(cacheStatus === undefined ? [] : [`cache-status: ${cacheStatus}`]),
    "connection: close",
  ];
  socket.end(`${head.join("\r\n")}\r\n\r\n${body}`, () => socket.destroy());
}
