// SIGKILL to programs, to the server and to everything, while rows are written: what was acknowledged is there afterwards, and the
// next start works. The server is durable in these tests.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import {
  AppProcess,
  ask,
  identifyServer,
  isAlive,
  preparedDirectory,
  serverProcesses,
  temporaryDirectory,
  until,
} from "./app-process.ts";

/** Numbers that were acknowledged and are not in the table. */
async function lostRows(url: string, acknowledged: readonly number[]): Promise<number[]> {
  const rows = await ask<{ id: number }>(url, "select id from written");
  const present = new Set(rows.map(({ id }) => id));
  return acknowledged.filter((id) => !present.has(id));
}

const hasWritten = (program: AppProcess, rows: number): Promise<void> =>
  until(`${rows} acknowledged rows`, () => program.acknowledged.length >= rows);

/** Writing failed, and went on: so many rows were acknowledged after the first that was refused. */
async function hasWrittenAfterRefusals(program: AppProcess, rows: number): Promise<void> {
  await program.next("refused");
  const first = program.messages.findIndex(({ event }) => event === "refused");
  await until(
    `${rows} acknowledged rows after the loss`,
    () => program.messages.slice(first).filter(({ event }) => event === "acknowledged").length >= rows,
  );
}

function killAll(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It ended when it saw the others end.
    }
  }
}

test("a program killed while writing loses no acknowledged row, and the next one adopts its server", async () => {
  await using directory = await preparedDirectory();
  await using killed = new AppProcess({ dataDir: directory.path });
  const { pid } = await killed.next("ready");
  killed.send("write");
  await hasWritten(killed, 50);
  await killed.kill();
  assert.ok(await isAlive(pid!));

  await using next = new AppProcess({ dataDir: directory.path });
  const ready = await next.next("ready");
  assert.equal(ready.pid, pid);
  assert.deepEqual(await lostRows(ready.url!, killed.acknowledged), []);
  await next.close();
  assert.equal(await isAlive(pid!), false, "the adopted server must end with the program that adopted it");
});

test("one of two programs killed while both use the server does not disturb the other, who stops the server in the end", async () => {
  await using directory = await preparedDirectory();
  await using writer = new AppProcess({ dataDir: directory.path });
  const { pid, url } = await writer.next("ready");
  await using killed = new AppProcess({ dataDir: directory.path });
  await killed.next("ready");
  writer.send("write");
  await hasWritten(writer, 20);
  await killed.kill();
  await hasWritten(writer, writer.acknowledged.length + 20);
  assert.deepEqual(await lostRows(url!, writer.acknowledged), []);
  assert.equal(writer.messages.filter(({ event }) => event === "refused").length, 0);
  await writer.close();
  assert.equal(await isAlive(pid!), false);
});

test("a server killed while a program writes is started again under it, with every acknowledged row", async () => {
  await using directory = await preparedDirectory();
  await using program = new AppProcess({ dataDir: directory.path });
  const { pid, url } = await program.next("ready");
  program.send("write");
  await hasWritten(program, 50);
  process.kill(pid!, "SIGKILL");
  await hasWrittenAfterRefusals(program, 50);
  assert.match(program.logged, /had ended; it was started again/);
  assert.deepEqual(await lostRows(url!, program.acknowledged), []);
  await program.close();
  assert.equal(await identifyServer(directory.path), undefined, "no server may be left");
});

test("a server killed with all its processes while two programs use it is started once, for both", async () => {
  await using directory = await preparedDirectory();
  await using first = new AppProcess({ dataDir: directory.path });
  await using second = new AppProcess({ dataDir: directory.path });
  const [{ pid, url }] = await Promise.all([first.next("ready"), second.next("ready")]);
  first.send("write");
  await hasWritten(first, 50);
  killAll([pid!, ...(await serverProcesses(pid!))]);
  await hasWrittenAfterRefusals(first, 50);
  await until("both programs are present again", async () => {
    const presences = "select pid from pg_stat_activity where application_name like 'millrace presence %'";
    return (await ask(url!, presences)).length === 2;
  });
  assert.deepEqual(await lostRows(url!, first.acknowledged), []);
  await first.close();
  assert.deepEqual(await ask(url!, "select 1 as one"), [{ one: 1 }], "the second program still has its server");
  await second.close();
  assert.equal(await identifyServer(directory.path), undefined);
});

test("everything killed at once while writing: the next start recovers every acknowledged row", async () => {
  await using directory = await preparedDirectory();
  await using first = new AppProcess({ dataDir: directory.path });
  await using second = new AppProcess({ dataDir: directory.path });
  const [{ pid }] = await Promise.all([first.next("ready"), second.next("ready")]);
  first.send("write");
  await hasWritten(first, 50);
  // The programs first, or they would start the server again.
  killAll([first.pid, second.pid, pid!, ...(await serverProcesses(pid!))]);
  await Promise.all([first.ended, second.ended]);

  await using next = new AppProcess({ dataDir: directory.path });
  const ready = await next.next("ready");
  assert.notEqual(ready.pid, pid);
  assert.deepEqual(await lostRows(ready.url!, first.acknowledged), []);
  await next.close();
});

