// A CDN on loopback: keeps what Surrogate-Control allows, under the keys of Surrogate-Key, until it is purged as Fastly is.

import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { send } from "../http/client.ts";

interface Kept {
  readonly body: string;
  readonly keys: readonly string[];
}

export interface CachingCdn extends AsyncDisposable {
  readonly url: string;
  /** What stands under paths now. */
  readonly kept: ReadonlyMap<string, Kept>;
  /** Purges are answered 503. */
  down: boolean;
  /** Waited for between the origin's answer and its being kept. */
  beforeStore: () => Promise<void>;
}

export async function startCachingCdn(origin: () => string): Promise<CachingCdn> {
  const kept = new Map<string, Kept>();
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const path = request.url!;
    if (request.method === "POST") {
      const { surrogate_keys: keys } = JSON.parse(await text(request)) as { surrogate_keys: string[] };
      if (cdn.down) {
        return void response.writeHead(503).end();
      }
      for (const [each, { keys: its }] of kept)
        if (its.some((key) => keys.includes(key))) {
          kept.delete(each);
        }
      return void response.writeHead(200, { "content-type": "application/json" }).end("{}");
    }
    const hit = kept.get(path);
    if (hit) return void response.writeHead(200, { "x-cdn": "hit" }).end(hit.body);
    const fetched = await send(origin() + path);
    await cdn.beforeStore();
    if (/^max-age=[1-9]/.test(String(fetched.headers["surrogate-control"]))) {
      kept.set(path, { body: fetched.text, keys: String(fetched.headers["surrogate-key"]).split(" ") });
    }
    return void response.writeHead(fetched.status, { "x-cdn": "miss" }).end(fetched.text);
  };
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy()); // the origin is gone
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const cdn: CachingCdn = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    kept,
    down: false,
    beforeStore: async () => {},
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return cdn;
}
