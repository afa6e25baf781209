// What the rules are asked about: requests and answers, without their bodies.

import { Fields } from "./fields.ts";
import { type Directives, parseDirectives } from "./directives.ts";

/** The head of a request. */
export interface RequestHead {
  /** In upper case. */
  readonly method: string;
  /** As the client sees it, absolute. */
  readonly url: string;
  readonly fields: Fields;
}

/** The head of an answer, and when it was asked for and came. */
export interface ResponseHead {
  readonly status: number;
  /** What is left of them beyond the connection: see endToEnd(). */
  readonly fields: Fields;
  /** Wall-clock time in milliseconds, when the request was sent and when the head had come. */
  readonly requestTimeMs: number;
  readonly responseTimeMs: number;
}

/** The directives of a request's Cache-Control. Pragma is not heeded (RFC 9111 § 5.4). */
export const requestDirectives = (request: RequestHead): Directives => parseDirectives(request.fields.lines("cache-control"));
