// PostgreSQL 15 as Debian packages it: for what the embedded server cannot show (wal_level=replica, standbys, older versions).

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { chown, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { debianPackage } from "./debian.ts";
import { type TestServer, answers } from "./postgres.ts";

const execute = promisify(execFile);
const version = 15;
const startBoundMs = 60_000;

/** PostgreSQL refuses to run as root; "nobody" can run programs and owns the temporary directory. */
const user = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};

export interface DebianServer extends TestServer {
  /** Directory of PostgreSQL's programs (pg_basebackup, pg_ctl). */
  readonly bin: string;
  readonly pgdata: string;
  /** Makes a standby of it with pg_basebackup and starts it; it must be disposed before the primary. */
  standby(options?: { readonly settings?: Readonly<Record<string, string>> }): Promise<DebianServer>;
}

export interface DebianServerOptions {
  /** PostgreSQL settings, such as wal_level. */
  readonly settings?: Readonly<Record<string, string>>;
}

const quick = { fsync: "off", full_page_writes: "off", listen_addresses: "", max_connections: "60", shared_buffers: "32MB" };

/** Starts a server of the caller's own in a temporary directory. Disposing it stops it and removes everything. */
export async function debianServer(options: DebianServerOptions = {}): Promise<DebianServer> {
  const bin = dirname(await debianPackage(`postgresql-${version}`, `/usr/lib/postgresql/${version}/bin/postgres`));
  const directory = await temporaryDirectory();
  const pgdata = join(directory, "data");
  await execute(join(bin, "initdb"), ["-D", pgdata, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C.UTF-8"], {
    ...user,
    cwd: directory,
  });
  return await running(bin, directory, { ...quick, ...options.settings });
}

async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "millrace-debian-"));
  await mkdir(join(directory, "socket"), { mode: 0o700 });
  if (user.uid !== undefined) {
    await chown(join(directory, "socket"), user.uid, user.gid);
    await chown(directory, user.uid, user.gid);
  }
  return directory;
}

async function running(bin: string, directory: string, settings: Readonly<Record<string, string>>): Promise<DebianServer> {
  const pgdata = join(directory, "data");
  const socket = join(directory, "socket");
  const url = `postgresql:///postgres?host=${encodeURIComponent(socket).replaceAll("%2F", "/")}&port=5432&user=postgres`;
  let child: ChildProcess | undefined;
  let ended: Promise<void> = Promise.resolve();
  let log = "";

  const start = async (): Promise<void> => {
    if (child) return;
    const args = Object.entries({ ...settings, unix_socket_directories: socket }).flatMap(([name, value]) => [
      "-c",
      `${name}=${value}`,
    ]);
    const started = spawn(join(bin, "postgres"), ["-D", pgdata, ...args], {
      ...user,
      cwd: directory,
      stdio: ["ignore", "ignore", "pipe"],
    });
    child = started;
    started.stderr.setEncoding("utf8").on("data", (text: string) => {
      log = (log + text).slice(-20_000);
    });
    ended = new Promise((resolve) => started.once("close", () => resolve()));
    const kill = (): void => void started.kill("SIGQUIT");
    process.once("exit", kill);
    void ended.then(() => process.off("exit", kill));
    const untilMs = performance.now() + startBoundMs;
    while (!(await answers(url))) {
      if (started.exitCode !== null || performance.now() > untilMs) throw new Error(`PostgreSQL did not start:\n${log}`);
      await sleep(20);
    }
  };
  /** SIGINT is a fast shutdown, SIGQUIT an immediate one, which leaves recovery to the next start. */
  const end = async (signal: "SIGINT" | "SIGQUIT"): Promise<void> => {
    const running = child;
    child = undefined;
    running?.kill(signal);
    await ended;
  };

  const server: DebianServer = {
    url,
    bin,
    pgdata,
    get pid() {
      return child?.pid;
    },
    start,
    stop: () => end("SIGINT"),
    kill: () => end("SIGQUIT"),
    async standby(options = {}) {
      const place = await temporaryDirectory();
      await execute(
        join(bin, "pg_basebackup"),
        ["-D", join(place, "data"), "-h", socket, "-U", "postgres", "-X", "stream", "-c", "fast", "-R"],
        {
          ...user,
          cwd: place,
        },
      );
      return await running(bin, place, { ...settings, hot_standby: "on", ...options.settings });
    },
    async [Symbol.asyncDispose]() {
      await end("SIGINT");
      await rm(directory, { recursive: true, force: true });
    },
  };
  try {
    await start();
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
  return server;
}
