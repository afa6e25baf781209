// The files of one database: where they are, whose they are, and making them. A cluster appears whole or not at all.
// See docs/embedded-postgresql.md, "What is in the directory".

import { createHash, randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { lchown, lstat, mkdir, open, readFile, readdir, realpath, rename, rm, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { databaseErrors } from "../errors.ts";
import { type PostgresBinaries, locateBinaries, systemDirectory } from "./binaries.ts";
import { keepElsewhere } from "./elsewhere.ts";
import { maxSocketPathBytes } from "./options.ts";
import { runProgram, saysDiskFull } from "./program.ts";
import { type ServerUser, canReach, chooseServerUser, nearestExisting, runsAsRoot } from "./server-user.ts";

/** One database's files, ready for a server. */
export interface Cluster {
  /** The directory as the caller knows it, links resolved: what identifies the database within this process. */
  readonly dataDir: string;
  /** PostgreSQL's data directory. */
  readonly pgdata: string;
  /** Directory of the Unix socket, private to the server's user. */
  readonly socketDir: string;
  readonly logFile: string;
  /** Whom the server runs as; undefined: this process's own user. */
  readonly user: ServerUser | undefined;
  readonly binaries: PostgresBinaries;
}

const idOf = (text: string): string => createHash("sha256").update(text).digest("hex").slice(0, 16);

/**
 * Makes each level below `existing`. Not mkdir's own `recursive`: where a parent is there and yet nothing can be made in it (/proc),
 * Node 24 tries for ever, beyond the reach of signals.
 */
async function makeLevels(existing: string, directory: string): Promise<void> {
  if (!(await stat(existing)).isDirectory()) throw new Error(`${existing} is not a directory`);
  const missing: string[] = [];
  for (let level = resolve(directory); level !== existing && level !== dirname(level); level = dirname(level))
    missing.unshift(level);
  for (const level of missing) {
    await mkdir(level, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error; // another process has just made it
    });
  }
}

/** Makes `directory` and what is missing above it, and gives all of it to the server's user. */
async function makeDirectory(directory: string, user: ServerUser | undefined): Promise<void> {
  const existing = await nearestExisting(directory);
  try {
    await makeLevels(existing, directory);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOSPC") throw error;
    throw databaseErrors.create("MILLRACE_EMBEDDED_DIRECTORY_UNUSABLE", { directory, reason: message }, error);
  }
  if (!user) return;
  for (let made = directory; made !== existing && made !== dirname(made); made = dirname(made))
    await lchown(made, user.uid, user.gid);
  // An empty directory that root made for this purpose (mktemp -d) is for the server's user from now on.
  const { uid } = await stat(directory);
  if (uid === 0 && !(await canReach(user, directory, 1)) && (await readdir(directory)).length === 0)
    await lchown(directory, user.uid, user.gid);
}

/** A directory that only the server's user can enter, at a name that others could have taken before. */
async function makePrivateDirectory(directory: string, user: ServerUser | undefined): Promise<void> {
  await mkdir(directory, { mode: 0o700 }).then(
    async () => {
      if (user) await lchown(directory, user.uid, user.gid);
    },
    (error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    },
  );
  const entry = await lstat(directory);
  const owner = user?.uid ?? process.getuid?.() ?? entry.uid;
  // Between another process's mkdir and chown the directory is still root's, as it is when that process was killed in between.
  if (entry.isDirectory() && runsAsRoot() && entry.uid === 0 && user) await lchown(directory, user.uid, user.gid);
  else if (!entry.isDirectory() || entry.uid !== owner)
    throw databaseErrors.create("MILLRACE_EMBEDDED_DIRECTORY_TAKEN", { path: directory });
  if ((entry.mode & 0o077) === 0) return;
  const handle = await open(directory, constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    await handle.chmod(0o700);
  } finally {
    await handle.close();
  }
}

/** The socket lives with the data, unless the path would be longer than the address of a socket may be. */
export async function socketDirectoryOf(root: string, uid: number): Promise<string> {
  const near = join(root, "run");
  if (Buffer.byteLength(join(near, ".s.PGSQL.5432")) <= maxSocketPathBytes) return near;
  // Not os.tmpdir(): two processes with different TMPDIR must find the same socket, and it may be as long.
  return join(await realpath("/tmp"), `millrace-${uid}-${idOf(root)}`);
}

/** Refuses directories that another version of PostgreSQL wrote: starting fresh beside them would look like lost data. */
async function assertSameMajor(root: string, major: number): Promise<void> {
  const names = await readdir(root).catch((): string[] => []);
  const versionIn = async (name: string): Promise<string | undefined> =>
    (await readFile(join(root, name, "PG_VERSION"), "utf8").catch(() => undefined))?.trim();
  const refuse = (name: string, found: string): never => {
    throw databaseErrors.create("MILLRACE_EMBEDDED_OTHER_MAJOR", { directory: join(root, name), found, available: String(major) });
  };
  const bare = await versionIn("");
  if (bare !== undefined) throw databaseErrors.create("MILLRACE_EMBEDDED_FOREIGN_DIRECTORY", { directory: root, found: bare });
  const own = await versionIn(`pg${major}`);
  if (own !== undefined && own !== String(major)) refuse(`pg${major}`, own);
  if (own !== undefined) return;
  for (const name of names.filter((candidate) => /^pg\d+$/.test(candidate))) {
    const found = await versionIn(name);
    if (found !== undefined) refuse(name, found);
  }
}

const isRunning = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
};

