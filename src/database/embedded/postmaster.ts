// The server's first process: the file in which it says who it is, starting it, and stopping it for certain.
// See docs/embedded-postgresql.md, "Who starts and who stops the server".

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { constants } from "node:fs";
import { link, open, readFile, readlink, rename, rm, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { systemClock } from "../../core/index.ts";
import type { Cluster } from "./cluster.ts";
import { emptyLockFileMs, lookEveryMs, maxLogBytes, serverSettings, stopTimeouts } from "./options.ts";
import { programEnvironment, startError } from "./program.ts";
import type { ServerUser } from "./server-user.ts";

/** What a server writes about itself into postmaster.pid. */
export interface PostmasterFile {
  readonly pid: number;
  readonly socketDir: string | undefined;
  readonly port: number;
  /** Undefined in the first moments, before the server has written it. */
  readonly status: "starting" | "stopping" | "ready" | "standby" | undefined;
  readonly text: string;
}

const pidFilePath = (pgdata: string): string => join(pgdata, "postmaster.pid");

/** The file as it stands, or undefined: no server, or one that was stopped in order. A crash leaves it. */
export async function readPostmasterFile(pgdata: string): Promise<PostmasterFile | undefined> {
  const text = await readFile(pidFilePath(pgdata), "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  const [pid, , , port, socketDir, , , status] = text.split("\n").map((line) => line.trim());
  return {
    pid: Math.abs(Number.parseInt(pid ?? "", 10)) || 0,
    port: Number.parseInt(port ?? "", 10) || 5432,
    socketDir: socketDir || undefined,
    status: status === "starting" || status === "stopping" || status === "ready" || status === "standby" ? status : undefined,
    text,
  };
}

const execute = promisify(execFile);

/** The command line of a process; empty for one that has ended but was not yet collected by its parent; undefined for none. */
async function commandLine(pid: number): Promise<readonly string[] | undefined> {
  if (process.platform === "linux") {
    const text = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => undefined);
    return text?.split("\0").slice(0, -1);
  }
  const { stdout } = await execute("ps", ["-o", "command=", "-p", String(pid)]).catch(() => ({ stdout: "" }));
  return stdout.trim() === "" ? undefined : stdout.trim().split(" ");
}

/**
 * What the process with this number is to the data directory: its server ("postmaster"), another program that happens to have
 * the number ("foreign"), or not running ("none").
 */
export async function identify(pid: number, pgdata: string): Promise<"postmaster" | "foreign" | "none"> {
  if (pid <= 0) return "none";
  const args = await commandLine(pid);
  if (args === undefined) return "none";
  // A zombie: it holds the number and nothing else. PostgreSQL would take it for a running server.
  if (args.length === 0) return "foreign";
  if (!/^postgres|^postmaster/.test(basename(args[0]!))) return "foreign";
  // Where the arguments come from ps they are one text, and a path in it may have spaces.
  if (args.includes(pgdata) || (process.platform !== "linux" && args.join(" ").includes(pgdata))) return "postmaster";
  // A server of this or another directory that was started by hand. Its working directory tells; where it may not be read
  // (root in a container lacks the right), assume ours, which at worst means waiting for it.
  const workingDirectory = await readlink(`/proc/${pid}/cwd`).catch(() => undefined);
  return workingDirectory === undefined || workingDirectory === pgdata ? "postmaster" : "foreign";
}

/**
 * Whether a server was killed between making the lock file and writing its number into it. One that is starting does both within
 * microseconds; should one be held up for longer than we wait, the shared memory of the server that we start makes it give up.
 */
async function isLeftEmpty(path: string, text: string): Promise<boolean> {
  if (text.trim() !== "") return false;
  const made = await stat(path).catch(() => undefined);
  return made !== undefined && systemClock.now() - made.mtimeMs > emptyLockFileMs;
}

/**
 * Removes a lock file that names a process which is no server of this directory, or that names nobody for a while. PostgreSQL
 * does it itself when the number belongs to nobody. Renaming first decides between several that find the same file; one that
 * turns out to be a new server's is put back.
 */
export async function removeForeignLockFile(path: string, pgdata: string): Promise<void> {
  const text = await readFile(path, "utf8").catch(() => undefined);
  if (text === undefined) return;
  const pid = Math.abs(Number.parseInt(text, 10)) || 0;
  if (!(await isLeftEmpty(path, text)) && (await identify(pid, pgdata)) !== "foreign") return;
  const aside = `${path}.stale-${process.pid}`;
  try {
    await rename(path, aside);
  } catch {
    return;
  }
  if ((await readFile(aside, "utf8")) !== text) await link(aside, path).catch(() => {});
  await rm(aside, { force: true });
}

/** A server that is being started. */
export interface StartingServer {
  readonly pid: number;
  /** Resolves when the process has ended. */
  readonly ended: Promise<void>;
  readonly hasEnded: () => boolean;
  /** What was written to the log since the start (its end, if that is long). */
  readonly log: () => Promise<string>;
}

async function openLog(
  path: string,
  user: ServerUser | undefined,
): Promise<{ readonly fd: number; readonly offset: number; close(): Promise<void> }> {
  const { size } = await stat(path).catch(() => ({ size: 0 }));
  if (size > maxLogBytes) await rename(path, `${path}.1`);
  // Not through a link: the directory may belong to the server's user, while this process may be root.
  const file = await open(path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  // Or a later start by the directory's owner could not write to it.
  if (user) await file.chown(user.uid, user.gid);
  return { fd: file.fd, offset: (await file.stat()).size, close: () => file.close() };
}

/** The part of a log from `offset` on, at most its last 8 KB. */
export async function readLog(path: string, offset = 0): Promise<string> {
  const file = await open(path, "r").catch(() => undefined);
  if (!file) return "";
  try {
    const { size } = await file.stat();
    const from = Math.max(offset > size ? 0 : offset, size - 8_192);
    const buffer = Buffer.alloc(size - from);
    await file.read(buffer, 0, buffer.length, from);
    return buffer.toString().trim();
  } finally {
    await file.close();
  }
}

/**
 * Starts a server process on the cluster: in a session of its own, so that Ctrl-C in a terminal reaches only the program, which
 * then closes in order. Does not wait until it accepts connections.
 */
export async function spawnPostmaster(cluster: Cluster, settings: Readonly<Record<string, string>>): Promise<StartingServer> {
  const log = await openLog(cluster.logFile, cluster.user);
  try {
    const all = { ...serverSettings, ...settings, unix_socket_directories: cluster.socketDir };
    const args = ["-D", cluster.pgdata, ...Object.entries(all).flatMap(([name, value]) => ["-c", `${name}=${value}`])];
    const child: ChildProcess = spawn(cluster.binaries.postgres, args, {
      cwd: cluster.pgdata,
      detached: true,
      env: { ...programEnvironment },
      stdio: ["ignore", log.fd, log.fd],
      ...cluster.user,
    });
    let over = false;
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    child.once("exit", () => {
      over = true;
      resolve();
    });
    await new Promise<void>((started, failed) => {
      child.once("spawn", started);
      child.once("error", (error) => failed(startError(cluster.binaries.postgres, cluster.pgdata, error)));
    });
    child.unref();
    return { pid: child.pid!, ended, hasEnded: () => over, log: () => readLog(cluster.logFile, log.offset) };
  } finally {
    await log.close();
  }
}

/** Resolves true when the server with this number has ended, false when `timeoutMs` passed before. */
export async function waitUntilGone(pid: number, pgdata: string, timeoutMs: number): Promise<boolean> {
  const untilMs = systemClock.monotonic() + timeoutMs;
  while ((await identify(pid, pgdata)) === "postmaster") {
    if (systemClock.monotonic() > untilMs) return false;
    await sleep(lookEveryMs);
  }
  return true;
}

const signal = (pid: number, name: NodeJS.Signals): void => {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
};

/**
 * Stops the server and resolves when it is gone: a fast shutdown (sessions end, buffers are written), then an immediate one,
 * then SIGKILL. Nothing committed is lost by any of them; the harder ones cost the next start a recovery.
 */
export async function stopPostmaster(pid: number, pgdata: string): Promise<void> {
  const steps: readonly (readonly [NodeJS.Signals, number])[] = [
    ["SIGINT", stopTimeouts.fastMs],
    ["SIGQUIT", stopTimeouts.immediateMs],
    ["SIGKILL", stopTimeouts.killedMs],
  ];
  for (const [name, timeoutMs] of steps) {
    signal(pid, name);
    if (await waitUntilGone(pid, pgdata, timeoutMs)) return;
  }
}
