// A cached list of 20 KB, asked for again and again: what a hit costs, against a file in nginx and what people assemble.

import { execFile, spawn } from "node:child_process";
import { access, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { Agent, get } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { wrkResult } from "../harness/load.ts";
import { nginxProgram, startNginx } from "../harness/nginx.ts";
import type { BenchOptions } from "../harness/options.ts";
import { type Samples, interleave, printComparison, printTable } from "../harness/rounds.ts";
import { type ServerUnderTest, startNodePeer, startPythonPeer } from "../harness/server.ts";
import { places } from "../peers/cached-list.ts";

const connections = 64;
const idleConnections = 1_000;
const entries = 800;
const headers = ["accept-encoding: gzip"];

/** As the kit sends them: nginx shall write as much. */
const securityHeaders = [
  ["x-content-type-options", "nosniff"],
  ["content-security-policy", "default-src 'none'; frame-ancestors 'none'"],
  ["referrer-policy", "no-referrer"],
] as const;

/** The others have one list, whatever they are asked. */
const keepsEntries = (name: string): boolean => name.startsWith("millrace") || name.startsWith("Fastify");

const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

async function fastApiIsThere(): Promise<boolean> {
  try {
    await promisify(execFile)("/usr/bin/python3", ["-c", "import fastapi, redis.asyncio, uvicorn, uvloop, httptools"]);
    if (await isThere("/usr/bin/redis-server")) return true;
  } catch {
    // said below
  }
  console.log(
    "FastAPI is left out. To compare with it: apt-get install python3-fastapi python3-redis uvicorn python3-uvloop python3-httptools redis-server",
  );
  return false;
}

/** FastAPI on core 0 with a Redis beside it, which may use both: it is part of what a hit costs there. */
async function startFastApi(directory: string): Promise<ServerUnderTest> {
  const socket = join(directory, "redis.sock");
  const redis = spawn("/usr/bin/redis-server", ["--port", "0", "--unixsocket", socket, "--save", "", "--dir", directory], {
    stdio: "ignore",
  });
  for (let i = 0; i < 500 && !(await isThere(socket)); i++) await pause(20);
  const server = await startPythonPeer("cached_fastapi.py", [socket, join(directory, "root", "list")]);
  return {
    ...server,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      redis.kill();
    },
  };
}

/** What a connection that has asked once and stays open costs the server, in bytes. */
async function perIdleConnection(server: ServerUnderTest): Promise<number> {
  const { hostname, port } = new URL(server.origin);
  const before = await server.residentBytes();
  const sockets = Array.from({ length: idleConnections }, () => connect(Number(port), hostname));
  await Promise.all(
    sockets.map(
      (socket) =>
        new Promise((resolve, reject) => {
          socket.once("data", resolve).once("error", reject);
          socket.on("data", () => {}); // the rest of the body
          socket.write("GET /list HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n");
        }),
    ),
  );
  await pause(500);
  const bytes = ((await server.residentBytes()) - before) / idleConnections;
  for (const socket of sockets) socket.destroy();
  return bytes;
}

/** Asks for `count` lists that differ, each three times: made, hit, and hit in the encoded form. */
async function fill(server: ServerUnderTest, count: number, first: number): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 8 });
  const ask = (n: number): Promise<void> =>
    new Promise((resolve, reject) => {
      get(`${server.origin}/list?n=${n}`, { agent, headers: { "accept-encoding": "gzip" } }, (response) => {
        response.resume().once("end", resolve);
      }).once("error", reject);
    });
  for (let round = 0; round < 3; round++) {
    for (let n = 0; n < count; n += 8) await Promise.all(Array.from({ length: 8 }, (_, i) => ask(first + n + i)));
  }
  agent.destroy();
}

/** What another kept list costs the server, in bytes. */
async function perEntry(server: ServerUnderTest): Promise<number> {
  await fill(server, entries, 1);
  const before = await server.residentBytes();
  await fill(server, entries, 1 + entries);
  return ((await server.residentBytes()) - before) / entries;
}

