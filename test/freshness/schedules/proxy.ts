// A TCP relay on loopback that stands between a process and a server, to be stalled or cut: nothing is lost in a stall, everything in a cut.

import { once } from "node:events";
import { type AddressInfo, type NetConnectOpts, type Socket, connect, createServer } from "node:net";

export interface Proxy extends AsyncDisposable {
  readonly port: number;
  /** Connections that stand now. */
  readonly connections: number;
  /** Bytes wait on the way, in both directions; new connections are taken and hear nothing. */
  stall(): void;
  /** What has waited goes on. */
  resume(): void;
  /** Every connection is reset. New ones are refused until restore(). */
  cut(): void;
  restore(): void;
}

let leaving = false;

/**
 * Node 24 may wait for ever, and busily, when it ends by itself: its clean-up of handles never hears of one that was reset. Ending on purpose
 * leaves that out. Nothing is cut off: the loop is empty, and what was written has been written.
 */
function endOnPurpose(): void {
  if (leaving) return;
  leaving = true;
  process.once("beforeExit", () => process.exit());
}

/** Starts a relay to `target`. */
export async function startProxy(target: NetConnectOpts): Promise<Proxy> {
  endOnPurpose();
  const pairs = new Set<readonly [client: Socket, server: Socket]>();
  let stalled = false;
  let refusing = false;

  const server = createServer((client) => {
    client.on("error", () => {});
    if (refusing) {
      client.resetAndDestroy();
      return;
    }
    const upstream = connect(target);
    upstream.on("error", () => client.destroy());
    const pair = [client, upstream] as const;
    pairs.add(pair);
    for (const [from, to] of [pair, [upstream, client] as const]) {
      from.setNoDelay(true);
      from.on("data", (chunk: Buffer) => {
        if (!to.destroyed && !to.write(chunk)) from.pause();
      });
      to.on("drain", () => {
        if (!stalled) from.resume();
      });
      from.on("close", () => {
        pairs.delete(pair);
        to.destroy();
      });
      if (stalled) from.pause();
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");

  const each = (act: (socket: Socket) => void): void => {
    for (const pair of pairs) for (const socket of pair) act(socket);
  };
  const reset = (): void => {
    for (const [client, upstream] of pairs) {
      client.resetAndDestroy();
      upstream.destroy(); // may be a Unix socket, which knows no reset
    }
  };
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return pairs.size;
    },
    stall() {
      stalled = true;
      each((socket) => socket.pause());
    },
    resume() {
      stalled = false;
      each((socket) => socket.resume());
    },
    cut() {
      refusing = true;
      reset();
    },
    restore() {
      refusing = false;
    },
    async [Symbol.asyncDispose]() {
      reset();
      server.close();
      await once(server, "close");
    },
  };
}