/** Removes what processes left behind that were killed while they made a cluster. */
async function removeAbandonedDrafts(root: string): Promise<void> {
  for (const name of await readdir(root)) {
    const maker = /^(?:pg\d+\.init|postgresql-.*\.copy)-(\d+)-/.exec(name)?.[1];
    if (maker === undefined || isRunning(Number(maker))) continue;
    // Its initdb may still be at work for a moment; then the next start removes it.
    await rm(join(root, name), { recursive: true, force: true }).catch(() => {});
  }
}

/** Makes a rename in `directory` survive a crash of the machine. */
async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes a new, empty cluster. Of several processes that do it at once, the first to finish has made it for all. */
async function initialise(pgdata: string, cluster: Omit<Cluster, "pgdata">, durable: boolean): Promise<void> {
  const root = dirname(pgdata);
  const draft = `${pgdata}.init-${process.pid}-${randomBytes(4).toString("hex")}`;
  await mkdir(draft, { mode: 0o700 });
  try {
    if (cluster.user) await lchown(draft, cluster.user.uid, cluster.user.gid);
    const args = [
      ["--pgdata", draft],
      ["--username", "postgres"],
      // Whoever can reach the socket is let in: its directory is private to the server's user.
      ["--auth", "trust"],
      ["--encoding", "UTF8"],
      // The same order of strings on every machine, with case rules for all of Unicode, and no dependency on the system's locales.
      ["--locale-provider", "builtin"],
      ["--builtin-locale", "C.UTF-8"],
      ["--locale", "C"],
      durable ? [] : ["--no-sync"],
    ].flat();
    const { exitCode, output } = await runProgram(cluster.binaries.initdb, args, { cwd: draft, user: cluster.user });
    if (exitCode !== 0) {
      if (saysDiskFull(output)) throw databaseErrors.create("MILLRACE_EMBEDDED_DISK_FULL", { directory: root });
      throw databaseErrors.create("MILLRACE_EMBEDDED_START_FAILED", { reason: "initdb failed", log: output });
    }
    await rename(draft, pgdata).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
    });
    if (durable) await syncDirectory(root);
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

/**
 * Finds the cluster of `dataDir`, making it when there is none.
 * @throws MILLRACE_EMBEDDED_OTHER_MAJOR, MILLRACE_EMBEDDED_DISK_FULL and what locateBinaries throws.
 */
export async function prepareCluster(dataDir: string, log: (message: string) => void, durable: boolean): Promise<Cluster> {
  try {
    const user = await chooseServerUser(resolve(dataDir));
    await makeDirectory(resolve(dataDir), user);
    const known = await realpath(dataDir);
    const root = (await canReach(user, known, 1)) ? known : await keepElsewhere(known, user, log);
    await removeAbandonedDrafts(root);
    const binaries = await locateBinaries(user, runsAsRoot() ? systemDirectory : root);
    await assertSameMajor(root, binaries.major);
    const pgdata = join(root, `pg${binaries.major}`);
    const socketDir = await socketDirectoryOf(root, user?.uid ?? process.getuid?.() ?? 0);
    await makePrivateDirectory(socketDir, user);
    const cluster: Cluster = { dataDir: known, pgdata, socketDir, logFile: join(root, "server.log"), user, binaries };
    if (!(await stat(pgdata).catch(() => undefined))) {
      log(`Creating a PostgreSQL ${binaries.major} database in ${root}.`);
      await initialise(pgdata, cluster, durable);
    }
    return cluster;
  } catch (error) {
    if (error instanceof Error && saysDiskFull(`${(error as NodeJS.ErrnoException).code} ${error.message}`)) {
      throw databaseErrors.create("MILLRACE_EMBEDDED_DISK_FULL", { directory: resolve(dataDir) }, error);
    }
    throw error;
  }
}
