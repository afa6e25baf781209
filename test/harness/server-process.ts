// A server program for one test: started in a directory of its own, stopped, killed, paused (SIGSTOP) and resumed, and gone with
// this process however it ends.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** Generous: two shared cores may start ten servers at once. */
const startBoundMs = 30_000;

/** Runs until its input ends, which happens with this process however it ends; then the server and its files go. */
const watchdogScript = `
read -r _
pid=$(cat "$1/pid" 2>/dev/null) && [ -n "$pid" ] && kill -KILL "$pid" 2>/dev/null
rm -rf "$1"
`;

/** A server of the caller's own. Disposing it kills it and removes its directory. */
export interface ServerProcess extends AsyncDisposable {
  readonly directory: string;
  readonly running: boolean;
  /** Starts it (again) and resolves when it answers. */
  start(): Promise<void>;
  /** SIGTERM, and waits until it has ended. */
  stop(): Promise<void>;
  /** SIGKILL, and waits until it has ended. */
  kill(): Promise<void>;
  /** SIGSTOP, and waits until it stands: connections stay, and nothing answers. */
  pause(): Promise<void>;
  /** SIGCONT. */
  resume(): void;
}

export interface ServerProgram {
  readonly program: string;
  readonly args: (directory: string) => readonly string[];
  /** Whether it answers; called until it does. */
  readonly answers: (directory: string) => Promise<boolean>;
}

/** A TCP port on loopback that was free a moment ago. Below 55,536, so that a cluster's bus fits 10,000 above it. */
export async function freePort(): Promise<number> {
  for (;;) {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    await new Promise<void>((resolve) => server.close(() => resolve()));
    if (typeof address === "object" && address !== null && address.port < 55_536) return address.port;
  }
}

/** Starts `program`. */
export async function serverProcess({ program, args, answers }: ServerProgram): Promise<ServerProcess> {
  const directory = await mkdtemp(join(tmpdir(), "millrace-server-"));
  const watchdog = spawn("/bin/sh", ["-c", watchdogScript, "sh", directory], {
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  const watchdogEnded = new Promise<void>((resolve) => watchdog.once("exit", () => resolve()));
  watchdog.unref();
  (watchdog.stdin as unknown as { unref(): void }).unref(); // a pipe to a child is a net.Socket, which the types do not say
  let child: ChildProcess | undefined;
  let ended: Promise<void> = Promise.resolve();

  const start = async (): Promise<void> => {
    if (child) return;
    const log = await open(join(directory, "log"), "a");
    const started = spawn(program, args(directory), { cwd: directory, stdio: ["ignore", log.fd, log.fd] });
    await log.close();
    child = started;
    ended = new Promise((resolve) => {
      started.once("exit", () => {
        if (child === started) child = undefined;
        resolve();
      });
      started.once("error", () => resolve());
    });
    started.unref();
    await writeFile(join(directory, "pid"), String(started.pid ?? ""));
    const untilMs = performance.now() + startBoundMs;
    while (!(await answers(directory))) {
      if (child !== started || performance.now() > untilMs) {
        throw new Error(`${program} did not start:\n${await readFile(join(directory, "log"), "utf8")}`);
      }
      await sleep(10);
    }
  };
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    child?.ref();
    child?.kill(signal);
    // One that stands still takes SIGTERM when it goes on, and SIGKILL as it stands: it must not answer before.
    if (signal !== "SIGKILL") child?.kill("SIGCONT");
    await ended;
  };
  const server: ServerProcess = {
    directory,
    get running() {
      return child !== undefined;
    },
    start,
    stop: () => end("SIGTERM"),
    kill: () => end("SIGKILL"),
    async pause() {
      child?.kill("SIGSTOP");
      const untilMs = performance.now() + startBoundMs;
      // The third field is the state: T when it is stopped.
      const stands = async () => /^\d+ \(.*\) T/s.test(await readFile(`/proc/${child?.pid}/stat`, "utf8"));
      while (child && !(await stands())) {
        if (performance.now() > untilMs) throw new Error(`${program} did not stop at SIGSTOP.`);
        await sleep(1);
      }
    },
    resume: () => void child?.kill("SIGCONT"),
    async [Symbol.asyncDispose]() {
      await end("SIGKILL");
      watchdog.ref();
      watchdog.stdin.end();
      await watchdogEnded;
      await rm(directory, { recursive: true, force: true });
    },
  };
  try {
    await start();
    return server;
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}
