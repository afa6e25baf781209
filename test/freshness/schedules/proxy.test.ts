// The harness's own network: what waits in a stall arrives, and what is cut is cut.

import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startProxy } from "./proxy.ts";

/** A server that sends back what it gets. */
async function echo() {
  const server = createServer((socket) => void socket.on("error", () => {}).pipe(socket)).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, "close");
    },
  };
}

test("a stall holds bytes back and loses none", async () => {
  await using server = await echo();
  await using proxy = await startProxy({ host: "127.0.0.1", port: server.port });
  const client = connect(proxy.port, "127.0.0.1").setEncoding("utf8");
  await once(client, "connect");
  client.write("a");
  assert.deepEqual(await once(client, "data"), ["a"]);
  proxy.stall();
  client.write("b");
  const heard = once(client, "data");
  assert.equal(await Promise.race([heard, sleep(50, "nothing")]), "nothing");
  proxy.resume();
  assert.deepEqual(await heard, ["b"]);
  client.destroy();
});

test("a cut ends connections and refuses new ones until it is restored", async () => {
  await using server = await echo();
  await using proxy = await startProxy({ host: "127.0.0.1", port: server.port });
  const client = connect(proxy.port, "127.0.0.1");
  await once(client, "connect");
  client.write("a");
  await once(client, "data");
  const lost = once(client, "error");
  proxy.cut();
  assert.equal(((await lost)[0] as NodeJS.ErrnoException).code, "ECONNRESET");
  const refused = connect(proxy.port, "127.0.0.1");
  await once(refused, "close").catch(() => {});
  assert.equal(proxy.connections, 0);
  proxy.restore();
  const again = connect(proxy.port, "127.0.0.1");
  await once(again, "connect");
  again.write("c");
  await once(again, "data");
  again.destroy();
});
