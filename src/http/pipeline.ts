// What happens to a request, top to bottom. The order is fixed and the same for every endpoint:
//
//   admit → identify → limit │ cache → deadline → validate → handler → encode → store
//                            └ the body is read here, after the request is known to be welcome
//
// admit comes with overload control, limit with rate limits; both have their places marked below, and hits that are answered before all this
// (response-cache/at-hand.ts) pass through them, too, once they are there. cache stands behind the hooks of other
// plugins: one that refuses a request must be asked for a cached answer, too. See docs/endpoints.md and docs/response-cache.md.

import { currentContext, runInContext } from "../concurrency/index.ts";
import { sendFailure, sendResult } from "./answer.ts";
import type { Endpoint } from "./endpoint.ts";
import type { Exchange } from "./exchange.ts";
import { consult } from "./response-cache/consult.ts";
import { withToken } from "./response-cache/tokens.ts";
import { readInput } from "./validation/request-input.ts";

/** The stages before the body is read. Calls `next` in the request's context when the request may go on; else it is answered. */
export function arrive(exchange: Exchange, next: () => void): void {
  // admit
  const auth = exchange.target!.endpoint.auth;
  if (auth) runInContext(exchange, () => identify(exchange, auth, next));
  // limit
  else runInContext(exchange, next);
}

/** The stages from the body on. Runs in the request's context. */
export function work(exchange: Exchange): void {
  // A hook of another plugin may have lost the context on the way.
  if (currentContext() !== exchange) return runInContext(exchange, () => work(exchange));

  const { target, kit } = exchange;
  // cache … store: around the handler, which runs only when it has to
  if (kit.responseCache && target!.endpoint.method === "GET") consult(exchange, kit.responseCache, handle);
  else handle(exchange);
}

/** The stages from the deadline on, without the cache. */
function handle(exchange: Exchange): void {
  const { request, target } = exchange;
  // deadline
  if (request.body !== undefined) exchange.restartDeadline();

  let result: unknown;
  try {
    readInput(request, target!, exchange); // validate
    result = (target!.endpoint.handler as (input: Exchange) => unknown)(exchange);
  } catch (error) {
    return refuse(exchange, error);
  }
  if (isThenable(result)) settle(exchange, result);
  else answer(exchange, result); // encode
}

/** Everything that wrote says so, failures too: part of it may have been committed. */
function answer(exchange: Exchange, result: unknown): void {
  if (exchange.kit.tokens) withToken(exchange, exchange, () => sendResult(exchange, result));
  else sendResult(exchange, result);
}

function refuse(exchange: Exchange, error: unknown): void {
  if (exchange.kit.tokens) withToken(exchange, exchange, () => sendFailure(exchange, error));
  else sendFailure(exchange, error);
}

function identify(exchange: Exchange, auth: NonNullable<Endpoint["auth"]>, next: () => void): void {
  const accept = (principal: unknown): void => {
    exchange.principal = principal;
    exchange.principalId = auth.principalId(principal);
    if (auth.tenantId) exchange.tenant = auth.tenantId(principal);
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

/** Waits for an asynchronous handler, as long as the deadline allows. */
function settle(exchange: Exchange, result: PromiseLike<unknown>): void {
  const forget = exchange.deadline.onAbort((reason) => sendFailure(exchange, reason));
  result.then(
    (value) => {
      forget();
      answer(exchange, value); // encode
    },
    (error: unknown) => {
      forget();
      refuse(exchange, error);
    },
  );
}
