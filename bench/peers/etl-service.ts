// An API that has a large file to process beside its requests: it answers small ones, tells how late its event loop was while a file was
// processed, and how much memory that took. Its argument is who processes it.

import { once } from "node:events";
import { createReadStream, createWriteStream } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { availableParallelism } from "node:os";
import { createHistogram, monitorEventLoopDelay } from "node:perf_hooks";
import { pipeline } from "node:stream/promises";
import { Worker } from "node:worker_threads";
import { DuckDBInstance } from "@duckdb/node-api";
import { parse } from "csv-parse";
import polars from "nodejs-polars";
import { etl, sql } from "../../src/index.ts";

const [, , candidate, input, output] = process.argv as unknown as [string, string, string, string, string];

const columns = {
  date: "TIMESTAMP",
  delay: "INTEGER",
  distance: "INTEGER",
  origin: "VARCHAR NOT NULL",
  destination: "VARCHAR NOT NULL",
};
const result = { date: "TIMESTAMP", route: "VARCHAR", delay: "INTEGER", km: "DOUBLE" };

interface Done {
  /** Of a process of its own. */
  readonly otherBytes: number;
  readonly otherCpuMs: number;
}

type Transform = Parameters<typeof etl>[0]["transform"];

async function withEtl(transform: NonNullable<Transform>): Promise<Done> {
  const { peakMemoryBytes, cpuMs } = await etl({
    source: { file: input, format: "csv", columns },
    transform,
    target: { file: output, format: "csv" },
  });
  return { otherBytes: peakMemoryBytes, otherCpuMs: cpuMs };
}

const duckdbCopy = `
  copy (
    select date, origin || '-' || destination as route, delay, distance::double * 1.609 as km
    from read_csv('${input}', columns = {date: 'TIMESTAMP', delay: 'INTEGER', distance: 'INTEGER', origin: 'VARCHAR', destination: 'VARCHAR'})
    where delay >= 0
  ) to '${output}' (format csv)`;

/** The same rows from the delayed flights, in each one's own way. */
const candidates: Readonly<Record<string, () => Promise<Done>>> = {
  "nothing to do": async () => {
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    return { otherBytes: 0, otherCpuMs: 0 };
  },
  "millrace SQL": () =>
    withEtl(sql`
      select date, origin || '-' || destination as route, delay, distance::double * 1.609 as km from input where delay >= 0`),
  "millrace generator": () => withEtl({ module: new URL("./etl-flights.ts", import.meta.url), name: "delayed", columns: result }),
  "csv-parse": async () => {
    await pipeline(
      createReadStream(input),
      parse({ columns: true }),
      async function* (records: AsyncIterable<Readonly<Record<string, string>>>) {
        yield "date,route,delay,km\n";
        for await (const { date, delay, distance, origin, destination } of records) {
          if (delay === "" || Number(delay) < 0) continue;
          yield `${date},${origin}-${destination},${delay},${Number(distance) * 1.609}\n`;
        }
      },
      createWriteStream(output),
    );
    return { otherBytes: 0, otherCpuMs: 0 };
  },
  "DuckDB in the service": async () => {
    const connection = await (await DuckDBInstance.create(":memory:", { memory_limit: "512MB" })).connect();
    await connection.run(duckdbCopy);
    return { otherBytes: 0, otherCpuMs: 0 };
  },
  // As many threads of the engine as millrace gives it, and the same SQL: what is left is thread or process.
  "DuckDB in a worker thread": async () => {
    const program = `
      const { workerData } = require("node:worker_threads");
      const { DuckDBInstance } = require("@duckdb/node-api");
      (async () => {
        const limits = { memory_limit: "512MB", threads: workerData.threads };
        const connection = await (await DuckDBInstance.create(":memory:", limits)).connect();
        await connection.run(workerData.statement);
      })();`;
    const threads = String(Math.max(1, availableParallelism() - 1));
    const worker = new Worker(program, { eval: true, workerData: { statement: duckdbCopy, threads } });
    const [code] = (await once(worker, "exit")) as [number];
    if (code !== 0) throw new Error(`The worker thread ended with ${code}.`);
    return { otherBytes: 0, otherCpuMs: 0 };
  },
  polars: async () => {
    const { col, concatString } = polars;
    const delayed = polars
      .scanCSV(input)
      .filter(col("delay").gtEq(0))
      .select(
        col("date"),
        concatString([col("origin"), col("destination")], "-").alias("route"),
        col("delay"),
        col("distance").mul(1.609).alias("km"),
      );
    await delayed.sinkCSV(output).collect();
    return { otherBytes: 0, otherCpuMs: 0 };
  },
};

const server = createServer((_request, response) => {
  const answer = JSON.stringify({ cities: Array.from({ length: 20 }, (_, id) => ({ id, name: `city ${id}` })) });
  response.setHeader("content-type", "application/json").end(answer);
});

const everyMs = 5;

process.once("message", () => {
  void (async () => {
    const lag = createHistogram();
    let dueMs = performance.now() + everyMs;
    let peak = process.memoryUsage.rss();
    const before = peak;
    const timer = setInterval(() => {
      const nowMs = performance.now();
      lag.record(Math.max(1, Math.round((nowMs - dueMs) * 1000)));
      dueMs = nowMs + everyMs;
    }, everyMs);
    const delay = monitorEventLoopDelay({ resolution: everyMs }); // the same by Node's own means
    delay.enable();
    const memory = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), 100);
    const startedMs = performance.now();
    const cpu = process.cpuUsage();
    const { otherBytes, otherCpuMs } = await candidates[candidate]!();
    const seconds = (performance.now() - startedMs) / 1000;
    const { user, system } = process.cpuUsage(cpu);
    clearInterval(timer);
    clearInterval(memory);
    delay.disable();
    peak = Math.max(peak, process.memoryUsage.rss());
    process.send!({
      seconds,
      cpuSeconds: (user + system) / 1e6 + otherCpuMs / 1000,
      lagP50: lag.percentile(50) / 1000,
      lagP99: lag.percentile(99) / 1000,
      lagMax: lag.max / 1000,
      delayP99: Math.max(0, delay.percentile(99) / 1e6 - everyMs),
      grewMb: (peak - before) / 2 ** 20,
      otherMb: otherBytes / 2 ** 20,
    });
  })();
});

server.listen(0, "127.0.0.1", () => process.send!({ port: (server.address() as AddressInfo).port }));
