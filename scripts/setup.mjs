// Brings node_modules to what the lockfile says, when it is not there already. Plain JavaScript for old Nodes: it runs before
// the project's own Node (a devDependency) is there.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url));

/** The Node that the lockfile pins; every script of the project runs on it. */
export const nodeBinary = join(root, "node_modules", ".bin", process.platform === "win32" ? "node.cmd" : "node");

const isAlive = (pid) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
};

/** Runs `work` while no other process of this checkout does. A lock whose process has died is taken over. */
function exclusively(lockFile, work) {
  for (;;) {
    try {
      writeFileSync(lockFile, String(process.pid), { flag: "wx" });
      break;
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
      const holder = existsSync(lockFile) ? Number(readFileSync(lockFile, "utf8")) : 0;
      if (holder && !isAlive(holder)) rmSync(lockFile, { force: true });
      else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
    }
  }
  try {
    return work();
  } finally {
    rmSync(lockFile, { force: true });
  }
}

/** Installs the locked dependencies of `folder` when they are missing or differ from its lockfile. */
export function install(folder = root) {
  const lock = createHash("sha256")
    .update(readFileSync(join(folder, "package-lock.json")))
    .digest("hex");
  const stamp = join(folder, "node_modules", ".millrace-installed");
  const isInstalled = () => existsSync(stamp) && readFileSync(stamp, "utf8") === lock;
  if (isInstalled()) return;
  exclusively(join(folder, ".installing"), () => {
    if (isInstalled()) return; // another process has done it meanwhile
    console.error(`Installing the locked dependencies${folder === root ? "" : ` of ${folder}`} …`);
    const { status, error } = spawnSync("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], {
      cwd: folder,
      stdio: ["ignore", 2, 2],
      shell: process.platform === "win32",
    });
    if (status !== 0) {
      console.error(`npm ci failed${error ? `: ${error.message}` : ""}. It needs the npm registry, or a filled npm cache.`);
      process.exitCode = 1;
      throw new Error("The dependencies could not be installed.");
    }
    writeFileSync(stamp, lock);
  });
}
