// Several programs, and several parts of one program, on one data directory. Rules in docs/embedded-postgresql.md.

import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import pg from "pg";
import { createDatabase, sql, startAndKeepRunning, startEmbeddedPostgres, stopEmbedded } from "../../src/database/index.ts";
import { presenceKey } from "../../src/database/embedded/presence.ts";
import { withDatabase } from "../harness/postgres.ts";
import { AppProcess, ask, isAlive, temporaryDirectory, until } from "./app-process.ts";

/** These tests lose no power: no flushing, and a test takes half the time. */
const settings = { fsync: "off" };

test("a new directory gets a database that answers, with the settings that the kit relies on", async () => {
  await using directory = await temporaryDirectory();
  await using server = await startEmbeddedPostgres({ dataDir: join(directory.path, "new/postgres") });
  const [row] = await ask<Record<string, string>>(
    server.url,
    `select current_database() as database, current_setting('fsync') as fsync, current_setting('synchronous_commit') as commit,
            current_setting('full_page_writes') as pages, current_setting('wal_level') as wal, current_setting('listen_addresses') as listen,
            current_setting('server_encoding') as encoding, current_setting('data_checksums') as checksums,
            (select datlocale from pg_database where datname = current_database()) as locale`,
  );
  assert.deepEqual(row, {
    database: "millrace",
    fsync: "on",
    commit: "on",
    pages: "on",
    wal: "logical",
    listen: "",
    encoding: "UTF8",
    checksums: "on",
    locale: "C.UTF-8",
  });
  assert.match(server.version, /^18\./);
});

test("statements can be examined and the log decoded: the extensions and pgoutput are there", async () => {
  await using directory = await temporaryDirectory();
  await using server = await startEmbeddedPostgres({ dataDir: directory.path, settings });
  await ask(server.url, "create extension pg_stat_statements");
  const [seen] = await ask<{ count: string }>(server.url, "select count(*) from pg_stat_statements");
  assert.ok(Number(seen!.count) > 0);
  const [slot] = await ask<{ slot: string }>(
    server.url,
    "select slot_name as slot from pg_create_logical_replication_slot('feed', 'pgoutput')",
  );
  assert.equal(slot!.slot, "feed");
});

test("a script opens the embedded database through the kit, or the server alone for a library of its own", async () => {
  await using directory = await temporaryDirectory();
  const dataDir = directory.path;
  const said: string[] = [];
  const log = (message: string) => void said.push(message);

  // #region start
  // What an application does: without a url, createDatabase starts the embedded server and closes it with itself.
  await using db = await createDatabase({ embedded: { dataDir }, log });
  const { version } = await db.one<{ version: string }>(sql`select current_setting('server_version') as version`);

  // The server alone, for whatever takes a PostgreSQL URL. Here it joins the one above.
  await using server = await startEmbeddedPostgres({ dataDir, log });
  const client = new pg.Client({ connectionString: server.url });
  // #endregion

  await client.connect();
  await client.end();
  assert.equal(version, server.version);
  assert.equal(db.embedded, true);
  assert.match(
    said.join("\n"),
    /^Creating a PostgreSQL 18 database in .*\nStarted PostgreSQL 18\.\d+ \(process \d+\) on .*pg18 in /,
  );
});

test("a second program shares the server, and the last one out stops it", async () => {
  await using directory = await temporaryDirectory();
  await using first = new AppProcess({ dataDir: directory.path, settings });
  const { pid, url } = await first.next("ready");
  await using second = new AppProcess({ dataDir: directory.path, settings });
  const joined = await second.next("ready");
  assert.equal(joined.pid, pid);
  assert.equal(joined.url, url);

  await first.close();
  assert.ok(await isAlive(pid!), "the server must stay while the second program uses it");
  assert.deepEqual(await ask(url!, "select 1 as one"), [{ one: 1 }]);

  await second.close();
  assert.equal(await isAlive(pid!), false);
  assert.deepEqual((await readdir(join(directory.path, "run"))).length, 0, "the socket and its lock file must be gone");
});