/** Requests per second over 64 connections, latency at p99, the server's own processor time per answer, and memory per idle connection. */
export async function run({ rounds = 5, seconds, only, profileDir }: BenchOptions): Promise<unknown> {
  await using cleanUp = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), "millrace-bench-hit-"));
  cleanUp.defer(() => rm(directory, { recursive: true, force: true }));
  const root = join(directory, "root");
  await mkdir(root);
  const body = JSON.stringify(places());
  await writeFile(join(root, "list"), body);
  await writeFile(join(root, "list.gz"), gzipSync(body));
  console.log(`The list has ${body.length} bytes, ${gzipSync(body).length} compressed.`);

  const starts: Record<string, () => Promise<ServerUnderTest>> = {
    millrace: () => startNodePeer("cached-millrace.ts", ["lane"], profileDir),
    "millrace without fast lane": () => startNodePeer("cached-millrace.ts", ["no-lane"], profileDir),
    "node:http + buffer": () => startNodePeer("cached-bare.ts", []),
    "Fastify stack + lru-cache": () => startNodePeer("cached-fastify.ts", ["lru"]),
    "Fastify stack + lru-cache + compress": () => startNodePeer("cached-fastify.ts", ["lru+compress"]),
    "Fastify stack + bentocache": () => startNodePeer("cached-fastify.ts", ["bento"]),
    "Fastify stack + bentocache + compress": () => startNodePeer("cached-fastify.ts", ["bento+compress"]),
  };
  if (await isThere(nginxProgram)) starts["nginx gzip_static"] = () => startNginx(join(directory, "nginx"), root, securityHeaders);
  else console.log("nginx is left out. To compare with it: apt-get install nginx");
  if (await fastApiIsThere()) starts["FastAPI + Redis"] = () => startFastApi(directory);

  const candidates = [];
  const micros: Samples[] = [];
  const p99: Samples[] = [];
  const memory: { readonly name: string; readonly idle: number; readonly entry: number | undefined }[] = [];
  for (const [name, start] of Object.entries(starts)) {
    if (only && !only.includes(name)) continue;
    const server = cleanUp.use(await start());
    const url = `${server.origin}/list`;
    await wrkResult(url, { seconds: 2, connections, headers }); // compiled code, open connections, encoded variants
    const answer = await fetch(url, { headers: { "accept-encoding": "gzip" } });
    if ((await answer.text()) !== body) throw new Error(`${name} answers something else.`);
    const idle = await perIdleConnection(server);
    memory.push({ name, idle, entry: keepsEntries(name) ? await perEntry(server) : undefined });
    const values: number[] = [];
    const late: number[] = [];
    micros.push({ name, values });
    p99.push({ name, values: late });
    candidates.push({
      name,
      async measure() {
        const before = await server.cpuSeconds();
        const { perSecond, p99Ms } = await wrkResult(url, { seconds, connections, headers });
        values.push((((await server.cpuSeconds()) - before) * 1e6) / (perSecond * seconds));
        late.push(p99Ms);
        return perSecond;
      },
    });
  }
  const samples = await interleave(candidates, rounds);
  const baselines = ["nginx gzip_static", "Fastify stack + lru-cache", "Fastify stack + lru-cache + compress"];
  printComparison("requests/s", samples, baselines);
  console.log("\nProcessor time of the server process per request, which other work on the machine disturbs less:\n");
  printComparison("µs/request", micros, baselines);
  console.log();
  printComparison("p99, ms", p99, baselines.slice(0, 1));
  console.log();
  printTable(
    ["resident, KiB", "per idle connection", "per kept list"],
    memory.map(({ name, idle, entry }) => [
      name,
      (idle / 1_024).toFixed(1),
      entry === undefined ? "–" : (entry / 1_024).toFixed(1),
    ]),
  );
  return { requestsPerSecond: samples, microsPerRequest: micros, p99Ms: p99, residentBytes: memory };
}
