// Runs every test. One PostgreSQL server is started for all of them (or DATABASE_URL's is used), on a private socket with a
// throw-away data directory, and is stopped at the end whatever happens. Arguments are test files, or options of node --test.

import { spawn } from "node:child_process";
import { globSync } from "node:fs";
import { checkGivenServer, startSharedTestServer } from "../test/harness/postgres.ts";
import { root } from "./setup.mjs";

const args = process.argv.slice(2);
const files = args.filter((arg) => !arg.startsWith("--"));
const options = args.filter((arg) => arg.startsWith("--"));
const all = ["src/**/*.test.ts", "test/**/*.test.ts", "examples/*/src/**/*.test.ts", "examples/*/test/**/*.test.ts"].flatMap(
  (pattern) => globSync(pattern, { cwd: root }),
);
if (files.length === 0 && all.length === 0) {
  console.error("No test found.");
  process.exit(1);
}

const given = process.env.DATABASE_URL;
if (given) {
  try {
    await checkGivenServer(given);
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
}
const server = given ? { url: given, close: async () => {} } : await startSharedTestServer();
const child = spawn(
  process.execPath,
  [
    "--conditions=millrace-source",
    "--test",
    "--test-concurrency=2",
    "--test-timeout=180000",
    ...options,
    ...(files.length > 0 ? files : all),
  ],
  { cwd: root, stdio: "inherit", env: { ...process.env, MILLRACE_TEST_SERVER: server.url } },
);
process.on("SIGINT", () => {});
process.on("SIGTERM", () => child.kill("SIGTERM"));
const status = await new Promise((resolve) => child.on("exit", (code) => resolve(code ?? 1)));
await server.close();
process.exit(status);
