// Where root keeps a database whose directory the server's user cannot reach (/root, mktemp -d, another user's private home):
// under the system directory, with a link in the directory that says where. See docs/embedded-postgresql.md, "As root".

import { createHash, randomBytes } from "node:crypto";
import { chmod, chown, lstat, mkdir, readdir, readlink, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { databaseErrors } from "../errors.ts";
import { assertOwnedByRoot, systemDirectory } from "./binaries.ts";
import type { ServerUser } from "./server-user.ts";

const parent = join(systemDirectory, "data");

/** The link in the data directory. The link decides: without it (the directory was deleted) a new database is made. */
const linkName = "kept-in";

/** Where the database of `dataDir` is kept, or undefined: in the directory itself. */
export const readLinkIn = async (dataDir: string): Promise<string | undefined> => {
  const target = await readlink(join(dataDir, linkName)).catch(() => undefined);
  if (target === undefined) return undefined;
  // The data directory may be writable for others; only a place that root made here is followed.
  if (!/^[0-9a-f]{16}-[0-9a-f]{8}$/.test(target.slice(parent.length + 1)) || !target.startsWith(`${parent}/`)) {
    throw databaseErrors.create("MILLRACE_EMBEDDED_DIRECTORY_TAKEN", { path: join(dataDir, linkName) });
  }
  return target;
};

/** The directory that stands in for `dataDir`, made at first use. */
export async function keepElsewhere(
  dataDir: string,
  user: ServerUser | undefined,
  log: (message: string) => void,
): Promise<string> {
  const hash = createHash("sha256").update(dataDir).digest("hex").slice(0, 16);
  await mkdir(parent, { recursive: true, mode: 0o755 });
  await assertOwnedByRoot(systemDirectory);
  await assertOwnedByRoot(parent);
  let place = await readLinkIn(dataDir);
  if (place === undefined) {
    const earlier = (await readdir(parent)).filter((name) => name.startsWith(`${hash}-`));
    const candidate = join(parent, `${hash}-${randomBytes(4).toString("hex")}`);
    await mkdir(candidate, { mode: 0o700 });
    const linked = await symlink(candidate, join(dataDir, linkName)).then(
      () => true,
      async (error: NodeJS.ErrnoException) => {
        await rm(candidate, { recursive: true });
        if (error.code === "EEXIST") return false;
        throw error;
      },
    );
    place = (linked ? candidate : await readLinkIn(dataDir)) ?? candidate;
    log(
      `${dataDir} cannot be reached by the user that PostgreSQL runs as (root may not run it); the database is kept in ${place}.`,
    );
    for (const name of earlier)
      log(`${join(parent, name)} holds an earlier database of ${dataDir}. Remove it when you no longer need it.`);
  }
  // The link survived but its target did not: somebody cleaned up.
  await mkdir(place, { mode: 0o700, recursive: true });
  await chmod(place, 0o700);
  if (user && (await lstat(place)).uid !== user.uid) await chown(place, user.uid, user.gid);
  return place;
}
