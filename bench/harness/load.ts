// The two ways to load a server, both on core 1: wrk for many small requests, curl for one large answer.

import { execFile } from "node:child_process";
import { promisify } from "node:util";

const execute = promisify(execFile);

async function onCore1(command: string, args: readonly string[]): Promise<string> {
  try {
    const { stdout } = await execute("taskset", ["-c", "1", command, ...args], { maxBuffer: 1 << 20 });
    return stdout;
  } catch (error) {
    if (/ENOENT|No such file/.test(String(error)))
      throw new Error(`This needs taskset and ${command}: apt-get install util-linux ${command}`, { cause: error });
    throw error;
  }
}

export interface WrkOptions {
  readonly seconds: number;
  readonly connections: number;
  /** A Lua script that makes the requests. */
  readonly script?: string;
  /** "name: value" each. */
  readonly headers?: readonly string[];
}

export interface WrkResult {
  readonly perSecond: number;
  /** As wrk sees it: each connection waits for its answer before it asks again, so a stall is one late answer and not many. */
  readonly p99Ms: number;
}

/** Requests per second that were answered with 2xx. @throws when any was not. */
export async function wrk(url: string, options: WrkOptions): Promise<number> {
  return (await wrkResult(url, options)).perSecond;
}

const toMs: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1_000, m: 60_000 };

/** As wrk(), with the latency. */
export async function wrkResult(url: string, { seconds, connections, script, headers = [] }: WrkOptions): Promise<WrkResult> {
  const given = headers.flatMap((header) => ["-H", header]);
  const args = [
    "-t1",
    `-c${connections}`,
    `-d${seconds}s`,
    "--latency",
    "--timeout",
    "10s",
    ...(script ? ["-s", script] : []),
    ...given,
    url,
  ];
  const output = await onCore1("wrk", args);
  if (/Non-2xx|Socket errors: .*[1-9]/.test(output)) throw new Error(`wrk ${url}: not all answers were good:\n${output}`);
  const [, p99, unit] = /99%\s+([\d.]+)(us|ms|s|m)\b/.exec(output)!;
  return { perSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(output)![1]), p99Ms: Number(p99) * toMs[unit!]! };
}

/** Seconds and bytes of one GET. */
export async function download(url: string): Promise<{ seconds: number; bytes: number }> {
  const output = await onCore1("curl", ["-sf", "-o", "/dev/null", "-w", "%{time_total} %{size_download}", url]);
  const [seconds, bytes] = output.split(" ").map(Number);
  return { seconds: seconds!, bytes: bytes! };
}
