// A file system without room, when a database is made, while it is written to, and when it is started.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, rm, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { startEmbeddedPostgres } from "../../src/database/index.ts";
import { AppProcess, ask, serverProcesses, temporaryDirectory, until } from "./app-process.ts";
import { makeCheckout } from "./checkout.ts";

const execute = promisify(execFile);

/** A file system of so many megabytes, mounted while the test runs. */
async function smallDisk(megabytes: number): Promise<AsyncDisposable & { readonly path: string }> {
  const directory = await temporaryDirectory();
  const path = join(directory.path, "disk");
  await mkdir(path);
  await execute("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m,mode=755`, "tmpfs", path]);
  return {
    path,
    async [Symbol.asyncDispose]() {
      await execute("umount", ["--lazy", path]);
      await directory[Symbol.asyncDispose]();
    },
  };
}

/** Takes what room is left. */
async function fill(disk: string): Promise<string> {
  const path = join(disk, "filler");
  await execute("dd", ["if=/dev/zero", `of=${path}`, "bs=4k", "oflag=append", "conv=notrunc"]).catch(() => {}); // dd ends with the error that is wanted
  return path;
}

test("what initdb says about a full disk becomes an error of its own", async () => {
  await using directory = await temporaryDirectory();
  const initdb = "#!/bin/sh\necho 'initdb: error: could not write to file \"base\": No space left on device' >&2\nexit 1\n";
  const root = await makeCheckout(directory.path, { platform: { initdb } });
  await using program = new AppProcess({ root, dataDir: join(directory.path, "data") });
  const { code, message } = await program.next("failed");
  assert.equal(code, "MILLRACE_EMBEDDED_DISK_FULL");
  assert.match(message!, /Make room/);
});

// Mounting needs root; what runs without it is above. CI and the containers that the kit is tested in are root.
if (process.getuid!() === 0) {
  test("a disk too small for a new database gives a clear error and keeps no debris", async () => {
    await using disk = await smallDisk(20);
    await assert.rejects(
      startEmbeddedPostgres({ dataDir: join(disk.path, "data") }),
      (error: { code: string; message: string }) => {
        assert.equal(error.code, "MILLRACE_EMBEDDED_DISK_FULL");
        assert.match(error.message, new RegExp(`${disk.path}.*is full. Make room`));
        return true;
      },
    );
    const { stdout } = await execute("du", ["-sk", disk.path]);
    assert.ok(Number.parseInt(stdout, 10) < 100, `left over: ${stdout}`);
  });

  test("a disk that fills while rows are written refuses rows, then the start; with room again every acknowledged row is there", async () => {
    await using disk = await smallDisk(120);
    const dataDir = join(disk.path, "data");
    await using program = new AppProcess({ dataDir });
    const { pid } = await program.next("ready");
    program.send("write");
    await until("rows are written", () => program.acknowledged.length > 20);
    const filler = await fill(disk.path);
    const refused = await program.next("refused");
    assert.match(refused.message!, /No space left on device|Connection terminated|terminating connection/);
    await program.kill();
    for (const each of await serverProcesses(pid!)) {
      try {
        process.kill(each, "SIGKILL");
      } catch {
        // Ended with the others.
      }
    }
    await until("the server is gone", async () => (await serverProcesses(pid!)).length === 0);

    // The log's last page full too, and no file that a start replaces: nobody can write down why the start fails.
    await rm(join(dataDir, "pg18/postmaster.pid"));
    const log = join(dataDir, "server.log");
    await truncate(log, Math.ceil((await stat(log)).size / 4096) * 4096);
    await fill(disk.path);

    await using hopeless = new AppProcess({ dataDir });
    assert.equal((await hopeless.next("failed")).code, "MILLRACE_EMBEDDED_DISK_FULL");

    await rm(filler);
    await using next = new AppProcess({ dataDir });
    const { url } = await next.next("ready");
    const present = new Set((await ask<{ id: number }>(url!, "select id from written")).map(({ id }) => id));
    assert.deepEqual(
      program.acknowledged.filter((id) => !present.has(id)),
      [],
    );
    await next.close();
  });
}
