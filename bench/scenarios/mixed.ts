// Nine hits and one miss in ten, on the same connections, in no order: what the kit's two ways cost when they alternate.

import { rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { wrkResult } from "../harness/load.ts";
import type { BenchOptions } from "../harness/options.ts";
import { type Samples, interleave, printComparison } from "../harness/rounds.ts";
import { type ServerUnderTest, startNodePeer } from "../harness/server.ts";

const connections = 64;

/** Requests per second over 64 connections; one request in ten has a query that nobody has asked before. */
export async function run({ rounds = 5, seconds, only, profileDir }: BenchOptions): Promise<unknown> {
  await using cleanUp = new AsyncDisposableStack();
  const script = join(tmpdir(), `millrace-bench-mixed-${process.pid}.lua`);
  await writeFile(
    script,
    `math.randomseed(os.time())
request = function()
  if math.random(1, 10) == 1 then return wrk.format("GET", "/list?n=" .. math.random(1, 1000000000)) end
  return wrk.format("GET", "/list")
end
`,
  );
  cleanUp.defer(() => rm(script));
  const starts: Record<string, () => Promise<ServerUnderTest>> = {
    millrace: () => startNodePeer("cached-millrace.ts", ["lane"], profileDir),
    "millrace without fast lane": () => startNodePeer("cached-millrace.ts", ["no-lane"], profileDir),
    "Fastify stack + lru-cache": () => startNodePeer("cached-fastify.ts", ["lru"]),
    "Fastify stack + bentocache": () => startNodePeer("cached-fastify.ts", ["bento"]),
    "Fastify stack + lru-cache + compress": () => startNodePeer("cached-fastify.ts", ["lru+compress"]),
  };
  const headers = ["accept-encoding: gzip"];
  const candidates = [];
  const micros: Samples[] = [];
  const p99: Samples[] = [];
  for (const [name, start] of Object.entries(starts)) {
    if (only && !only.includes(name)) continue;
    const server = cleanUp.use(await start());
    await wrkResult(server.origin, { seconds: 2, connections, script, headers });
    const values: number[] = [];
    const late: number[] = [];
    micros.push({ name, values });
    p99.push({ name, values: late });
    candidates.push({
      name,
      async measure() {
        const before = await server.cpuSeconds();
        const { perSecond, p99Ms } = await wrkResult(server.origin, { seconds, connections, script, headers });
        values.push((((await server.cpuSeconds()) - before) * 1e6) / (perSecond * seconds));
        late.push(p99Ms);
        return perSecond;
      },
    });
  }
  const samples = await interleave(candidates, rounds);
  const baselines = ["Fastify stack + lru-cache"];
  printComparison("requests/s", samples, baselines);
  printComparison("µs/request", micros, baselines);
  printComparison("p99, ms", p99, baselines);
  return { requestsPerSecond: samples, microsPerRequest: micros, p99Ms: p99 };
}
