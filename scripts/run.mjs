// npm start, npm test and the others come here: set up, then run the task on the project's own Node.
//
//   node scripts/run.mjs <task> [argument …]

import { spawn } from "node:child_process";
import { join } from "node:path";
import { install, nodeBinary, root } from "./setup.mjs";

/** Makes Node resolve `millrace` and its subpaths to src/, so that nothing needs building. */
const source = "--conditions=millrace-source";

/** Each task: the arguments of node. */
const tasks = {
  start: [source, "examples/weather/src/main.ts"],
  test: [source, "scripts/test.mjs"],
  check: [source, "scripts/check.mjs"],
  build: ["scripts/build.mjs"],
  snippets: ["scripts/snippets.mjs"],
  errors: [source, "scripts/errors.mjs"],
  bench: [source, "bench/run.mjs"],
  millrace: [source, "src/cli/bin.ts"],
};

const [task, ...args] = process.argv.slice(2);
if (!Object.hasOwn(tasks, task ?? "")) {
  console.error(`Usage: node scripts/run.mjs ${Object.keys(tasks).join("|")} [argument …]`);
  process.exit(2);
}
install();
if (task === "bench") install(join(root, "bench"));

const child = spawn(nodeBinary, [...tasks[task], ...args], { cwd: root, stdio: "inherit" });
// The terminal sends ctrl-C to the whole group: the child ends by itself, and this waits for it. A signal sent only here is passed on.
process.on("SIGINT", () => {});
for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
child.on("exit", (code, signal) => {
  if (signal) {
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  } else {
    process.exit(code ?? 1);
  }
});
