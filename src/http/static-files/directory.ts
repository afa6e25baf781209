// What is in a directory, looked at again when it is asked for after a while. A request's path is never made into a file's: it is looked up
// among the names that a look has found, so nothing outside of the directory can be asked for. Links and names with a leading dot are
// not found, and what is opened must be the very file that was found.

import { hash, createHash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, lstat, open, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../core/index.ts";
import { httpErrors } from "../errors.ts";

/** A file as a look has found it. */
export interface FoundFile {
  /** With slashes, below the directory: "fonts/a.woff2". */
  readonly name: string;
  readonly size: number;
  /** Changes when the file does: which one it is, its size and its times. */
  readonly identity: string;
}

export interface DirectoryOptions {
  readonly path: string;
  readonly checkEveryMs: number;
  readonly depth: number;
  readonly maxFiles: number;
  readonly clock: Clock;
}

const digestCharacters = 22;

type Stats = { readonly ino: bigint; readonly size: bigint; readonly mtimeNs: bigint; readonly ctimeNs: bigint };

const identityOf = ({ ino, size, mtimeNs, ctimeNs }: Stats): string => `${ino} ${size} ${mtimeNs} ${ctimeNs}`;

/** 132 bits of SHA-256, as etag.ts has them. */
const shortened = (digest: string): string => digest.slice(0, digestCharacters);

export class Directory {
  readonly #options: DirectoryOptions;
  #files: ReadonlyMap<string, FoundFile> = new Map();
  /** By file as it was found: a changed one is another. */
  #digests = new WeakMap<FoundFile, Promise<string>>();
  #version = 0;
  #lookedAtMs = -Infinity;
  #looking: Promise<void> | undefined;

  constructor(options: DirectoryOptions) {
    this.#options = options;
  }

  get files(): ReadonlyMap<string, FoundFile> {
    return this.#files;
  }

  /** Grows when a file has changed, come or gone. */
  get version(): number {
    return this.#version;
  }

  /**
   * Looks again if the last look is too old. One look at a time; when one fails, what the last has found stands.
   * @throws MILLRACE_HTTP_FILES_UNREADABLE when none has succeeded
   */
  async look(now = false): Promise<void> {
    const { clock, checkEveryMs } = this.#options;
    if (!now && clock.monotonic() - this.#lookedAtMs < checkEveryMs) return;
    this.#looking ??= this.#look().finally(() => (this.#looking = undefined));
    try {
      await this.#looking;
    } catch (error) {
      if (this.#version === 0) throw error;
    }
  }

  async #look(): Promise<void> {
    const { path, clock } = this.#options;
    const startedMs = clock.monotonic();
    const found = new Map<string, FoundFile>();
    try {
      await this.#walk("", this.#options.depth, found);
    } catch (cause) {
      throw cause instanceof Error && "code" in cause && cause.code === "MILLRACE_HTTP_FILES_UNREADABLE"
        ? cause
        : httpErrors.create(
            "MILLRACE_HTTP_FILES_UNREADABLE",
            { path, reason: cause instanceof Error ? cause.message : String(cause) },
            cause,
          );
    } finally {
      this.#lookedAtMs = startedMs;
    }
    const isSame = found.size === this.#files.size && [...found].every(([name, file]) => this.#files.get(name) === file);
    if (this.#version > 0 && isSame) return;
    this.#files = found;
    this.#version++;
  }

  async #walk(folder: string, depth: number, found: Map<string, FoundFile>): Promise<void> {
    const { path, maxFiles } = this.#options;
    for (const entry of await readdir(join(path, folder), { withFileTypes: true })) {
      if (entry.name.startsWith(".")) continue;
      const name = folder === "" ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory() && depth > 0) await this.#walk(name, depth - 1, found);
      if (!entry.isFile()) continue;
      if (found.size >= maxFiles)
        throw httpErrors.create("MILLRACE_HTTP_FILES_UNREADABLE", { path, reason: `it has more than ${maxFiles} files` });
      const stats = await lstat(join(path, name), { bigint: true }).catch(() => undefined); // gone meanwhile
      if (!stats?.isFile()) continue;
      const identity = identityOf(stats);
      const before = this.#files.get(name);
      found.set(name, before?.identity === identity ? before : { name, size: Number(stats.size), identity });
    }
  }

  /** Opens it; undefined: it is not any more what was found. The caller closes it. */
  async open(file: FoundFile): Promise<FileHandle | undefined> {
    let handle: FileHandle;
    try {
      handle = await open(join(this.#options.path, file.name), constants.O_RDONLY | constants.O_NOFOLLOW);
    } catch {
      return undefined;
    }
    if (identityOf(await handle.stat({ bigint: true })) === file.identity) return handle;
    await handle.close();
    return undefined;
  }

  /** All of it, and its digest. Undefined: it is not any more what was found. */
  async read(file: FoundFile): Promise<{ readonly bytes: Buffer; readonly digest: string } | undefined> {
    await using handle = await this.open(file);
    const bytes = await handle?.readFile();
    if (bytes === undefined || bytes.length !== file.size) return undefined;
    const digest = shortened(hash("sha256", bytes, "base64url"));
    this.#digests.set(file, Promise.resolve(digest));
    return { bytes, digest };
  }

  /** Of its bytes; worked out once. Undefined: it is not any more what was found. */
  async digest(file: FoundFile): Promise<string | undefined> {
    let digest = this.#digests.get(file);
    if (digest === undefined) {
      digest = this.#digest(file);
      this.#digests.set(file, digest);
      digest.catch(() => this.#digests.delete(file));
    }
    return digest.catch(() => undefined);
  }

  /** @throws when it is not any more what was found */
  async #digest(file: FoundFile): Promise<string> {
    await using handle = await this.open(file);
    if (handle === undefined) throw new Error(`${file.name} has changed.`);
    const sha = createHash("sha256");
    for await (const chunk of handle.createReadStream({ autoClose: false })) sha.update(chunk as Buffer);
    return shortened(sha.digest("base64url"));
  }
}
