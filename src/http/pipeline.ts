// What happens to a request, top to bottom. The order is fixed and the same for every endpoint:
//
//   admit → identify → limit → cache │ deadline → validate → handler → encode → store
//                                    └ the body is read here, after the request is known to be welcome
//
// admit comes with overload control, limit with rate limits, cache and store with the response cache; each has its place marked
// below. See docs/endpoints.md.

import { currentContext, runInContext } from "../concurrency/index.ts";
import { sendFailure, sendResult } from "./answer.ts";
import type { Endpoint } from "./endpoint.ts";
import { httpErrors } from "./errors.ts";
import { type Exchange, pathOf } from "./exchange.ts";
import type { FieldError } from "./problem.ts";
import { readQuery } from "./validation/query-string.ts";

/** The stages before the body is read. Calls `next` in the request's context when the request may go on; else it is answered. */
export function arrive(exchange: Exchange, next: () => void): void {
  // admit
  const auth = exchange.target!.endpoint.auth;
  if (auth) runInContext(exchange, () => identify(exchange, auth, next));
  // limit
  // cache
  else runInContext(exchange, next);
}

/** The stages from the body on. Runs in the request's context. */
export function work(exchange: Exchange): void {
  // A hook of another plugin may have lost the context on the way.
  if (currentContext() !== exchange) return runInContext(exchange, () => work(exchange));

  // deadline
  const { request, target } = exchange;
  if (request.body !== undefined) exchange.restartDeadline();

  let result: unknown;
  try {
    validate(exchange);
    result = (target!.endpoint.handler as (input: Exchange) => unknown)(exchange);
  } catch (error) {
    sendFailure(exchange, error);
    return;
  }
  if (isThenable(result)) settle(exchange, result);
  else sendResult(exchange, result); // encode
  // store
}

function identify(exchange: Exchange, auth: NonNullable<Endpoint["auth"]>, next: () => void): void {
  const accept = (principal: unknown): void => {
    exchange.principal = principal;
    exchange.principalId = auth.principalId(principal);
    next();
  };
  try {
    const principal = auth.identify(exchange.request, exchange);
    if (!(principal instanceof Promise)) return accept(principal);
    // The deadline may end first; then the answer is out, and whatever comes later comes too late.
    const forget = exchange.deadline.onAbort((reason) => sendFailure(exchange, reason));
    principal.then(
      (found) => {
        forget();
        if (!exchange.answered) accept(found);
      },
      (error: unknown) => {
        forget();
        sendFailure(exchange, error);
      },
    );
  } catch (error) {
    sendFailure(exchange, error);
  }
}

/** Promises, and what query builders give instead of them. */
const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";

/** Anything outside of printable ASCII in a URL is a byte that should have been percent-encoded. */
const unencoded = /[^\x21-\x7e]/;

function validate(exchange: Exchange): void {
  const { request } = exchange;
  const target = exchange.target!;
  const { url } = request;
  if (unencoded.test(url))
    throw httpErrors.create("MILLRACE_HTTP_URL_INVALID", { reason: "it has characters that are not percent-encoded" });
  const errors: FieldError[] = [];

  if (target.params) exchange.params = target.params.readRecord(request.params as Record<string, string>, errors);

  const question = url.indexOf("?");
  if (target.query || question !== -1)
    exchange.query = readQuery(question === -1 ? "" : url.slice(question + 1), target.query, errors);
  if (target.orderBy) {
    // What db.page() needs beside the client's part; not enumerable, so that the query is still what the client asked.
    Object.defineProperty(exchange.query, "orderBy", { value: target.orderBy });
    Object.defineProperty(exchange.query, "scope", { value: pathOf(url) });
  }

  if (target.headers) exchange.headers = target.headers.readRecord(request.headers, errors);

  if (!target.multipartLimits) validateBody(exchange, errors);

  if (errors.length > 0) throw httpErrors.create("MILLRACE_HTTP_REQUEST_INVALID", { errors });
}

function validateBody(exchange: Exchange, errors: FieldError[]): void {
  const { validateBody: check } = exchange.target!;
  const { body } = exchange.request;
  if (!check) {
    if (body !== undefined) errors.push({ in: "body", field: "", message: "is not expected here" });
    return;
  }
  if (body === undefined) {
    errors.push({ in: "body", field: "", message: "is required" });
    return;
  }
  exchange.body = body;
  const found = check(body, Number(exchange.request.headers["content-length"] ?? Infinity));
  if (found) errors.push(...found);
}

/** Waits for an asynchronous handler, as long as the deadline allows. */
function settle(exchange: Exchange, result: PromiseLike<unknown>): void {
  const forget = exchange.deadline.onAbort((reason) => sendFailure(exchange, reason));
  result.then(
    (value) => {
      forget();
      sendResult(exchange, value); // encode
    },
    (error: unknown) => {
      forget();
      sendFailure(exchange, error);
    },
  );
}
