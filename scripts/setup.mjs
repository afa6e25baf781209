// Brings node_modules to what the lockfile says, when it is not there already. Plain JavaScript for old Nodes: it runs before
// the project's own Node (a devDependency) is there.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url));

/** The Node that the lockfile pins; every script of the project runs on it. */
export const nodeBinary = join(root, "node_modules", ".bin", process.platform === "win32" ? "node.cmd" : "node");

/** Installs the locked dependencies of `folder` when they are missing or differ from its lockfile. */
export function install(folder = root) {
  const lock = createHash("sha256")
    .update(readFileSync(join(folder, "package-lock.json")))
    .digest("hex");
  const stamp = join(folder, "node_modules", ".millrace-installed");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === lock) return;
  console.error(`Installing the locked dependencies${folder === root ? "" : ` of ${folder}`} …`);
  const { status, error } = spawnSync("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: folder,
    stdio: ["ignore", 2, 2],
    shell: process.platform === "win32",
  });
  if (status !== 0) {
    console.error(`npm ci failed${error ? `: ${error.message}` : ""}. It needs the npm registry, or a filled npm cache.`);
    process.exit(1);
  }
  writeFileSync(stamp, lock);
}
