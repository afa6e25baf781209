// The weather service as a program: a child process that runs main.ts.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { type Client, clientOf } from "./harness.ts";

const main = fileURLToPath(new URL("../../examples/weather/src/main.ts", import.meta.url));

export interface Program extends AsyncDisposable {
  readonly child: ChildProcess;
  /** Resolves with what it talks at when the banner has come. @throws when it ends before */
  readonly up: Promise<Client>;
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
  /** All that it has written so far. */
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts it on any free port. Disposing it kills it. */
export function startProgram(env: Readonly<Record<string, string>>): Program {
  const { DATABASE_URL: _, ...inherited } = process.env;
  const child = spawn(process.execPath, ["--conditions=millrace-source", main], {
    env: { ...inherited, PORT: "0", LOG_LEVEL: "warn", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (stderr += chunk));
  const ended: Program["ended"] = once(child, "close").then(([code, signal]) => ({ code, signal }));
  const up = new Promise<Client>((resolve, reject) => {
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      stdout += chunk;
      const url = /is up at (http:\S+)\n/.exec(stdout)?.[1];
      if (url) resolve(clientOf(url));
    });
    void ended.then(({ code, signal }) =>
      reject(new Error(`The program ended with ${code ?? signal} before it was up:\n${stdout}${stderr}`)),
    );
  });
  up.catch(() => {}); // a test that only looks at the end does not wait for it
  return {
    child,
    up,
    ended,
    get stdout() {
      return stdout;
    },
    get stderr() {
      return stderr;
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}
