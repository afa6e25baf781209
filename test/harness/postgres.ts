// PostgreSQL for tests: a fresh database on a shared server, or a whole server for tests that stop and kill it.

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";
import {
  type Cluster,
  prepareCluster,
  readPostmasterFile,
  removeForeignLockFile,
  serverUrl,
  spawnPostmaster,
  stopPostmaster,
  throwAwaySettings,
  waitUntilGone,
} from "../../src/database/embedded/index.ts";

/** A whole server of one test's own. */
export interface TestServer extends AsyncDisposable {
  /** Names the superuser and an empty database; the same after stop() and start(). */
  readonly url: string;
  /** The server's first process; undefined while it is stopped. */
  readonly pid: number | undefined;
  /** Stops it in order: sessions end with 57P01. */
  stop(): Promise<void>;
  /** Starts it again and resolves when it accepts connections. */
  start(): Promise<void>;
  /** SIGKILLs the server and its processes as a crash of the machine would end them. The next start() recovers. */
  kill(): Promise<void>;
}

export interface TestServerOptions {
  /** PostgreSQL settings beside the kit's own. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Whether what was acknowledged survives kill(). Default: true; the shared server is not durable, which is faster. */
  readonly durable?: boolean;
}

/** Runs until its input ends, which happens with this process however it ends; then the server and its files go. */
const watchdogScript = `
read -r _
pid=$(head -n 1 "$2/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid" 2>/dev/null
n=0; while [ -e "$2/postmaster.pid" ] && [ $n -lt 50 ]; do sleep 0.1; n=$((n+1)); done
rm -rf "$1"
`;

/** Removes the server and its directory when this process ends without having done so. */
function watch(directory: string, pgdata: string): { close(): Promise<void> } {
  const watchdog = spawn("/bin/sh", ["-c", watchdogScript, "sh", directory, pgdata], {
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  const ended = new Promise<void>((resolve) => watchdog.once("exit", () => resolve()));
  watchdog.unref();
  (watchdog.stdin as unknown as { unref(): void }).unref(); // a pipe to a child is a net.Socket, which the types do not say
  return {
    close() {
      watchdog.ref();
      watchdog.stdin.end();
      return ended;
    },
  };
}

/** Whether the server of `url` answers a query. */
export async function answers(url: string): Promise<boolean> {
  const client = new Client({ connectionString: url });
  client.on("error", () => {});
  try {
    await client.connect();
    await client.query("select 1");
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => {});
  }
}

/** Runs one statement on a connection of its own. */
async function execute(url: string, statement: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

const startBound = 30_000;

/** What the tests need of a server that is not their own, each with how to get it. */
const needs: readonly { readonly holds: string; readonly advice: string }[] = [
  { holds: "current_setting('server_version_num')::int >= 150000", advice: "PostgreSQL 15 or newer" },
  { holds: "(select rolsuper from pg_roles where rolname = current_user)", advice: "a superuser" },
  { holds: "current_setting('wal_level') = 'logical'", advice: "wal_level = logical (and a restart)" },
  { holds: "current_setting('max_slot_wal_keep_size') <> '-1'", advice: "max_slot_wal_keep_size = 1GB" },
  { holds: "current_setting('max_connections')::int >= 200", advice: "max_connections = 300 (and a restart)" },
];

/**
 * Says what the server of `url` lacks, for whom tests would wait in vain.
 * @throws Error that names everything at once
 */
export async function checkGivenServer(url: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query<boolean[]>({
      text: `select ${needs.map(({ holds }) => holds).join(", ")}`,
      rowMode: "array",
    });
    const missing = needs.filter((_, i) => !rows[0]![i]).map(({ advice }) => advice);
    if (missing.length > 0) throw new Error(`The tests need more of the server in DATABASE_URL: ${missing.join("; ")}.`);
  } finally {
    await client.end();
  }
}

async function startOn(cluster: Cluster, url: string, settings: Readonly<Record<string, string>>): Promise<number> {
  const untilMs = performance.now() + startBound;
  for (;;) {
    await removeForeignLockFile(join(cluster.pgdata, "postmaster.pid"), cluster.pgdata);
    const server = await spawnPostmaster(cluster, settings);
    while (!server.hasEnded()) {
      if ((await readPostmasterFile(cluster.pgdata))?.status === "ready" && (await answers(url))) return server.pid;
      if (performance.now() > untilMs) throw new Error(`The test server did not start:\n${await server.log()}`);
      await sleep(10);
    }
    // Processes of a killed server may hold its shared memory for a moment.
    const log = await server.log();
    if (!log.includes("pre-existing shared memory block") || performance.now() > untilMs)
      throw new Error(`The test server did not start:\n${log}`);
    await sleep(10);
  }
}

/** The processes of a server: all in the session that its first process leads. */
async function processesOf(pid: number): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir("/proc").catch((): string[] => [String(pid)])) {
    if (!/^\d+$/.test(name)) continue;
    const fields = (await readFile(`/proc/${name}/stat`, "utf8").catch(() => "")).replace(/^.*\) /s, "").split(" ");
    if (fields[3] === String(pid) || (name === String(pid) && fields[0] !== "Z")) found.push(Number(name));
  }
  return found;
}

