// The request's parts as the endpoint declares them, or every mistake in them at once. See docs/endpoints.md.

import type { IncomingHttpHeaders } from "node:http";
import type { FastifyRequest } from "fastify";
import type { CompiledEndpoint } from "../compile.ts";
import { httpErrors } from "../errors.ts";
import type { FieldError } from "../problem.ts";
import { readQuery } from "./query-string.ts";

/** Where the parts go: an Exchange, or a fill of the cache. */
export interface RequestInput {
  params: Record<string, unknown>;
  query: Record<string, unknown>;
  headers: IncomingHttpHeaders | Record<string, unknown>;
  body: unknown;
}

/** The path of a URL, without its query. */
export function pathOf(url: string): string {
  const question = url.indexOf("?");
  return question === -1 ? url : url.slice(0, question);
}

/** Anything outside of printable ASCII in a URL is a byte that should have been percent-encoded. */
const unencoded = /[^\x21-\x7e]/;

/**
 * Reads `request` into `input` as `target` declares it.
 * @throws MILLRACE_HTTP_URL_INVALID, MILLRACE_HTTP_REQUEST_INVALID
 */
export function readInput(request: FastifyRequest, target: CompiledEndpoint, input: RequestInput): void {
  const { url } = request;
  if (unencoded.test(url))
    throw httpErrors.create("MILLRACE_HTTP_URL_INVALID", { reason: "it has characters that are not percent-encoded" });
  const errors: FieldError[] = [];

  if (target.params) input.params = target.params.readRecord(request.params as Record<string, string>, errors);

  const question = url.indexOf("?");
  if (target.query || question !== -1)
    input.query = readQuery(question === -1 ? "" : url.slice(question + 1), target.query, errors);
  if (target.orderBy) {
    // What db.page() needs beside the client's part; not enumerable, so that the query is still what the client asked.
    Object.defineProperty(input.query, "orderBy", { value: target.orderBy });
    Object.defineProperty(input.query, "scope", { value: pathOf(url) });
  }

  if (target.headers) input.headers = target.headers.readRecord(request.headers, errors);

  if (!target.multipartLimits) readBody(request, target, input, errors);

  if (errors.length > 0) throw httpErrors.create("MILLRACE_HTTP_REQUEST_INVALID", { errors });
}

function readBody(request: FastifyRequest, target: CompiledEndpoint, input: RequestInput, errors: FieldError[]): void {
  const { validateBody: check } = target;
  const { body } = request;
  if (!check) {
    if (body !== undefined) errors.push({ in: "body", field: "", message: "is not expected here" });
    return;
  }
  if (body === undefined) {
    errors.push({ in: "body", field: "", message: "is required" });
    return;
  }
  input.body = body;
  const found = check(body, Number(request.headers["content-length"] ?? Infinity));
  if (found) errors.push(...found);
}
