// Looking at an embedded server and starting or stopping it by hand, as `millrace db` does: without making anything that is not
// there, and without the programs where they are not needed. See docs/embedded-postgresql.md.

import { readFile, readdir, realpath, stat } from "node:fs/promises";
import { join as joinPath, resolve } from "node:path";
import { databaseErrors } from "../errors.ts";
import { type Cluster, socketDirectoryOf } from "./cluster.ts";
import { readLinkIn } from "./elsewhere.ts";
import { type EmbeddedPostgresOptions, resolveEmbeddedOptions } from "./options.ts";
import { isKeptRunning, markKeptRunning, unmarkKeptRunning } from "./keep-running.ts";
import { type Departure, leaveServer } from "./leave.ts";
import { readPostmasterFile } from "./postmaster.ts";
import { type Presence, join, othersPresent } from "./presence.ts";
import { SharedServer } from "./shared-server.ts";
import { serverUrl } from "./server-url.ts";

/** What is known of a data directory from outside. */
export interface EmbeddedState {
  readonly dataDir: string;
  /** Major version that wrote the database; undefined when there is no database yet. */
  readonly major: number | undefined;
  /** The server's first process and release; undefined when no server answers. */
  readonly server: { readonly pid: number; readonly version: string } | undefined;
  /** The processes that have the server open. */
  readonly usedBy: readonly number[];
  /** Whether the server stays when the last of them leaves, because it was started by hand. */
  readonly keptRunning: boolean;
  /** Where it is, or will be, reached; undefined when there is no database yet. */
  readonly url: string | undefined;
  readonly logFile: string | undefined;
}

type Files = Pick<Cluster, "dataDir" | "pgdata" | "socketDir" | "logFile"> & { readonly major: number };

async function findFiles(dataDir: string): Promise<Files | undefined> {
  const known = await realpath(dataDir).catch(() => undefined);
  if (known === undefined) return undefined;
  const root = (await readLinkIn(known)) ?? known;
  const majors = (await readdir(root).catch((): string[] => []))
    .map((name) => Number(/^pg(\d+)$/.exec(name)?.[1] ?? 0))
    .filter((major) => major > 0)
    .toSorted((a, b) => b - a);
  const major = majors[0];
  if (major === undefined) return undefined;
  const pgdata = joinPath(root, `pg${major}`);
  const written = (await readFile(joinPath(pgdata, "PG_VERSION"), "utf8").catch(() => "")).trim();
  if (written !== "" && written !== String(major)) {
    throw databaseErrors.create("MILLRACE_EMBEDDED_OTHER_MAJOR", { directory: pgdata, found: written, available: String(major) });
  }
  const socketDir = await socketDirectoryOf(root, (await stat(pgdata)).uid);
  return { dataDir: known, pgdata, socketDir, logFile: joinPath(root, "server.log"), major };
}

/** How long a command waits for a server that is just starting or stopping. */
const joinTimeoutMs = 5_000;

const joinFiles = async (files: Files): Promise<Presence | undefined> => {
  const outcome = await join(files, joinTimeoutMs);
  return typeof outcome === "object" ? outcome : undefined;
};

/** What is at `dataDir` now. Changes nothing. */
export async function describeEmbedded(dataDir: string, database: string): Promise<EmbeddedState> {
  const files = await findFiles(dataDir);
  if (!files) {
    return {
      dataDir: resolve(dataDir),
      major: undefined,
      server: undefined,
      usedBy: [],
      keptRunning: false,
      url: undefined,
      logFile: undefined,
    };
  }
  const file = await readPostmasterFile(files.pgdata);
  const seen = await othersPresent({ ...files, socketDir: file?.socketDir ?? files.socketDir }, joinTimeoutMs).catch(
    () => undefined,
  );
  return {
    dataDir: files.dataDir,
    major: files.major,
    server: seen && { pid: file?.pid ?? 0, version: seen.version },
    usedBy: seen?.pids ?? [],
    keptRunning: await isKeptRunning(files),
    url: serverUrl({ socketDir: file?.socketDir ?? files.socketDir }, database),
    logFile: files.logFile,
  };
}

/** Starts (or joins) the server and leaves it running until stopEmbedded, whoever uses it meanwhile. */
export async function startAndKeepRunning(options: EmbeddedPostgresOptions): Promise<EmbeddedState> {
  const resolved = resolveEmbeddedOptions(options);
  const server = await SharedServer.open(resolved);
  server.acquire();
  try {
    await server.ensureDatabase(resolved.database);
    await markKeptRunning(server.cluster);
  } finally {
    await server.release();
  }
  return describeEmbedded(resolved.dataDir, resolved.database);
}

/** Stops the server unless processes use it; then it stops when the last of them leaves. `not running`: there was none. */
export async function stopEmbedded(dataDir: string): Promise<Exclude<Departure, "kept"> | "not running"> {
  const files = await findFiles(dataDir);
  if (!files) return "not running";
  await unmarkKeptRunning(files);
  const presence = await joinFiles(files);
  if (!presence) return "not running";
  const departure = await leaveServer(files, presence);
  return departure === "kept" ? "in use" : departure;
}
