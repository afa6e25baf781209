// The harness itself: databases of one's own, servers that can be stopped and killed, and nothing left however a run ends.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { access } from "node:fs/promises";
import { createInterface } from "node:readline";
import { once } from "node:events";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { checkGivenServer, testDatabase, testServer, withDatabase } from "./postgres.ts";

async function ask<Row extends pg.QueryResultRow>(url: string, statement: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => {});
  await client.connect();
  try {
    return (await client.query<Row>(statement)).rows;
  } finally {
    await client.end();
  }
}

test("of a server that is given the run says at once what it lacks", async () => {
  const settings = { wal_level: "replica", max_slot_wal_keep_size: "-1", max_connections: "50" };
  await using poor = await testServer({ durable: false, settings });
  await assert.rejects(checkGivenServer(poor.url), /wal_level = logical .*max_slot_wal_keep_size = 1GB; max_connections = 300/);
  await using rich = await testServer({ durable: false, settings: { max_connections: "300" } });
  await checkGivenServer(rich.url);
});

test("every test database is its own, empty, and dropped at the end even while it is in use", async () => {
  const first = await testDatabase();
  await using second = await testDatabase();
  assert.notEqual(first.url, second.url);
  await ask(first.url, "create table t ()");
  assert.deepEqual(await ask(second.url, "select to_regclass('t') as t"), [{ t: null }]);

  const user = new pg.Client({ connectionString: first.url });
  user.on("error", () => {}); // a second one follows the first
  const disconnected = once(user, "error");
  await user.connect();
  await first[Symbol.asyncDispose]();
  await disconnected;
  await user.end();
  const name = new URL(first.url).pathname.slice(1);
  assert.deepEqual(await ask(withDatabase(second.url, "postgres"), `select 1 from pg_database where datname = '${name}'`), []);
});

test("a test server keeps its rows over stop and start, and over a kill what was acknowledged", async () => {
  await using server = await testServer();
  await ask(server.url, "create table t (n integer)");
  await ask(server.url, "insert into t values (1)");
  const { pid } = server;
  await server.stop();
  assert.equal(server.pid, undefined);
  await assert.rejects(ask(server.url, "select 1"), { code: /ENOENT|ECONNREFUSED/ });
  await server.start();
  assert.notEqual(server.pid, pid);
  await ask(server.url, "insert into t values (2)");
  await server.kill();
  await server.start();
  assert.deepEqual(await ask(server.url, "select n from t order by n"), [{ n: 1 }, { n: 2 }]);
});

test("a run that is killed leaves neither server nor files", async () => {
  const module = fileURLToPath(new URL("postgres.ts", import.meta.url));
  const program = `const { startSharedTestServer } = await import(${JSON.stringify(module)});
    console.log((await startSharedTestServer()).url); setInterval(() => {}, 1000);`;
  const run = spawn(process.execPath, ["--conditions=millrace-source", "--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [url] = (await once(createInterface({ input: run.stdout }), "line")) as [string];
  const directory = new URL(url).searchParams.get("host")!.replace(/\/run$/, "");
  await access(directory);
  run.kill("SIGKILL");
  for (const untilMs = performance.now() + 20_000; performance.now() < untilMs; await sleep(20)) {
    const gone = await access(directory).then(
      () => false,
      () => true,
    );
    if (gone) return;
  }
  assert.fail(`${directory} is still there`);
});
