// What docs/proxy.md shows.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createProxy, proxyRequestChannel } from "../../src/proxy/index.ts";
import { send } from "../http/client.ts";
import { createWorld } from "./origin.ts";

test("the page's example", async () => {
  await using world = await createWorld();
  world.script("/x", { headers: { "Cache-Control": "max-age=60" } });
  const origin = world.originUrl;
  const heard: string[] = [];
  // #region api
  await using proxy = createProxy({ to: origin, maxBytes: 256 * 2 ** 20, staleIfError: "10m" });
  const { url } = await proxy.listen({ port: 0 });

  using _log = proxyRequestChannel.subscribe(({ path, cacheStatus }) => heard.push(`${path} ${cacheStatus}`));
  // #endregion
  await send(`${url}/x`);
  assert.match((await send(`${url}/x`)).text, /body/);
  assert.match(heard[0]!, /^\/x millrace; fwd=uri-miss; stored; ttl=\d+$/);
});
