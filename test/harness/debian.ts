// Programs that come as Debian packages: found, installed when that is allowed, or asked for in so many words. Never skipped.

import { execFile } from "node:child_process";
import { access, constants } from "node:fs/promises";
import { delimiter, isAbsolute, join } from "node:path";
import { promisify } from "node:util";

const execute = promisify(execFile);

/** A query against a mirror and an installation: minutes at most, even on a slow line. */
const installTimeoutMs = 300_000;

/** One installation at a time within a process; between processes apt-get itself waits for its lock. */
let installing: Promise<unknown> = Promise.resolve();

async function find(binary: string): Promise<string | undefined> {
  const candidates = isAbsolute(binary)
    ? [binary]
    : [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/sbin"]
        .filter((directory) => directory !== "")
        .map((directory) => join(directory, binary));
  for (const candidate of candidates) {
    const runnable = await access(candidate, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (runnable) return candidate;
  }
  return undefined;
}

async function install(packageName: string): Promise<void> {
  const options = {
    timeout: installTimeoutMs,
    maxBuffer: 16 * 1024 * 1024,
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C" },
  };
  await execute("apt-get", ["-o", "DPkg::Lock::Timeout=120", "update"], options);
  await execute("apt-get", ["-o", "DPkg::Lock::Timeout=120", "install", "--yes", "--no-install-recommends", packageName], options);
}

/**
 * The path of `binary` (a name to find in PATH, or an absolute path), after installing the Debian package when it is missing and
 * this process is root.
 * @throws Error that says what to install, when it may not or could not be installed.
 */
export async function debianPackage(packageName: string, binary: string): Promise<string> {
  const present = await find(binary);
  if (present !== undefined) return present;
  const advice = `This test needs ${binary} from the Debian package ${packageName}. Install it: apt-get update && apt-get install ${packageName}`;
  if (process.getuid?.() !== 0) throw new Error(`${advice} (as root; tests run as root do it by themselves).`);
  const mine = installing.then(async () => (await find(binary)) ?? (await install(packageName)));
  installing = mine.catch(() => {});
  try {
    await mine;
  } catch (error) {
    throw new Error(`${advice}. Trying it failed: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
  const installed = await find(binary);
  if (installed === undefined) throw new Error(`The Debian package ${packageName} is installed, but it has no ${binary}.`);
  return installed;
}
