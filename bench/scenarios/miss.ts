// Requests that no cache can answer: what the kit, its cache and the fast lane cost those, against plain Fastify.

import { rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { wrk } from "../harness/load.ts";
import type { BenchOptions } from "../harness/options.ts";
import { type Samples, interleave, printComparison } from "../harness/rounds.ts";
import { type ServerUnderTest, startNodePeer } from "../harness/server.ts";

const connections = 64;

/** What is asked for: the route, and whether every request has a query of its own. */
const kinds = {
  "a tiny answer, not cached": { path: "/tiny", differs: false },
  "20 KB of JSON, not cached": { path: "/uncached", differs: true },
  "20 KB of JSON, cached, every request the first": { path: "/list", differs: true },
} as const;

/**
 * Requests per second and processor time of plain Fastify without plugins, of Fastify with plugins for what the kit does to such a request, and of
 * the kit with and without its fast lane.
 */
export async function run({ rounds = 5, seconds, only, profileDir }: BenchOptions): Promise<unknown> {
  await using cleanUp = new AsyncDisposableStack();
  const starts: Record<string, () => Promise<ServerUnderTest>> = {
    Fastify: () => startNodePeer("cached-fastify.ts", ["plain"]),
    "Fastify + helmet, under-pressure, request id": () => startNodePeer("cached-fastify.ts", ["policies"]),
    millrace: () => startNodePeer("cached-millrace.ts", ["lane"], profileDir),
    "millrace without fast lane": () => startNodePeer("cached-millrace.ts", ["no-lane"], profileDir),
  };
  const servers = new Map<string, ServerUnderTest>();
  for (const [name, start] of Object.entries(starts)) {
    if (!only || only.includes(name)) servers.set(name, cleanUp.use(await start()));
  }
  const results: Record<string, unknown> = {};
  for (const [kind, { path, differs }] of Object.entries(kinds)) {
    const script = join(tmpdir(), `millrace-bench-miss-${process.pid}.lua`);
    const target = differs ? `"${path}?n=" .. math.random(1, 1000000000)` : `"${path}"`;
    await writeFile(script, `math.randomseed(os.time())\nrequest = function() return wrk.format("GET", ${target}) end\n`);
    cleanUp.defer(() => rm(script, { force: true }));
    const micros: Samples[] = [];
    const candidates = [];
    for (const [name, server] of servers) {
      await wrk(server.origin, { seconds: 2, connections, script });
      const values: number[] = [];
      micros.push({ name, values });
      candidates.push({
        name,
        async measure() {
          const before = await server.cpuSeconds();
          const perSecond = await wrk(server.origin, { seconds, connections, script });
          values.push((((await server.cpuSeconds()) - before) * 1e6) / (perSecond * seconds));
          return perSecond;
        },
      });
    }
    const samples = await interleave(candidates, rounds);
    console.log(`\n${kind}\n`);
    printComparison("requests/s", samples, ["Fastify"]);
    printComparison("µs/request", micros, ["Fastify"]);
    results[kind] = { requestsPerSecond: samples, microsPerRequest: micros };
  }
  return results;
}
