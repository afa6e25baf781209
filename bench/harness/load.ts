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
}

/** Requests per second that were answered with 2xx. @throws when any was not. */
export async function wrk(url: string, { seconds, connections, script }: WrkOptions): Promise<number> {
  const args = ["-t1", `-c${connections}`, `-d${seconds}s`, ...(script ? ["-s", script] : []), url];
  const output = await onCore1("wrk", args);
  if (/Non-2xx|Socket errors: .*[1-9]/.test(output)) throw new Error(`wrk ${url}: not all answers were good:\n${output}`);
  return Number(/Requests\/sec:\s+([\d.]+)/.exec(output)![1]);
}

/** Seconds and bytes of one GET. */
export async function download(url: string): Promise<{ seconds: number; bytes: number }> {
  const output = await onCore1("curl", ["-sf", "-o", "/dev/null", "-w", "%{time_total} %{size_download}", url]);
  const [seconds, bytes] = output.split(" ").map(Number);
  return { seconds: seconds!, bytes: bytes! };
}
