// Millrace with its defaults and a cache. The second argument: "lane" or "no-lane"; miss: a new list for every query.

import { Type } from "typebox";
import { createApp, createCache, endpoint } from "../../src/index.ts";
import { places } from "./cached-list.ts";

const [kind, port] = process.argv.slice(2);
const cache = createCache();
const query = { n: Type.Optional(Type.Integer()) };
const list = endpoint("GET /list", { query, cache: { ttl: "1h" } }, ({ query: { n } }) => places(n));
const uncached = endpoint("GET /uncached", { query, cache: false }, ({ query: { n } }) => places(n));
const tiny = endpoint("GET /tiny", { cache: false }, () => ({ hello: "world" }));
const endpoints = [list, uncached, tiny];

const app = createApp({ endpoints, cache, logger: false, drainDelay: "0s", ...(kind === "no-lane" && { fastLane: false }) });
await app.listen({ port: Number(port), host: "127.0.0.1" });
