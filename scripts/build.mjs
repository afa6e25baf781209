// Emits dist/: JavaScript, types and source maps of src/, by plain tsc.

import { spawnSync } from "node:child_process";
import { chmodSync, rmSync } from "node:fs";
import { join } from "node:path";
import { root } from "./setup.mjs";

rmSync(join(root, "dist"), { recursive: true, force: true });
const { status } = spawnSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", "tsconfig.build.json"], {
  cwd: root,
  stdio: "inherit",
});
if (status === 0) chmodSync(join(root, "dist/cli/bin.js"), 0o755);
process.exit(status ?? 1);
