// One server under test: a process of its own on core 0; what loads it runs on core 1.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";

export interface ServerUnderTest extends AsyncDisposable {
  readonly origin: string;
  /** Bytes of memory that the process holds now. */
  residentBytes(): Promise<number>;
  /** The most that it held since the last resetPeak(). */
  peakBytes(): Promise<number>;
  resetPeak(): Promise<void>;
  /** Seconds of processor time that the process has used. */
  cpuSeconds(): Promise<number>;
}

const startTimeoutMs = 20_000;
const peerFile = (name: string): string => fileURLToPath(new URL(`../peers/${name}`, import.meta.url));

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** Starts `command` on core 0 and waits until it listens: on `configured`, or on a port that it gets as its last argument. */
export async function startServer(command: readonly string[], configured?: number): Promise<ServerUnderTest> {
  const port = configured ?? (await freePort());
  const last = configured === undefined ? [String(port)] : [];
  const child: ChildProcess = spawn("taskset", ["-c", "0", ...command, ...last], { stdio: ["ignore", "ignore", "inherit"] });
  const exited = once(child, "exit");
  const startedMs = performance.now();
  while (!(await answers(port))) {
    if (child.exitCode !== null || child.signalCode !== null)
      throw new Error(`${command.join(" ")} ended with ${child.exitCode ?? child.signalCode}.`);
    if (performance.now() - startedMs > startTimeoutMs) {
      child.kill("SIGKILL");
      throw new Error(`${command.join(" ")} did not listen within ${startTimeoutMs} ms.`);
    }
    await pause(20);
  }
  const { pid } = child;
  const status = async (field: string): Promise<number> => {
    const text = await readFile(`/proc/${pid}/status`, "utf8");
    return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(text)![1]) * 1024;
  };
  return {
    origin: `http://127.0.0.1:${port}`,
    residentBytes: () => status("VmRSS"),
    peakBytes: () => status("VmHWM"),
    resetPeak: () => writeFile(`/proc/${pid}/clear_refs`, "5"),
    async cpuSeconds() {
      const fields = (await readFile(`/proc/${pid}/stat`, "utf8")).replace(/^.*\) /s, "").split(" ");
      return (Number(fields[11]) + Number(fields[12])) / 100;
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), 15_000);
      await exited;
      clearTimeout(timer);
    },
  };
}

/** Starts one of bench/peers on this Node. */
export function startNodePeer(name: string, args: readonly string[], profileDir?: string): Promise<ServerUnderTest> {
  // The profile is written when the process ends of its own accord.
  const exitOnSignal = "data:text/javascript,process.once('SIGTERM',()=>process.exit())";
  const profile = profileDir ? ["--cpu-prof", `--cpu-prof-dir=${profileDir}`, "--import", exitOnSignal] : [];
  return startServer([process.execPath, "--disable-warning=ExperimentalWarning", ...profile, peerFile(name), ...args]);
}

/** Starts one of bench/peers on Debian's Python. */
export function startPythonPeer(name: string, args: readonly string[]): Promise<ServerUnderTest> {
  return startServer(["/usr/bin/python3", peerFile(name), ...args]);
}
