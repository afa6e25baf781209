// A million rows of about 230 bytes as NDJSON over HTTP.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { benchDatabase } from "../harness/database.ts";
import { download } from "../harness/load.ts";
import type { BenchOptions } from "../harness/options.ts";
import { type Samples, interleave, median, printComparison, printTable } from "../harness/rounds.ts";
import { type ServerUnderTest, startNodePeer, startPythonPeer } from "../harness/server.ts";

/**
 * The types of measurements; row_to_json makes 219 bytes of a row on average. No numeric: orjson takes Decimal only through a
 * Python function, which would be a comparison with that function.
 */
const seed = (rows: number): string[] => [
  `create table observations as
    select i as id, i % 138398 + 1 as city_id, timestamptz '2024-01-01 00:00:00+00' + i * interval '37 seconds' as observed_at,
      round((15 + 10 * sin(i / 1000.0))::numeric, 1)::float8 as temperature, 40 + i % 60 as humidity, (1000 + i % 500 / 10.0)::float8 as pressure,
      i % 7 = 0 as verified, 'station-' || i % 5000 as station,
      case when i % 11 > 0 then 'light "rain" with some wind from the west ' || i end as note
    from generate_series(1, ${rows}) as i`,
  "vacuum (analyze, freeze) observations",
  "checkpoint",
];

/** asyncpg does not take a socket directory from every form of URL; it always does from `host`. */
const pythonUrl = (url: string): string => {
  const { searchParams, username, password, pathname, hostname, port } = new URL(url);
  const host = searchParams.get("host") ?? hostname;
  const query = new URLSearchParams({ host, user: username || (searchParams.get("user") ?? "postgres") });
  if (password) query.set("password", password);
  const given = searchParams.get("port") ?? port;
  if (given) query.set("port", given);
  return `postgresql://${pathname}?${query.toString()}`;
};

async function pythonIsThere(): Promise<boolean> {
  try {
    await promisify(execFile)("/usr/bin/python3", ["-c", "import fastapi, asyncpg, uvicorn, uvloop, httptools"]);
    return true;
  } catch {
    console.log(
      "FastAPI is left out. To compare with it: apt-get install python3-fastapi python3-asyncpg uvicorn python3-uvloop python3-httptools python3-rapidjson",
    );
    return false;
  }
}

/** Rows per second of each peer, and how much its memory grew beyond its idle size. */
export async function run({ rounds = 5, rows = 1_000_000, only, profileDir }: BenchOptions): Promise<unknown> {
  await using database = await benchDatabase(seed(rows));
  const starts: Record<string, () => Promise<ServerUnderTest>> = {
    "bare COPY of row_to_json": () => startNodePeer("export-copy.ts", [database.url]),
    "pg-query-stream": () => startNodePeer("export-query-stream.ts", [database.url]),
    millrace: () => startNodePeer("export-millrace.ts", [database.url], profileDir),
  };
  if (await pythonIsThere()) starts["FastAPI + asyncpg"] = () => startPythonPeer("export_fastapi.py", [pythonUrl(database.url)]);

  await using servers = new AsyncDisposableStack();
  const memory = new Map<string, number[]>();
  const cpu = new Map<string, number[]>();
  const candidates = [];
  for (const [name, start] of Object.entries(starts)) {
    if (only && !only.includes(name)) continue;
    const server = servers.use(await start());
    if (name.startsWith("FastAPI")) console.log(`FastAPI encodes with ${await (await fetch(`${server.origin}/library`)).text()}.`);
    const url = `${server.origin}/export`;
    memory.set(name, []);
    cpu.set(name, []);
    const idleBytes = await server.residentBytes();
    await download(url); // compiled code, warm buffers; what the process grows by from here on counts as well
    candidates.push({
      name,
      async measure() {
        await server.resetPeak();
        const before = await server.cpuSeconds();
        const { seconds, bytes } = await download(url);
        if (bytes < rows * 150) throw new Error(`${name} sent only ${bytes} bytes.`);
        memory.get(name)!.push(((await server.peakBytes()) - idleBytes) / 2 ** 20);
        cpu.get(name)!.push((await server.cpuSeconds()) - before);
        return rows / seconds;
      },
    });
  }
  const samples: Samples[] = await interleave(candidates, rounds);
  printComparison("rows/s", samples, ["bare COPY of row_to_json", "FastAPI + asyncpg"]);
  console.log();
  printTable(
    ["", "memory above idle, MiB (median, max)", "processor seconds of the server (median)"],
    samples.map(({ name }) => {
      const grown = memory.get(name)!;
      return [name, `${median(grown).toFixed(1)}, ${Math.max(...grown).toFixed(1)}`, median(cpu.get(name)!).toFixed(2)];
    }),
  );
  return { rowsPerSecond: samples, memoryMiB: Object.fromEntries(memory), cpuSeconds: Object.fromEntries(cpu) };
}
