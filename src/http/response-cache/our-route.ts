// Whether a route runs nothing but what the kit has put there. What is answered before the framework passes every hook by: one that refuses, one
// that adds a header, one that counts. So only routes without any take the short ways, and whatever cannot be made out takes the ordinary one.

import type { FastifyRequest } from "fastify";

/** What Fastify runs around a handler, by its own names. `onError` is missing: a hit is no error. */
const hooks = [
  "preParsing",
  "preValidation",
  "preHandler",
  "preSerialization",
  "onSend",
  "onResponse",
  "onTimeout",
  "onRequestAbort",
] as const;

type RouteContext = Readonly<Partial<Record<(typeof hooks)[number] | "onRequest", unknown>>>;

/** Fastify keeps what it has put together for a route under a symbol that it does not export. Without it nothing is ours. */
function contextOf(request: FastifyRequest): RouteContext | undefined {
  for (let at: object | null = request; at !== null; at = Object.getPrototypeOf(at) as object | null) {
    const symbol = Object.getOwnPropertySymbols(at).find(({ description }) => description === "fastify.context");
    if (symbol !== undefined) return (request as unknown as Record<symbol, RouteContext | undefined>)[symbol];
  }
  return undefined;
}

/**
 * Whether nothing but the kit's one onRequest hook runs for the route of `request`, hooks of all enclosing plugins included. Fastify takes no
 * hooks once it is ready, so the answer holds for good.
 */
export function isOurs(request: FastifyRequest): boolean {
  const context = contextOf(request);
  if (context === undefined) return false;
  // Fastify has all of them on every context, null or a list: one without is another version's.
  if (!Array.isArray(context.onRequest) || context.onRequest.length !== 1) return false;
  return hooks.every((hook) => context[hook] === null);
}
