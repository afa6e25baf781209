// Fastify as it is assembled for production: limits, security headers, metrics and load shedding by its plugins, and a cache in the handler.
// The first argument: "plain" (no plugins, no cache), "policies" (security headers, load shedding and request ids, no cache), or "lru" or "bento", with "+compress" for answers that are compressed by the plugin.

import { randomUUID } from "node:crypto";
import { createRequire } from "node:module";
import { BentoCache, bentostore } from "bentocache";
import { memoryDriver } from "bentocache/drivers/memory";
import Fastify from "fastify";
import { LRUCache } from "lru-cache";
import { places } from "./cached-list.ts";

const [kind, port] = process.argv.slice(2);
const app = Fastify({ logger: false, ...(kind === "policies" && { genReqId: () => randomUUID() }) });
const numberOf = (text: string | undefined): number => (text === undefined ? 0 : Number(text));

const isCached = kind !== "plain" && kind !== "policies";

const require = createRequire(import.meta.url); // CommonJS, with types that nodenext does not follow
const plugin = (name: string): never => (require(name) as { default: never }).default;
if (kind !== "plain") {
  await app.register(plugin("@fastify/helmet"));
  await app.register(plugin("@fastify/under-pressure"), { maxEventLoopDelay: 60_000 } as never);
}
if (kind === "policies") {
  app.addHook("onRequest", (request, reply, done) => {
    reply.header("x-request-id", request.id);
    done();
  });
}
if (isCached) {
  await app.register(plugin("@fastify/rate-limit"), { max: 1e9, timeWindow: "1 minute" } as never);
  await app.register(plugin("fastify-metrics"), { endpoint: "/metrics" } as never);
  if (kind!.endsWith("+compress")) await app.register(plugin("@fastify/compress"), { encodings: ["gzip"] } as never);
}

const lru = new LRUCache<string, string>({ max: 10_000, ttl: 3_600_000 });
const bento = new BentoCache({ default: "memory", stores: { memory: bentostore().useL1Layer(memoryDriver({ maxSize: "64mb" })) } });

app.get<{ Querystring: { n?: string } }>("/list", async (request, reply) => {
  const { url, query } = request;
  const make = (): string => JSON.stringify(places(numberOf(query.n)));
  reply.type("application/json; charset=utf-8");
  if (!isCached) return make();
  if (kind!.startsWith("bento")) return bento.getOrSet({ key: url, ttl: "1h", factory: make });
  let body = lru.get(url);
  if (body === undefined) lru.set(url, (body = make()));
  return body;
});
app.get<{ Querystring: { n?: string } }>("/uncached", (request, reply) => {
  reply.type("application/json; charset=utf-8").send(JSON.stringify(places(numberOf(request.query.n))));
});
app.get("/tiny", (_request, reply) => {
  reply.send({ hello: "world" });
});
await app.listen({ port: Number(port), host: "127.0.0.1" });
