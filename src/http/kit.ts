// What every request of one app or plugin shares.

import type { FastifyBaseLogger, FastifyReply } from "fastify";
import type { Database } from "../database/index.ts";
import type { FastLane } from "./fast-lane/fast-lane.ts";
import type { AnswersAtHand } from "./response-cache/at-hand.ts";
import type { ResponseCache } from "./response-cache/consult.ts";
import type { CacheTokens } from "./response-cache/tokens.ts";

export interface Kit {
  readonly database: Database | undefined;
  readonly checkResponses: boolean;
  readonly log: FastifyBaseLogger;
  /** The log goes nowhere: nobody need put a line together. */
  readonly silent: boolean;
  /** On every answer, built once. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Undefined: nothing is cached, and no request pays for it. */
  readonly responseCache: ResponseCache | undefined;
  /** What can be sent without asking the framework; with a cache only. */
  answers: AnswersAtHand | undefined;
  /** Sends them before a request is parsed, on connections that it has been invited to; undefined where there is none. */
  lane: FastLane | undefined;
  readonly tokens: CacheTokens | undefined;
  /** From the first moment of a drain: /readyz fails, and answers close their connections. */
  draining: boolean;
}

/**
 * The headers of every answer. An API's answers are data: a browser must not guess their type, run or frame them, nor tell other
 * sites where it was (OWASP REST Security Cheat Sheet).
 */
export function commonHeaders(strictTransportSecurity: boolean): Kit["headers"] {
  const headers: [string, string][] = [
    ["x-content-type-options", "nosniff"],
    ["content-security-policy", "default-src 'none'; frame-ancestors 'none'"],
    ["referrer-policy", "no-referrer"],
  ];
  // Two years, as the preload list asks for.
  if (strictTransportSecurity) headers.push(["strict-transport-security", "max-age=63072000; includeSubDomains"]);
  return Object.freeze(headers);
}

/** Puts the common headers on an answer that has not begun; whatever the handler sets later wins. */
export function setCommonHeaders(kit: Kit, reply: FastifyReply, requestId: string): void {
  reply.header("x-request-id", requestId);
  const { headers } = kit;
  for (let i = 0; i < headers.length; i++) reply.header(headers[i]![0], headers[i]![1]);
}