test("one crashed server process costs every session, not the server, and who was present still counts", async () => {
  await using directory = await preparedDirectory();
  await using first = new AppProcess({ dataDir: directory.path });
  const { pid, url } = await first.next("ready");
  await using second = new AppProcess({ dataDir: directory.path });
  await second.next("ready");
  const presences = "select pid from pg_stat_activity where application_name like 'millrace presence %'";
  const before = (await ask<{ pid: number }>(url!, presences)).map((row) => row.pid);
  process.kill(before[0]!, "SIGKILL");
  await until("both are present again", async () => {
    const now = (await ask<{ pid: number }>(url!, presences).catch(() => [])).map((row) => row.pid);
    return now.length === 2 && now.every((each) => !before.includes(each));
  });
  await second.close();
  assert.ok(await isAlive(pid!));
  await first.close();
  assert.equal(await isAlive(pid!), false);
});

test("a server killed while one of its processes works on is waited for: the next start does not run beside it", async () => {
  await using directory = await preparedDirectory();
  await using program = new AppProcess({ dataDir: directory.path });
  const { pid, url } = await program.next("ready");
  const busy = ask(url!, "select count(*) from generate_series(1, 20000000)").catch(() => "ended");
  await until("the statement runs", async () => {
    const [row] = await ask<{ count: string }>(
      url!,
      "select count(*) from pg_stat_activity where query like '%generate_series%' and pid <> pg_backend_pid()",
    );
    return row!.count === "1";
  });
  await program.kill();
  process.kill(pid!, "SIGKILL");
  await using next = new AppProcess({ dataDir: directory.path });
  const ready = await next.next("ready");
  assert.deepEqual(await serverProcesses(pid!), [], "no process of the killed server may be left when the next one runs");
  assert.deepEqual(await ask(ready.url!, "select 1 as one"), [{ one: 1 }]);
  await busy;
  await next.close();
});

test("lock files that a killed server left empty are cleaned up", async () => {
  await using directory = await preparedDirectory();
  await using first = new AppProcess({ dataDir: directory.path });
  const { pid } = await first.next("ready");
  await first.kill();
  killAll([pid!, ...(await serverProcesses(pid!))]);
  await until("the server is gone", async () => !(await isAlive(pid!)));
  for (const file of ["pg18/postmaster.pid", "run/.s.PGSQL.5432.lock"]) await writeFile(join(directory.path, file), "");

  await using next = new AppProcess({ dataDir: directory.path });
  const ready = await next.next("ready");
  assert.deepEqual(await ask(ready.url!, "select 1 as one"), [{ one: 1 }]);
  await next.close();
  assert.equal(await identifyServer(directory.path), undefined);
});

test("a postmaster.pid whose number now belongs to another program is cleaned up", async () => {
  await using directory = await preparedDirectory();
  await using first = new AppProcess({ dataDir: directory.path });
  const { pid } = await first.next("ready");
  const pidFile = join(directory.path, "pg18/postmaster.pid");
  const socketLock = join(directory.path, "run/.s.PGSQL.5432.lock");
  const [text, lock] = [await readFile(pidFile, "utf8"), await readFile(socketLock, "utf8")];
  await first.kill();
  killAll([pid!, ...(await serverProcesses(pid!))]);
  await until("the server is gone", async () => !(await isAlive(pid!)));
  // As after a reboot: the number of the server is another program's. PostgreSQL itself would not start as long as one of the
  // same user has it.
  const { uid, gid } = await stat(join(directory.path, "pg18"));
  const other = spawn("sleep", ["600"], { stdio: "ignore", ...(process.getuid!() === 0 ? { uid, gid } : {}) });
  using _ = { [Symbol.dispose]: () => void other.kill("SIGKILL") };
  await once(other, "spawn");
  await writeFile(pidFile, text.replace(String(pid), String(other.pid)));
  await writeFile(socketLock, lock.replace(String(pid), String(other.pid)));

  await using next = new AppProcess({ dataDir: directory.path });
  const ready = await next.next("ready");
  assert.notEqual(ready.pid, other.pid);
  assert.equal(await isAlive(other.pid!), true);
  await next.close();
});

test("a program killed while it made the database leaves a draft that the next start removes", async () => {
  await using directory = await temporaryDirectory();
  const drafts = async (): Promise<string[]> => (await readdir(directory.path)).filter((name) => name.includes(".init-"));
  await using killed = new AppProcess({ dataDir: directory.path });
  await until("the draft is there", async () => (await drafts()).length === 1);
  await killed.kill();
  // What a program of long ago left.
  await mkdir(join(directory.path, "pg18.init-999999999-0123abcd/base"), { recursive: true });

  await using next = new AppProcess({ dataDir: directory.path });
  await next.next("ready");
  assert.equal((await drafts()).includes("pg18.init-999999999-0123abcd"), false);
  await next.close();
});
