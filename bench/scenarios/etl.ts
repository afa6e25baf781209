// Three million flights from CSV to CSV, filtered and computed, inside of a service that answers requests meanwhile: how long it takes,
// how late the event loop is, and how much memory. The load is 200 requests a second, at their times whether answered or not.

import { fork } from "node:child_process";
import { once } from "node:events";
import { createReadStream, existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createHistogram } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { etl, sql } from "../../src/index.ts";
import type { BenchOptions } from "../harness/options.ts";
import { median, printTable } from "../harness/rounds.ts";

const requestsPerSecond = 200;
const idle = "nothing to do";
const names = [
  idle,
  "millrace SQL",
  "millrace generator",
  "csv-parse",
  "DuckDB in the service",
  "DuckDB in a worker thread",
  "polars",
];
const flights = fileURLToPath(new URL("../node_modules/vega-datasets/data/flights-3m.parquet", import.meta.url));

interface Measured {
  readonly seconds: number;
  readonly cpuSeconds: number;
  /** Of the result. */
  readonly rows: number;
  readonly lagP50: number;
  readonly lagP99: number;
  readonly lagMax: number;
  /** Of monitorEventLoopDelay(). */
  readonly delayP99: number;
  readonly grewMb: number;
  readonly otherMb: number;
}

/** Loads the server until stopped; milliseconds from when a request was due to its answer. */
function load(port: number) {
  const latency = createHistogram();
  let due = performance.now();
  const timer = setInterval(() => {
    for (const nowMs = performance.now(); due < nowMs; due += 1000 / requestsPerSecond) {
      const dueMs = due;
      get({ port, host: "127.0.0.1" }, (response) => {
        response.resume().once("end", () => latency.record(Math.max(1, Math.round((performance.now() - dueMs) * 1000))));
      }).on("error", () => {});
    }
  }, 5);
  return () => {
    clearInterval(timer);
    return latency.percentile(99) / 1000;
  };
}

async function linesOf(file: string): Promise<number> {
  let lines = 0;
  for await (const chunk of createReadStream(file) as AsyncIterable<Buffer>)
    for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, at + 1)) lines++;
  return lines;
}

async function measure(candidate: string, input: string, output: string): Promise<Measured & { readonly p99: number }> {
  const service = fork(fileURLToPath(new URL("../peers/etl-service.ts", import.meta.url)), [candidate, input, output]);
  try {
    const [{ port }] = (await once(service, "message")) as [{ port: number }];
    const stop = load(port);
    service.send("begin");
    const [measured] = (await once(service, "message")) as [Measured];
    return { ...measured, rows: candidate === idle ? 0 : await linesOf(output), p99: stop() };
  } finally {
    service.kill("SIGKILL");
  }
}

export async function run({ rounds = 3, only, rows }: BenchOptions): Promise<unknown> {
  if (!existsSync(flights)) throw new Error("vega-datasets is not installed: npm install in bench/.");
  const directory = await mkdtemp(join(tmpdir(), "millrace-bench-etl-"));
  try {
    const input = join(directory, "flights.csv");
    const { bytesWritten, rowsWritten } = await etl({
      source: { file: flights, format: "parquet" },
      transform: sql`select * from input order by _line limit ${rows ?? 3_000_000}`,
      target: { file: input, format: "csv" },
    });
    console.log(
      `${rowsWritten} rows, ${(bytesWritten / 1e6).toFixed(0)} MB of CSV; ${requestsPerSecond} requests per second meanwhile`,
    );
    const results = new Map<string, Awaited<ReturnType<typeof measure>>[]>();
    for (let round = 1; round <= rounds; round++) {
      for (const name of names.filter((name) => only?.includes(name) ?? true)) {
        process.stderr.write(`\r\x1b[Kround ${round} of ${rounds}: ${name}`);
        results.set(name, [...(results.get(name) ?? []), await measure(name, input, join(directory, "out.csv"))]);
      }
    }
    process.stderr.write("\r\x1b[K");
    const counts = [...results].flatMap(([name, all]) => (name === idle ? [] : all.map(({ rows }) => rows)));
    if (new Set(counts).size > 1) throw new Error(`The candidates disagree: ${counts.join(", ")} lines.`);
    const middle = (all: readonly Measured[], what: (one: Measured & { p99: number }) => number) =>
      median((all as readonly (Measured & { p99: number })[]).map(what));
    printTable(
      [
        "",
        "seconds",
        "CPU, s",
        "loop late by, ms: p50",
        "p99",
        "max",
        "Node's own p99",
        "answer p99, ms",
        "service grew, MB",
        "other process, MB",
      ],
      [...results].map(([name, all]) => [
        name,
        middle(all, ({ seconds }) => seconds).toFixed(1),
        middle(all, ({ cpuSeconds }) => cpuSeconds).toFixed(1),
        middle(all, ({ lagP50 }) => lagP50).toFixed(2),
        middle(all, ({ lagP99 }) => lagP99).toFixed(1),
        Math.max(...all.map(({ lagMax }) => lagMax)).toFixed(0),
        middle(all, ({ delayP99 }) => delayP99).toFixed(1),
        middle(all, ({ p99 }) => p99).toFixed(1),
        middle(all, ({ grewMb }) => grewMb).toFixed(0),
        middle(all, ({ otherMb }) => otherMb).toFixed(0),
      ]),
    );
    return Object.fromEntries(results);
  } finally {
    await rm(directory, { recursive: true });
  }
}
