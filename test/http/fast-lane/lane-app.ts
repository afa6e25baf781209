// An app with a bit of everything, for the tests of the fast lane: what is cached and what is not, uploads, exports.

import { Readable } from "node:stream";
import { Type } from "typebox";
import { createCache } from "../../../src/cache/index.ts";
import { type App, type AppOptions, createApp, endpoint } from "../../../src/http/index.ts";

export const itemOf = (id: number) => ({ id, name: `item ${id}`, text: "x".repeat(2_000 + (id % 7) * 100) });
export const exportLines = 200;
export const lineOf = (n: number): string => `${JSON.stringify({ n, text: "y".repeat(100) })}\n`;

const params = { id: Type.Integer() };

const endpoints = [
  endpoint("GET /items/:id", { params, cache: { ttl: "10m" } }, ({ params: { id } }) => itemOf(id)),
  endpoint("GET /large", { cache: { ttl: "10m" } }, () => ({ text: "z".repeat(300_000) })),
  endpoint("GET /uncached/:id", { params, cache: false }, ({ params: { id } }) => itemOf(id)),
  endpoint("POST /uploads", { body: Type.Object({ text: Type.String() }) }, ({ body: { text } }) => ({
    length: text.length,
    text,
  })),
  endpoint("GET /export", { cache: false }, ({ reply }) => {
    reply.header("content-type", "application/x-ndjson");
    return Readable.from(Array.from({ length: exportLines }, (_, n) => lineOf(n)));
  }),
];

/** The app, not listening. Closing it closes its cache. */
export function laneApp(options: Partial<AppOptions> = {}): App {
  const cache = createCache();
  const app = createApp({ endpoints, cache, logger: false, docs: false, drainDelay: "0s", ...options });
  app.fastify.addHook("onClose", () => cache.close());
  return app;
}
