// PostgreSQL refuses to run as root, and containers and CI often run as root. Then the server runs as an unprivileged user, who
// must be able to reach what he works on. See docs/embedded-postgresql.md.

import { readFile, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";

/** Whom the server runs as. */
export interface ServerUser {
  readonly uid: number;
  readonly gid: number;
}

/** "nobody" in Debian's and Red Hat's base images. */
const nobody: ServerUser = { uid: 65_534, gid: 65_534 };

/** Whether this process is root, and the server therefore needs another user. */
export const runsAsRoot = (): boolean => process.getuid?.() === 0;

/** initdb asks the system for the name of its user and fails for a number without one. */
async function hasName(uid: number): Promise<boolean> {
  const passwd = await readFile("/etc/passwd", "utf8").catch(() => "");
  return passwd.split("\n").some((line) => line.split(":")[2] === String(uid));
}

/** The nearest directory on the way up from `path` (itself included) that exists. */
export async function nearestExisting(path: string): Promise<string> {
  for (let candidate = resolve(path); ; candidate = dirname(candidate)) {
    if (await stat(candidate).catch(() => undefined)) return candidate;
    if (candidate === dirname(candidate)) return candidate;
  }
}

/**
 * The user for a server whose files are (to be) under `directory`: undefined means the user of this process. For root it is the
 * owner of the directory, so that the files stay his, or nobody where that owner is root too.
 */
export async function chooseServerUser(directory: string): Promise<ServerUser | undefined> {
  if (!runsAsRoot()) return undefined;
  const { uid, gid } = await stat(await nearestExisting(directory));
  return uid !== 0 && (await hasName(uid)) ? { uid, gid } : nobody;
}

/** The permission bits of `mode` that apply to `user`, as 0–7. Access control lists are not looked at. */
const bitsFor = (user: ServerUser, entry: { readonly uid: number; readonly gid: number; readonly mode: number }): number => {
  if (entry.uid === user.uid) return (entry.mode >> 6) & 7;
  if (entry.gid === user.gid) return (entry.mode >> 3) & 7;
  return entry.mode & 7;
};

/** Whether `user` has the permissions `bits` (4 read, 2 write, 1 enter) on `path` and may enter every directory above it. */
export async function canReach(user: ServerUser | undefined, path: string, bits: number): Promise<boolean> {
  if (!user) return true;
  for (let current = resolve(path), wanted = bits; ; current = dirname(current), wanted = 1) {
    const entry = await stat(current).catch(() => undefined);
    if (!entry || (bitsFor(user, entry) & wanted) !== wanted) return false;
    if (current === dirname(current)) return true;
  }
}
