// Many connections to one server with the fast lane: idle ones, and busy ones with hits, misses, uploads and exports in turns. Not a measurement of
// speed: it fails when one answer is not the right one, and says what a connection costs in memory.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Conversation, get } from "../../test/http/fast-lane/conversation.ts";
import { itemOf } from "../../test/http/fast-lane/lane-app.ts";
import { hot, talk } from "../../test/http/fast-lane/traffic.ts";
import type { BenchOptions } from "../harness/options.ts";
import { printTable } from "../harness/rounds.ts";

const idleConnections = 10_000;
const busyConnections = 1_000;
const requestsEach = 100;
/** Connections are made so many at a time: more overflow the queue of a listener. */
const atOnce = 200;

const program = fileURLToPath(new URL("../../test/http/fixtures/lane-server.ts", import.meta.url));

const residentBytes = async (pid: number): Promise<number> =>
  Number(/VmRSS:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, "utf8"))![1]) * 1_024;

/** A connection on which three hits have been answered: by the handler, by the ordinary way, by the lane. */
async function idleConnection(port: number, id: number): Promise<Conversation> {
  const client = await Conversation.begin(port);
  for (let i = 0; i < 3; i++) await ask(client, id);
  return client;
}

async function ask(client: Conversation, id: number): Promise<void> {
  const { body } = await client.ask(get(`/items/${id % hot}`));
  if (body !== JSON.stringify(itemOf(id % hot))) throw new Error(`another answer than item ${id % hot}: ${body.slice(0, 200)}`);
}

export async function run({ operations = busyConnections * requestsEach, seed = 1 }: BenchOptions): Promise<unknown> {
  const child = spawn(process.execPath, ["--conditions=millrace-source", program], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(child, "exit");
  try {
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const port = Number(new URL(String((await lines.next()).value)).port);
    for (let i = 0; i < 20; i++) (await idleConnection(port, i))[Symbol.dispose](); // compiled code, filled entries
    await talk(port, 200, seed);

    const before = await residentBytes(child.pid!);
    const idle: Conversation[] = [];
    while (idle.length < idleConnections) {
      idle.push(...(await Promise.all(Array.from({ length: atOnce }, (_, i) => idleConnection(port, idle.length + i)))));
      process.stderr.write(`\r\x1b[K${idle.length.toLocaleString("en")} connections`);
    }
    const perConnection = ((await residentBytes(child.pid!)) - before) / idle.length;

    // The busy ones while all the idle ones are there.
    const startedMs = performance.now();
    const each = Math.ceil(operations / busyConnections);
    let done = 0;
    await Promise.all(
      Array.from({ length: busyConnections }, async (_, i) => {
        await talk(port, each, seed + 1 + i);
        process.stderr.write(`\r\x1b[K${++done} of ${busyConnections} busy connections are through`);
      }),
    );
    const seconds = (performance.now() - startedMs) / 1_000;
    for (const [i, client] of idle.entries()) await ask(client, i);

    child.kill("SIGTERM");
    for (const client of idle) if ((await client.rest()) !== "") throw new Error("an idle connection has got something");
    const counts = JSON.parse(String((await lines.next()).value)) as Record<string, number>;
    const [code] = (await ended) as [number | null];
    if (code !== 0) throw new Error(`the server ended with ${code}`);
    process.stderr.write("\r\x1b[K");
    printTable(
      [
        "idle connections",
        "KiB each",
        "busy connections",
        "answers checked",
        "seconds",
        "answered by the lane",
        "connections taken",
        "passed on",
      ],
      [
        [
          idle.length,
          Math.round(perConnection / 102.4) / 10,
          busyConnections,
          each * busyConnections,
          Math.round(seconds),
          counts["answered"]!,
          counts["connections"]!,
          counts["passed"]!,
        ].map((n) => n.toLocaleString("en")),
      ],
    );
    return {
      idleConnections,
      bytesPerConnection: perConnection,
      busyConnections,
      answers: each * busyConnections,
      seconds,
      counts,
    };
  } finally {
    child.kill("SIGKILL");
    await ended;
  }
}
