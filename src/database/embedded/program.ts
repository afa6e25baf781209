// Running one of PostgreSQL's programs to its end, and reading from its output what went wrong.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { databaseErrors } from "../errors.ts";
import type { ServerUser } from "./server-user.ts";

/** The same messages and the same clock everywhere; and no PG… variable of the caller reaches the server. */
export const programEnvironment: Readonly<Record<string, string>> = {
  LC_ALL: "C",
  TZ: "UTC",
  PATH: "/usr/bin:/bin:/usr/sbin:/sbin",
};

/** As much of a program's output as a message can carry. */
const maxOutputBytes = 8_192;

export interface ProgramResult {
  /** 0 for success; null when a signal ended it. */
  readonly exitCode: number | null;
  /** The end of what it wrote to stdout and stderr. */
  readonly output: string;
}

/** Whether output of a program or a log says that a file system (or a quota) has no room left. */
export const saysDiskFull = (text: string): boolean => /No space left on device|Disk quota exceeded|ENOSPC|EDQUOT/.test(text);

/** Less than this is full: a server that starts needs a few small files at once and 16 MB for its log before long. */
const minFreeBytes = 1024 * 1024;

/** Whether the file system of `directory` has no room: on a full disk the log that would say so cannot be written either. */
export async function isDiskFull(directory: string): Promise<boolean> {
  const { bavail, bsize } = await statfs(directory);
  return bavail * bsize < minFreeBytes;
}

/** The error for a program that the system could not start. */
export function startError(program: string, cwd: string, error: NodeJS.ErrnoException): Error {
  // "No such file" while the file is there: what is missing is the loader that it names, which is glibc's.
  if (error.code === "ENOENT" && existsSync(program) && existsSync(cwd)) {
    return databaseErrors.create(
      "MILLRACE_EMBEDDED_UNSUPPORTED",
      { platform: `${process.platform}-${process.arch} without glibc` },
      error,
    );
  }
  return databaseErrors.create(
    "MILLRACE_EMBEDDED_START_FAILED",
    { reason: `${program} cannot be run: ${error.message}`, log: "" },
    error,
  );
}

/** Runs a program as `user` (undefined: as this process) and resolves when it has ended, whatever its exit code. */
export function runProgram(
  program: string,
  args: readonly string[],
  options: { readonly cwd: string; readonly user?: ServerUser | undefined },
): Promise<ProgramResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: { ...programEnvironment },
      stdio: ["ignore", "pipe", "pipe"],
      ...options.user,
    });
    let output = "";
    const collect = (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-maxOutputBytes);
    };
    child.stdout.on("data", collect);
    child.stderr.on("data", collect);
    child.once("error", (error) => reject(startError(program, options.cwd, error)));
    child.once("close", (exitCode) => resolve({ exitCode, output: output.trim() }));
  });
}
