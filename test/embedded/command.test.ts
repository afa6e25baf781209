// `millrace db` as people type it: real processes, a real directory, Debian's psql.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { text } from "node:stream/consumers";
import { debianPackage } from "../harness/debian.ts";
import { AppProcess, ask, checkout, identifyServer, isAlive, temporaryDirectory } from "./app-process.ts";

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `millrace …` in `cwd`, without DATABASE_URL unless given. */
async function millrace(cwd: string, args: readonly string[], environment: Record<string, string> = {}): Promise<Outcome> {
  const { DATABASE_URL: _, ...inherited } = process.env;
  const bin = join(checkout, "src/cli/bin.ts");
  const child = spawn(process.execPath, ["--conditions=millrace-source", bin, ...args], {
    cwd,
    env: { ...inherited, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  return { code, stdout, stderr };
}

test("db start leaves the server running, db status describes it, db psql and every libpq tool reach it, db stop stops it", async () => {
  const psql = await debianPackage("postgresql-client", "psql");
  await using directory = await temporaryDirectory();
  const cwd = directory.path;
  const dataDir = join(cwd, ".millrace/postgres");

  assert.match((await millrace(cwd, ["db", "status"])).stdout, /no database yet/);
  const unborn = await millrace(cwd, ["db", "url"]);
  assert.equal(unborn.code, 1);
  assert.equal(unborn.stdout, "");
  assert.match(unborn.stderr, /no database in .*\.millrace\/postgres yet/);

  const started = await millrace(cwd, ["db", "start"]);
  assert.equal(started.code, 0, started.stderr);
  const pid = await identifyServer(dataDir);
  assert.ok(pid && (await isAlive(pid)), "the server runs on after the command has ended");
  const url = (await millrace(cwd, ["db", "url"])).stdout.trim();
  assert.equal(started.stdout.trim(), url);

  const child = spawn(psql, [url, "-At", "-c", "select current_user, current_database()"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  assert.equal(await text(child.stdout), "postgres|millrace\n");
  assert.equal((await millrace(cwd, ["db", "psql", "--", "-At", "-c", "select 6 * 7"])).stdout, "42\n");

  const status = (await millrace(cwd, ["db", "status"])).stdout;
  assert.match(status, new RegExp(`runs, PostgreSQL 18\\.\\d+, process ${pid}`));
  assert.match(status, /used by {3}nobody/);

  // A program that uses it meanwhile joins, and does not stop it when it leaves.
  await using program = new AppProcess({ dataDir });
  assert.equal((await program.next("ready")).pid, pid);
  assert.match((await millrace(cwd, ["db", "status"])).stdout, new RegExp(`used by {3}process ${program.pid}\n`));
  await program.close();
  assert.ok(await isAlive(pid));

  const stopped = await millrace(cwd, ["db", "stop"]);
  assert.deepEqual(stopped, { code: 0, stdout: "Stopped.\n", stderr: "" });
  assert.equal(await isAlive(pid), false);
  assert.equal((await millrace(cwd, ["db", "stop"])).stdout, "It was not running.\n");
  assert.match((await millrace(cwd, ["db", "status"])).stdout, /does not run \(PostgreSQL 18\)/);
});

test("db psql starts a server that does not run, for as long as psql does, and passes psql's exit code on", async () => {
  await debianPackage("postgresql-client", "psql");
  await using directory = await temporaryDirectory();
  const dataDir = join(directory.path, "data");
  const asked = await millrace("/", [
    "db",
    "psql",
    "--data-dir",
    dataDir,
    "--database",
    "mine",
    "--",
    "-At",
    "-c",
    "select current_database()",
  ]);
  assert.deepEqual(asked, { code: 0, stdout: "mine\n", stderr: "" });
  assert.equal(await identifyServer(dataDir), undefined);
  const failed = await millrace("/", ["db", "psql", "--data-dir", dataDir, "--", "-c", "nonsense"]);
  assert.equal(failed.code, 1);
  assert.match(failed.stderr, /syntax error/);
});

test("db stop leaves a server that is in use, says by whom, and it stops with its last user even if it was started by hand", async () => {
  await using directory = await temporaryDirectory();
  const dataDir = join(directory.path, "data");
  assert.equal((await millrace("/", ["db", "start", "--data-dir", dataDir])).code, 0);
  await using program = new AppProcess({ dataDir });
  const { pid } = await program.next("ready");
  const refused = await millrace("/", ["db", "stop", "--data-dir", dataDir]);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, new RegExp(`in use \\(process ${program.pid}\\)`));
  assert.ok(await isAlive(pid!));
  await program.close();
  assert.equal(await isAlive(pid!), false);
});

test("DATABASE_URL is honoured, unless a directory is named, and its password is not shown", async () => {
  await using directory = await temporaryDirectory();
  await mkdir(join(directory.path, "data"));
  const environment = { DATABASE_URL: "postgresql://somebody:secret@127.0.0.1:1/there" };
  assert.equal((await millrace("/", ["db", "url"], environment)).stdout, `${environment.DATABASE_URL}\n`);

  const status = await millrace("/", ["db", "status"], environment);
  assert.equal(status.code, 1);
  assert.match(status.stdout, /127\.0\.0\.1:1.*\(DATABASE_URL\)\nstate {5}does not answer/s);
  assert.doesNotMatch(status.stdout + status.stderr, /secret/);

  const start = await millrace("/", ["db", "start"], environment);
  assert.equal(start.code, 1);
  assert.match(start.stderr, /DATABASE_URL names a server that Millrace does not start/);

  const named = await millrace("/", ["db", "start", "--data-dir", join(directory.path, "data")], environment);
  assert.equal(named.code, 0, named.stderr);
  assert.deepEqual(await ask(named.stdout.trim(), "select 1 as one"), [{ one: 1 }]);
});

test("a mistake in the command line is explained, and help tells what there is", async () => {
  const unknown = await millrace("/", ["db", "pqsl"]);
  assert.equal(unknown.code, 1);
  assert.match(unknown.stderr, /unknown command 'pqsl'\n\(Did you mean psql\?\)/);
  const help = await millrace("/", ["db", "--help"]);
  assert.equal(help.code, 0);
  for (const name of ["url", "psql", "status", "start", "stop", "migrate"])
    assert.match(help.stdout, new RegExp(`^ {2}${name} `, "m"));
  assert.match((await millrace("/", ["--version"])).stdout, /^\d+\.\d+\.\d+/);
});

test("a failure is one sentence and a code, not a stack", async () => {
  await using directory = await temporaryDirectory();
  await mkdir(join(directory.path, "pg17"));
  await writeFile(join(directory.path, "pg17/PG_VERSION"), "17\n");
  const { code, stderr } = await millrace("/", ["db", "start", "--data-dir", directory.path]);
  assert.equal(code, 1);
  assert.match(stderr, /was written by PostgreSQL 17.*\(MILLRACE_EMBEDDED_OTHER_MAJOR\)\n$/s);
  assert.doesNotMatch(stderr, /\n\s+at /);
});
