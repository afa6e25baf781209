// One row by its id per HTTP request.

import { writeFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { benchDatabase } from "../harness/database.ts";
import { wrk } from "../harness/load.ts";
import type { BenchOptions } from "../harness/options.ts";
import { interleave, printComparison } from "../harness/rounds.ts";
import { type ServerUnderTest, startNodePeer } from "../harness/server.ts";

const connections = 64;

const seed = (rows: number): string[] => [
  `create table cities as
    select i as id, 'City ' || md5(i::text) as name, chr(65 + i % 26) || chr(65 + i / 26 % 26) as country,
      (i % 18000 / 100.0 - 90)::float8 as latitude, (i % 36000 / 100.0 - 180)::float8 as longitude, i * 37 % 1000000 as population
    from generate_series(1, ${rows}) as i`,
  "alter table cities add primary key (id)",
  "vacuum (analyze, freeze) cities",
  "checkpoint",
];

/** Requests per second over 64 connections, each request for a random row. */
export async function run({ rounds = 5, seconds, rows = 138_398, only, profileDir }: BenchOptions): Promise<unknown> {
  await using database = await benchDatabase(seed(rows));
  const script = join(tmpdir(), `millrace-bench-by-id-${process.pid}.lua`);
  await writeFile(script, `request = function() return wrk.format("GET", "/cities/" .. math.random(1, ${rows})) end\n`);
  await using cleanUp = new AsyncDisposableStack();
  cleanUp.defer(() => rm(script));

  const starts: Record<string, () => Promise<ServerUnderTest>> = {
    "node:http + named": () => startNodePeer("by-id-bare.ts", [database.url]),
    "Fastify + unnamed": () => startNodePeer("by-id-fastify.ts", [database.url]),
    millrace: () => startNodePeer("by-id-millrace.ts", [database.url], profileDir),
    "no database": () => startNodePeer("by-id-none.ts", []),
  };
  const candidates = [];
  const micros = new Map<string, number[]>();
  const bodies = new Map<string, string>();
  for (const [name, start] of Object.entries(starts)) {
    if (only && !only.includes(name)) continue;
    const server = cleanUp.use(await start());
    bodies.set(name, await (await fetch(`${server.origin}/cities/4711`)).text());
    await wrk(server.origin, { seconds: 2, connections, script }); // compiled code, open connections, known statements
    micros.set(name, []);
    candidates.push({
      name,
      async measure() {
        const before = await server.cpuSeconds();
        const perSecond = await wrk(server.origin, { seconds, connections, script });
        micros.get(name)!.push((((await server.cpuSeconds()) - before) * 1e6) / (perSecond * seconds));
        return perSecond;
      },
    });
  }
  const different = [...bodies].filter(([name, body]) => name !== "no database" && body !== bodies.values().next().value);
  if (different.length > 0) throw new Error(`Not all answer the same: ${JSON.stringify([...bodies])}`);
  const samples = await interleave(candidates, rounds);
  printComparison("requests/s", samples, ["node:http + named", "Fastify + unnamed"]);
  console.log("\nProcessor time of the server process per request, which other work on the machine disturbs less:\n");
  const used = [...micros].map(([name, values]) => ({ name, values }));
  printComparison("µs/request", used, ["node:http + named", "Fastify + unnamed"]);
  return { requestsPerSecond: samples, microsPerRequest: used };
}
