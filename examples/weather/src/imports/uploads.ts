// Uploaded files on disk, from the last byte's arrival to the end of their import.

import { randomUUID } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir, readdir, rm, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type Database, problem, sql } from "millrace";

/** Kept free on the disk whatever is uploaded: the database, perhaps on the same one, must go on. */
const spareBytes = 256 * 1_048_576;

/** How old a file must be to be taken for left over: no upload takes as long (see its deadline in endpoints.ts). */
const strayAfterMs = 3_600_000;

export interface Upload {
  /** The import's, too. */
  readonly id: string;
  readonly bytes: number;
}

export interface Uploads {
  /** Also where an import works: it needs about as much room as the file, which /tmp often has not. */
  readonly directory: string;
  path(id: string): string;
  /** Where the report of its bad rows is, until it is in the database. */
  reportPath(id: string): string;
  /** Refuses what does not fit before it comes. `bytes` is what the client says. @throws 507 */
  requireRoom(bytes: number): Promise<void>;
  /** Writes a stream to disk. When it fails, or breaks off, nothing is left. @throws 507 when the disk is full */
  receive(stream: Readable, signal: AbortSignal): Promise<Upload>;
  /** Removes the file and its report. */
  remove(id: string): Promise<void>;
}

const noRoom = (cause?: unknown) => problem(507, "STORAGE_FULL", "There is no room for this file at the moment.", { cause });

/** Uploads in `directory`, which is made. It must be the same for all processes that take uploads or work on tasks. */
export async function openUploads(directory: string): Promise<Uploads> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const path = (id: string) => join(directory, `${id}.csv`);
  const reportPath = (id: string) => join(directory, `${id}.report`);
  const remove = async (id: string) => {
    for (const one of [path(id), reportPath(id)]) await rm(one, { force: true });
  };
  return {
    directory,
    path,
    reportPath,
    remove,
    async requireRoom(bytes) {
      const { bavail, bsize } = await statfs(directory);
      if (bavail * bsize < bytes + spareBytes) throw noRoom();
    },
    async receive(stream, signal) {
      const id = randomUUID();
      try {
        const file = createWriteStream(path(id), { flags: "wx", mode: 0o600, flush: true });
        await pipeline(stream, file, { signal });
        return { id, bytes: file.bytesWritten };
      } catch (error) {
        await remove(id);
        if ((error as NodeJS.ErrnoException).code === "ENOSPC") throw noRoom(error);
        throw error;
      }
    },
  };
}

/** Removes what a process left that was killed during an upload or at the end of an import: old files that no import waits for. */
export async function removeStrayUploads(db: Database, directory: string, nowMs: number): Promise<void> {
  const files = (await readdir(directory)).flatMap((name) => {
    const [, id] = /^([\da-f-]{36})\.(?:csv|report)$/.exec(name) ?? [];
    return id === undefined ? [] : [{ id, path: join(directory, name) }];
  });
  const ids = files.map(({ id }) => id);
  const waiting = await db.many(sql<{ id: string }>`select id from imports where id = any(${ids}::uuid[]) and finished_at is null`);
  const wanted = new Set(waiting.map(({ id }) => id));
  for (const { id, path } of files) {
    const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: nowMs })); // another process has removed it
    if (!wanted.has(id) && nowMs - mtimeMs > strayAfterMs) await rm(path, { force: true });
  }
}