/** Starts a server of the caller's own in a temporary directory. Disposing it stops it and removes everything. */
export async function testServer(options: TestServerOptions = {}): Promise<TestServer> {
  const durable = options.durable ?? true;
  const settings = { ...(durable ? {} : throwAwaySettings), ...options.settings };
  const directory = await mkdtemp(join(tmpdir(), "millrace-test-"));
  const cluster = await prepareCluster(directory, () => {}, durable);
  const watchdog = watch(directory, cluster.pgdata);
  const url = serverUrl(cluster, "postgres");
  let pid: number | undefined = await startOn(cluster, url, settings);

  const stop = async (): Promise<void> => {
    const running = pid;
    pid = undefined;
    if (running !== undefined) await stopPostmaster(running, cluster.pgdata);
  };
  return {
    url,
    get pid() {
      return pid;
    },
    stop,
    async start() {
      pid ??= await startOn(cluster, url, settings);
    },
    async kill() {
      const running = pid;
      pid = undefined;
      if (running === undefined) return;
      const processes = await processesOf(running);
      process.kill(running, "SIGKILL");
      for (const each of processes) {
        try {
          process.kill(each, "SIGKILL");
        } catch {
          // It ended by itself when it saw that the first process was gone.
        }
      }
      await waitUntilGone(running, cluster.pgdata, startBound);
    },
    async [Symbol.asyncDispose](): Promise<void> {
      await stop();
      await rm(directory, { recursive: true, force: true });
      await watchdog.close();
    },
  };
}

/** The server that a whole test run shares; its URL goes into MILLRACE_TEST_SERVER. Not durable. */
export async function startSharedTestServer(): Promise<{ readonly url: string; close(): Promise<void> }> {
  const server = await testServer({ durable: false, settings: { max_connections: "300" } });
  return { url: server.url, close: async () => server[Symbol.asyncDispose]() };
}

let shared: Promise<string> | undefined;

/** A superuser URL of the server that tests create their databases on. */
function sharedServerUrl(): Promise<string> {
  const given = process.env["MILLRACE_TEST_SERVER"] ?? process.env["DATABASE_URL"];
  if (given !== undefined && given !== "") return Promise.resolve(given);
  return (shared ??= startSharedTestServer().then((server) => {
    // The tests are over. A process that ends in any other way leaves it to the watchdog.
    process.once("beforeExit", () => void server.close());
    return server.url;
  }));
}

/** `url` with another database. */
export function withDatabase(url: string, database: string): string {
  const changed = new URL(url);
  changed.pathname = `/${database}`;
  return changed.href;
}

/** A database of one test's own. */
export interface TestDatabase extends AsyncDisposable {
  readonly url: string;
}

/** Creates an empty database on the shared server; disposing it ends every session on it and drops it. */
export async function testDatabase(): Promise<TestDatabase> {
  const server = await sharedServerUrl();
  const name = `millrace_test_${randomBytes(8).toString("hex")}`;
  await execute(server, `create database ${name}`);
  return { url: withDatabase(server, name), [Symbol.asyncDispose]: () => dropDatabase(server, name) };
}

/** A slot that was read until a moment ago counts as active until its walsender has ended, and keeps the database. */
const slotActive = "55006";

async function dropDatabase(server: string, name: string): Promise<void> {
  for (const untilMs = performance.now() + startBound; ; await sleep(20)) {
    try {
      return await execute(server, `drop database if exists ${name} with (force)`);
    } catch (error) {
      if ((error as { code?: unknown }).code !== slotActive || performance.now() > untilMs) throw error;
    }
    await execute(
      server,
      `select pg_terminate_backend(active_pid) from pg_replication_slots where active and database = '${name}'`,
    );
  }
}
