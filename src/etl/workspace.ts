// The directory in which a run works, and names for files that are not whole yet. What a killed process left is removed by the next.

import { randomUUID } from "node:crypto";
import { copyFile, mkdtemp, open, readdir, realpath, rename, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { etlErrors } from "./errors.ts";

/** Machine and process, so that who finds it can tell whether its owner lives: containers may share a directory, not a host name. */
const ownerMark = (): string => `${hostname().replaceAll(/[^\w-]/g, "_")}.${process.pid}`;

/** Whether `name`, after `prefix`, is of a process of this machine that is gone. */
function isAbandoned(name: string, prefix: string): boolean {
  if (!name.startsWith(prefix)) return false;
  const [host, pid] = name.slice(prefix.length).split(".");
  if (`${host}.${process.pid}` !== ownerMark() || !/^\d+$/.test(pid ?? "")) return false;
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
}

async function removeAbandoned(directory: string, prefix: string): Promise<void> {
  const names = await readdir(directory).catch((): string[] => []);
  const abandoned = names.filter((name) => isAbandoned(name, prefix));
  await Promise.all(abandoned.map((name) => rm(join(directory, name), { recursive: true, force: true })));
}

export interface Workspace extends AsyncDisposable {
  readonly path: string;
}

const workspacePrefix = "millrace-etl-";

/** Makes a directory of this run's own in `parent`, for nobody else to read. */
export async function openWorkspace(parent: string): Promise<Workspace> {
  await removeAbandoned(parent, workspacePrefix);
  const path = await noRoomIs(parent, async () => realpath(await mkdtemp(join(parent, `${workspacePrefix}${ownerMark()}.`))));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true, maxRetries: 3 }) };
}

/** A file beside `target` that is given its name when it is whole. */
export async function unfinishedName(target: string): Promise<string> {
  const prefix = `.${basename(target).slice(0, 100)}.unfinished-`;
  await removeAbandoned(dirname(target), prefix);
  return join(dirname(target), `${prefix}${ownerMark()}.${randomUUID().slice(0, 8)}`);
}

/** Gives a finished file its name, for good. */
export async function publish(from: string, to: string): Promise<void> {
  await rename(from, to);
  const directory = await open(dirname(to)).catch(() => undefined);
  // Some file systems cannot sync a directory; the name is there all the same.
  await directory?.sync().catch(() => {});
  await directory?.close();
}

/** Gives a file from another file system its name: first beside it, then in one step. */
export async function publishCopy(from: string, to: string): Promise<void> {
  const beside = await unfinishedName(to);
  try {
    await noRoomIs(dirname(to), () => copyFile(from, beside));
    await publish(beside, to);
  } finally {
    await rm(beside, { force: true });
  }
}

/** Runs `work`; a full file system gets its name. @throws MILLRACE_ETL_DISK_FULL */
export async function noRoomIs<Result>(directory: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== "ENOSPC" && code !== "EDQUOT") throw error;
    throw etlErrors.create("MILLRACE_ETL_DISK_FULL", { directory, reason: message }, error);
  }
}