test("several parts of one program count: the server stays until the last has closed, and closing twice counts once", async () => {
  await using directory = await temporaryDirectory();
  const [first, second] = await Promise.all([
    startEmbeddedPostgres({ dataDir: directory.path, settings }),
    startEmbeddedPostgres({ dataDir: directory.path, settings, database: "other" }),
  ]);
  assert.equal(first.pid, second.pid);
  await Promise.all([first.close(), first.close()]);
  await first.close();
  assert.deepEqual(await ask(second.url, "select current_database() as name"), [{ name: "other" }]);
  await second.close();
  assert.equal(await isAlive(second.pid), false);
});

test("a program that starts while its own last part closes gets a server", async () => {
  await using directory = await temporaryDirectory();
  const first = await startEmbeddedPostgres({ dataDir: directory.path, settings });
  const closing = first.close();
  await using second = await startEmbeddedPostgres({ dataDir: directory.path, settings });
  await closing;
  assert.deepEqual(await ask(second.url, "select 1 as one"), [{ one: 1 }]);
});

test("programs that start at once on a new directory make one database and share one server", async () => {
  await using directory = await temporaryDirectory();
  const programs = Array.from({ length: 3 }, () => new AppProcess({ dataDir: directory.path, settings }));
  try {
    const pids = await Promise.all(programs.map(async (program) => (await program.next("ready")).pid));
    assert.equal(new Set(pids).size, 1);
    await Promise.all(programs.map((program) => program.close()));
    assert.equal(await isAlive(pids[0]!), false);
    assert.deepEqual(
      (await readdir(directory.path)).toSorted(),
      ["pg18", "run", "server.log"],
      "drafts of the slower ones must be gone",
    );
  } finally {
    for (const program of programs) await program[Symbol.asyncDispose]();
  }
});

test("a program that starts while another stops the server gets one that stays", async () => {
  await using directory = await temporaryDirectory();
  let current = new AppProcess({ dataDir: directory.path, settings });
  await current.next("ready");
  try {
    for (let round = 0; round < 6; round++) {
      // Started first, so that it arrives somewhere around the stop: before it, within it or after it.
      const next = new AppProcess({ dataDir: directory.path, settings });
      if (round % 2 === 0) await until("the next program runs", () => isAlive(next.pid));
      else await Promise.race([next.next("log"), next.next("ready")]);
      await current.close();
      current = next;
      const { url } = await current.next("ready");
      assert.deepEqual(await ask(url!, "select 1 as one"), [{ one: 1 }]);
    }
    await current.close();
  } finally {
    await current[Symbol.asyncDispose]();
  }
});

test("a program that finds the server being stopped does not join it, but waits and starts another", async () => {
  await using directory = await temporaryDirectory();
  const before = await startAndKeepRunning({ dataDir: directory.path, settings });
  // This test is the last one to leave, and has not sent the signal yet.
  const stopper = new pg.Client({ connectionString: withDatabase(before.url!, "postgres") });
  stopper.on("error", () => {});
  await stopper.connect();
  const { rows } = await stopper.query<{ last: boolean }>(`select pg_try_advisory_lock(${presenceKey}) as last`);
  assert.equal(rows[0]!.last, true);
  await stopEmbedded(directory.path); // only takes the mark away: it may not join either

  await using program = new AppProcess({ dataDir: directory.path, settings });
  const asked = new Set<number>();
  await until("the program asks to join more than once", async () => {
    const asking = await stopper.query<{ pid: number }>("select pid from pg_stat_activity where application_name = $1", [
      `millrace presence ${program.pid}`,
    ]);
    for (const row of asking.rows) asked.add(row.pid);
    return asked.size > 2 || program.messages.some(({ event }) => event === "ready");
  });
  assert.equal(
    program.messages.some(({ event }) => event === "ready"),
    false,
    "it must not be ready on a server that is about to stop",
  );
  process.kill(before.server!.pid, "SIGINT");
  const { pid } = await program.next("ready");
  assert.notEqual(pid, before.server!.pid);
  await program.close();
  await stopper.end();
});

test("a program that forgets to close ends all the same, and the next one adopts its server", async () => {
  await using directory = await temporaryDirectory();
  await using forgetful = new AppProcess({ dataDir: directory.path, settings });
  const { pid } = await forgetful.next("ready");
  forgetful.endInput();
  await forgetful.ended;
  assert.ok(await isAlive(pid!));
  await using next = new AppProcess({ dataDir: directory.path, settings });
  assert.equal((await next.next("ready")).pid, pid);
  await next.close();
  assert.equal(await isAlive(pid!), false);
});
