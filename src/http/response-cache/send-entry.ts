// A kept answer on the ordinary way, through the framework: conditions, ranges and codings (RFC 9110 §§ 8.4, 13 and 14). See
// docs/response-cache.md.
//
// | asked with, in this order             | answered with                                                              |
// | ------------------------------------- | -------------------------------------------------------------------------- |
// | If-None-Match that names a tag of it  | 304, before any body is looked at                                          |
// | If-Modified-Since, without the former | 304, if Last-Modified is not later                                         |
// | Range, without If-Range               | 206 of the body as it is, or 416                                           |
// | Range, If-Range with a tag of it      | 206 of exactly those bytes                                                 |
// | several ranges, or any other If-Range | all of it                                                                  |
// | anything else                         | all of it, in the best coding that stands                                  |

import type { FastifyReply } from "fastify";
import { addVary, sendBytes, sendFailure, sendFailureDocument, sendNothing } from "../answer.ts";
import { type Negotiated, negotiateCoding } from "../compression/negotiate.ts";
import { httpErrors } from "../errors.ts";
import type { Exchange } from "../exchange.ts";
import { rangeIn } from "./byte-range.ts";
import type { AnswerOutcome, ResponseEntry, StoredHeader } from "./entry.ts";
import { describesBody } from "./head.ts";
import { type Variant, codingOf } from "./variants.ts";

/** Sends an entry's bytes, or says that the client has them already. A promise: they have to be encoded first; it does not reject. */
export function sendEntry(
  exchange: Exchange,
  entry: ResponseEntry,
  { state, stored, ageMs }: Pick<AnswerOutcome, "state" | "stored" | "ageMs">,
  cdnHeaders: readonly StoredHeader[] = [],
): void | Promise<void> {
  const { reply, request } = exchange;
  if (exchange.answered || reply.sent) return;
  const again = state === "hit" || state === "stale";
  // What its handler took from another cache was old already when it was made.
  if (again || entry.age > 0) reply.header("age", entry.age + Math.floor(ageMs / 1_000));
  putHeaders(reply, entry);
  for (const { name, values } of cdnHeaders) reply.header(name, values[0]);
  if (entry.failure) return sendFailureDocument(exchange, entry.failure);
  reply.code(entry.status);
  const { variants } = entry;
  if (variants.identity.etag === undefined) return sendNothing(exchange);

  const { "accept-encoding": acceptEncoding, "if-none-match": ifNoneMatch, range } = request.headers;
  const negotiated = negotiateCoding(acceptEncoding);
  const known =
    ifNoneMatch !== undefined
      ? variants.known(negotiated, ifNoneMatch)
      : isUnmodified(request.headers["if-modified-since"], entry.header("last-modified"))
        ? (variants.now(negotiated, again) ?? variants.identity).etag
        : undefined;
  if (known !== undefined) {
    for (const name of describesBody) reply.removeHeader(name);
    reply.header("etag", known).code(304);
    return sendNothing(exchange);
  }
  reply.header("accept-ranges", "bytes");
  if (range !== undefined && entry.status === 200 && request.method === "GET") {
    const ranged = rangedVariant(exchange, entry, negotiated);
    if (ranged !== undefined && sendRange(exchange, ranged, range)) return;
  }
  const variant = again || stored ? (variants.now(negotiated, again) ?? variants.made(negotiated)) : variants.once(negotiated);
  if (!(variant instanceof Promise)) return sendVariant(exchange, variant);
  return variant.then(
    (made) => {
      if (!exchange.answered) sendVariant(exchange, made);
    },
    (error: unknown) => sendFailure(exchange, error),
  );
}

/** RFC 9110 § 13.1.3. Dates that are none say nothing. */
const isUnmodified = (since: string | undefined, lastModified: string | undefined): boolean =>
  since !== undefined && lastModified !== undefined && Date.parse(lastModified) <= Date.parse(since);

function putHeaders(reply: FastifyReply, entry: ResponseEntry): void {
  for (const { name, values } of entry.headers) {
    if (values.length === 0) reply.removeHeader(name);
    // Of a cache that the handler has asked: the nearest to the client stands last.
    else if (name === "cache-status") reply.header(name, `${values.join(", ")}, ${String(reply.getHeader(name))}`);
    else reply.header(name, values.length === 1 ? values[0] : [...values]);
  }
  if (entry.vary === "") return;
  const outer = reply.getHeader("vary"); // a plugin's, CORS for one
  reply.header("vary", outer === undefined ? entry.vary : addVary(String(outer), entry.vary));
}

function describe(reply: FastifyReply, { name, etag }: Variant): void {
  const coding = codingOf(name);
  if (coding !== "identity") reply.header("content-encoding", coding);
  if (etag !== undefined) reply.header("etag", etag);
}

function sendVariant(exchange: Exchange, variant: Variant): void {
  describe(exchange.reply, variant);
  sendBytes(exchange, variant.body);
}

/** Of which bytes a range is wanted; undefined: the whole is to be sent. */
function rangedVariant(exchange: Exchange, { variants }: ResponseEntry, negotiated: Negotiated): Variant | undefined {
  const ifRange = exchange.request.headers["if-range"];
  // Ranges of an encoded body are of use only to who has a part of it, and says so by its tag.
  if (ifRange === undefined) return negotiated.identityRefused ? undefined : variants.identity;
  if (typeof ifRange !== "string" || ifRange.startsWith("W/")) return undefined;
  const found = variants.byEtag(ifRange, negotiated);
  return found?.name === "identity" && negotiated.identityRefused ? undefined : found;
}

/** False: the header asks for nothing that is sent as a range. */
function sendRange(exchange: Exchange, variant: Variant, header: string): boolean {
  const { reply } = exchange;
  const { length } = variant.body;
  const range = rangeIn(header, length);
  if (range === undefined) return false;
  if (range === "unsatisfiable") {
    sendFailure(exchange, httpErrors.create("MILLRACE_HTTP_RANGE_UNSATISFIABLE", { contentRange: `bytes */${length}` }));
    return true;
  }
  const { first, last } = range;
  describe(reply, variant);
  reply.header("content-range", `bytes ${first}-${last}/${length}`).code(206);
  sendBytes(exchange, variant.body.subarray(first, last + 1));
  return true;
}
