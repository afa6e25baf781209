// Redis for tests: Debian's redis-server in a directory of its own, on a free port of loopback and on a socket.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Cluster, type ClusterOptions, Redis } from "ioredis";
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

/** Sends each command on a connection of its own. */
function commandsTo(port: number, password?: string): TestRedis["command"] {
  return async (name, ...args) => {
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
}

const isPong = (command: TestRedis["command"]): Promise<boolean> =>
  command("ping").then(
    () => true,
    () => false,
  );

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
  const command = commandsTo(port, password);
  const server = await serverProcess({
    program,
    args: (directory) => [
      "--dir",
      directory,
      "--unixsocket",
      socketIn(directory),
      ...Object.entries(all).flatMap(([name, value]) => [`--${name}`, value]),
    ],
    answers: () => isPong(command),
  });
  const socket = socketIn(server.directory);
  return Object.defineProperties(server, {
    url: { value: `redis://127.0.0.1:${port}` },
    port: { value: port },
    socket: { value: socket },
    command: { value: command },
  }) as TestRedis;
}

/** Starts a Sentinel that watches `primary` under the name "main", and may decide alone. */
export async function testSentinel(primary: TestRedis): Promise<ServerProcess & Pick<TestRedis, "port" | "command">> {
  const program = await debianPackage("redis-server", "redis-server");
  const port = await freePort();
  const command = commandsTo(port);
  const server = await serverProcess({
    program,
    args(directory) {
      // It keeps what it learns in its configuration, and so wants a file.
      const file = join(directory, "sentinel.conf");
      const watched = `sentinel monitor main 127.0.0.1 ${primary.port} 1\nsentinel down-after-milliseconds main 500`;
      writeFileSync(file, `bind 127.0.0.1\nport ${port}\n${watched}\n`);
      return [file, "--sentinel"];
    },
    answers: () => isPong(command),
  });
  return Object.defineProperties(server, { port: { value: port }, command: { value: command } }) as Awaited<
    ReturnType<typeof testSentinel>
  >;
}

/** The slots of a cluster; every key is in one. */
const slotCount = 16_384;

export interface TestRedisCluster extends AsyncDisposable {
  readonly nodes: readonly TestRedis[];
  /** A client that knows one of them, and asks it for the others. */
  client(options?: ClusterOptions): Cluster & Disposable;
  /** The node that has the slot of `key`. */
  ownerOf(key: string): Promise<TestRedis>;
  /** Moves the slot of `key` and what is in it to another node, as a resharding does. Resolves with the new owner. */
  moveSlotOf(key: string): Promise<TestRedis>;
}

/** A cluster of three nodes, each with a third of the slots. A node that is away costs its slots only. */
export async function testRedisCluster(): Promise<TestRedisCluster> {
  const settings = {
    "cluster-enabled": "yes",
    "cluster-announce-ip": "127.0.0.1",
    "cluster-require-full-coverage": "no",
    "cluster-node-timeout": "60000",
  };
  const nodes = await Promise.all([1, 2, 3].map(() => testRedis({ settings })));
  const first = nodes[0]!;
  const bounds = nodes.map((_, i) => Math.floor((i * slotCount) / nodes.length)).concat(slotCount);
  for (const [i, node] of nodes.entries()) {
    // Different epochs from the start, or the nodes spend seconds on agreeing.
    await node.command("cluster", "set-config-epoch", i + 1);
    await node.command("cluster", "addslotsrange", bounds[i]!, bounds[i + 1]! - 1);
    if (node !== first) await node.command("cluster", "meet", "127.0.0.1", first.port);
  }
  const knows = async (node: TestRedis): Promise<boolean> => {
    const info = String(await node.command("cluster", "info"));
    return info.includes("cluster_state:ok") && info.includes(`cluster_slots_assigned:${slotCount}`);
  };
  for (const node of nodes) while (!(await knows(node))) await sleep(20);

  const ids = new Map(await Promise.all(nodes.map(async (node) => [node, String(await node.command("cluster", "myid"))] as const)));
  const anyNode = (): TestRedis => nodes.find((node) => node.running)!;
  const slotOf = async (key: string): Promise<number> => Number(await anyNode().command("cluster", "keyslot", key));
  const ownerOfSlot = async (slot: number): Promise<TestRedis> => {
    const ranges = (await anyNode().command("cluster", "slots")) as readonly (readonly [
      number,
      number,
      readonly [string, number],
    ])[];
    const [, , [, port]] = ranges.find(([from, to]) => from <= slot && slot <= to)!;
    return nodes.find((node) => node.port === port)!;
  };
  return {
    nodes,
    client(options) {
      const client = new Cluster([{ host: "127.0.0.1", port: first.port }], options);
      client.on("error", () => {});
      return Object.assign(client, { [Symbol.dispose]: () => client.disconnect() });
    },
    ownerOf: async (key) => ownerOfSlot(await slotOf(key)),
    async moveSlotOf(key) {
      const slot = await slotOf(key);
      const from = await ownerOfSlot(slot);
      const to = nodes[(nodes.indexOf(from) + 1) % nodes.length]!;
      await to.command("cluster", "setslot", slot, "importing", ids.get(from)!);
      await from.command("cluster", "setslot", slot, "migrating", ids.get(to)!);
      const keys = (await from.command("cluster", "getkeysinslot", slot, 1_000)) as readonly string[];
      if (keys.length > 0) await from.command("migrate", "127.0.0.1", to.port, "", 0, 10_000, "keys", ...keys);
      for (const node of [to, from, ...nodes]) await node.command("cluster", "setslot", slot, "node", ids.get(to)!);
      return to;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(nodes.map((node) => node[Symbol.asyncDispose]()));
    },
  };
}
