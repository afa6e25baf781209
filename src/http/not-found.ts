// 404 and 405 as problems: a path that exists with other methods says which (RFC 9110 § 15.5.6).

import type { FastifyReply, FastifyRequest } from "fastify";
import { sendProblem } from "./answer.ts";
import type { Endpoint } from "./endpoint.ts";
import { httpErrors } from "./errors.ts";
import { Exchange, exchangeOf } from "./exchange.ts";
import type { Kit } from "./kit.ts";
import { pathOf } from "./validation/request-input.ts";

/** Which methods each path takes, looked at only when nothing was found. */
function createMethodsOf(endpoints: readonly Endpoint[]): (path: string) => string[] {
  const paths = new Map<string, Set<string>>();
  for (const { path, method } of endpoints) {
    const methods = paths.get(path) ?? new Set();
    methods.add(method);
    if (method === "GET") methods.add("HEAD");
    paths.set(path, methods);
  }
  const patterns = [...paths].map(([path, methods]) => {
    const segments = path.split("/").map((segment) => (segment.startsWith(":") ? "[^/]+" : RegExp.escape(segment)));
    return { pattern: new RegExp(`^${segments.join("/")}$`), methods };
  });
  return (asked) => {
    const found = patterns.filter(({ pattern }) => pattern.test(asked)).flatMap(({ methods }) => [...methods]);
    return [...new Set(found)].toSorted();
  };
}

export function createNotFoundHandler(
  kit: Kit,
  endpoints: readonly Endpoint[],
): (request: FastifyRequest, reply: FastifyReply) => void {
  const methodsOf = createMethodsOf(endpoints);
  return (request, reply) => {
    const exchange = exchangeOf(request) ?? new Exchange(kit, undefined, request, reply);
    const methods = methodsOf(pathOf(request.url));
    // A path that takes this method was refused by the router for another reason, such as a parameter that is too long.
    const error =
      methods.length === 0 || methods.includes(request.method)
        ? httpErrors.create("MILLRACE_HTTP_ROUTE_NOT_FOUND", {})
        : httpErrors.create("MILLRACE_HTTP_METHOD_NOT_ALLOWED", { method: request.method, allow: methods.join(", ") });
    sendProblem(exchange, error);
  };
}
