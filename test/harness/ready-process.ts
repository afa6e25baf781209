// A program of a test's fixtures as a child process: there once it has said its first word, gone with its test.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

/** Generous: several may start at once on two shared cores. */
const startBoundMs = 30_000;

/** Starts the TypeScript program at `url` on this Node and waits for its first output. Its standard input is a pipe that ends with this process. */
export async function readyProcess(
  url: URL,
  ...args: readonly string[]
): Promise<{ readonly child: ChildProcess } & AsyncDisposable> {
  const child = spawn(process.execPath, ["--conditions=millrace-source", fileURLToPath(url), ...args], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const ended = once(child, "exit");
  await once(child.stdout, "data", { signal: AbortSignal.timeout(startBoundMs) });
  return {
    child,
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await ended;
    },
  };
}
