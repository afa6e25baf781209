// Redis for tests: Debian's redis-server in a directory of its own, on a free port of loopback and on a socket.

import { join } from "node:path";
import { Redis } from "ioredis";
import { debianPackage } from "./debian.ts";
import { type ServerProcess, freePort, serverProcess } from "./server-process.ts";

export interface TestRedis extends ServerProcess {
  /** redis://127.0.0.1:port, the same after a restart. */
  readonly url: string;
  readonly port: number;
  /** The path of its Unix socket. */
  readonly socket: string;
  /** One command on a connection of its own. */
  command(name: string, ...args: readonly (string | number)[]): Promise<unknown>;
}

export interface TestRedisOptions {
  /** redis.conf settings, such as { "cluster-enabled": "yes" }. A setting of "" is passed as an empty text. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Needed when `settings` have requirepass. */
  readonly password?: string;
}

/** Starts a Redis. Without settings it keeps nothing on disk. */
export async function testRedis({ settings = {}, password }: TestRedisOptions = {}): Promise<TestRedis> {
  const program = await debianPackage("redis-server", "redis-server");
  const port = await freePort();
  const all: Readonly<Record<string, string>> = {
    bind: "127.0.0.1",
    port: String(port),
    save: "",
    appendonly: "no",
    "repl-diskless-sync-delay": "0",
    ...settings,
  };
  const socketIn = (directory: string) => join(directory, "redis.sock");
  const command = async (name: string, ...args: readonly (string | number)[]): Promise<unknown> => {
    const client = new Redis({
      port,
      host: "127.0.0.1",
      lazyConnect: true,
      retryStrategy: null,
      ...(password !== undefined && { password }),
    });
    client.on("error", () => {});
    try {
      await client.connect();
      return await client.call(name, ...args);
    } finally {
      client.disconnect();
    }
  };
  const server = await serverProcess({
    program,
    args: (directory) => [
      "--dir",
      directory,
      "--unixsocket",
      socketIn(directory),
      ...Object.entries(all).flatMap(([name, value]) => [`--${name}`, value]),
    ],
    answers: () =>
      command("ping").then(
        () => true,
        () => false,
      ),
  });
  const socket = socketIn(server.directory);
  return Object.defineProperties(server, {
    url: { value: `redis://127.0.0.1:${port}` },
    port: { value: port },
    socket: { value: socket },
    command: { value: command },
  }) as TestRedis;
}

/** A cluster of one node that has all slots. */
export async function testRedisCluster(): Promise<TestRedis> {
  const server = await testRedis({ settings: { "cluster-enabled": "yes", "cluster-announce-ip": "127.0.0.1" } });
  await server.command("cluster", "addslotsrange", 0, 16_383);
  for (;;) {
    if (String(await server.command("cluster", "info")).includes("cluster_state:ok")) return server;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
