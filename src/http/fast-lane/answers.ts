// What stands between the fast lane, which reads and writes bytes on a connection, and the response cache, which knows the answers. The lane
// never decides what is fresh or for whom it is; the answers know nothing of sockets.

/** A complete, well-formed GET of HTTP/1.1, without a body, as the lane has read it. Valid during find() only: the lane may use it again. */
export interface FastRequest {
  /** The request-target as it was spelled, in origin form: "/cities?limit=3". */
  readonly target: string;
  /** Values of headers as they came, without white space around; undefined: the request has none. */
  readonly acceptEncoding: string | undefined;
  readonly ifNoneMatch: string | undefined;
  /** X-Request-Id. Answered with when it has the form of an id, otherwise there is a new one. */
  readonly requestId: string | undefined;
  /**
   * Any other header by its name in lower case, for endpoints whose answers differ by it. undefined: the request has none. A request with a header
   * that the lane does not know, or one that comes twice, does not get here.
   */
  header(name: string): string | undefined;
}

/** An answer, ready to be written: first the head, then the body, nothing in between and nothing after it. */
export interface FastAnswer {
  /** 200, 203, 204 or 304. */
  readonly status: number;
  /** Exactly so long is the head, the empty line included. */
  readonly headBytes: number;
  /** Empty for 204 and 304. Belongs to the cache: never written into, and good for as long as somebody holds it. */
  readonly body: Buffer;
  /**
   * Copies the head into `into` from `at` on and returns its end. The head is that of this moment (Date, Age): write it at once. Costs a copy:
   * nothing is formatted more than once a second.
   * @throws RangeError when there is no room for `headBytes`
   */
  copyHead(into: Buffer, at: number): number;
  /**
   * Counts and logs the answer. Call it exactly once, when the last byte has gone to the kernel, or when the client has left before: then with
   * `complete` false. Nobody needs to wait for it, but an answer that is never reported is an answer that no log has.
   */
  sent(complete: boolean): void;
}

/**
 * The answers that may be sent without asking the framework.
 *
 * find() is synchronous and never fills: it gives an answer only if the ordinary way would send the same bytes now, for the same reasons,
 * without running anything of the user's. Everything else is undefined, and the request goes the ordinary way, which also makes its target known
 * to find(). In particular it is undefined
 *
 * - for every target that the ordinary way has not answered from the cache before, and for endpoints with `auth`;
 * - for routes with hooks of the user's or of other plugins, and on servers with routes that look at more than the path (constraints);
 * - when the entry is gone, written to, past its time, near its end, or cannot be judged;
 * - while the server drains, and while diagnostics of node:http or Fastify are listened to, which would not see the request.
 *
 * It does not look at what a FastRequest cannot say. The lane must leave to the ordinary way every request with another method or version, with a
 * body, with `Connection` other than keep-alive, and with any of: Authorization, Proxy-Authorization, Cookie, Range, If-Range, If-Match,
 * If-Modified-Since, If-Unmodified-Since, Freshness-Token, Expect, Upgrade, TE, Accept-Version.
 *
 * The head says `Connection: keep-alive` and `Keep-Alive`, as node:http would on this server; so a server with `maxRequestsPerSocket` has no lane.
 */
export interface FastAnswers {
  find(request: FastRequest): FastAnswer | undefined;
}
