// Everything that can be judged without running the service: types, lint, format, snippets, and the package as it would be published.

import { spawnSync } from "node:child_process";
import { delimiter, join } from "node:path";
import { root } from "./setup.mjs";

const bin = join(root, "node_modules", ".bin");

const checks = [
  { name: "types", command: "tsc", args: ["-p", "tsconfig.json"] },
  { name: "lint", command: "oxlint", args: ["--type-aware", "--deny-warnings", "src", "test", "examples", "scripts", "bench"] },
  { name: "format", command: "oxfmt", args: ["--check", "."] },
  { name: "snippets", command: "node", args: ["scripts/snippets.mjs", "--check"] },
  { name: "build", command: "node", args: ["scripts/build.mjs"] },
  { name: "package (publint)", command: "publint", args: ["--strict"] },
  { name: "package (are the types wrong)", command: "attw", args: ["--pack", ".", "--profile", "esm-only"] },
];

let failed = 0;
for (const { name, command, args } of checks) {
  const startedMs = performance.now();
  const { status, stdout, stderr } = spawnSync(join(bin, command), args, {
    cwd: root,
    encoding: "utf8",
    env: { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}` },
  });
  console.log(`${status === 0 ? "ok  " : "FAIL"} ${name} (${((performance.now() - startedMs) / 1000).toFixed(1)} s)`);
  if (status !== 0) {
    failed++;
    console.log(`${stdout}${stderr}`.trim().replaceAll(/^/gm, "     "));
  }
}
process.exit(failed === 0 ? 0 : 1);
