// What may happen to a service that caches over PostgreSQL, on the whole stack: pool, feed, ledger, cache. Every time: nothing older than
// promised is served while it lasts, and the cache is of use again when it is over.

import assert from "node:assert/strict";
import { execFile, fork } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import pg from "pg";
import { createCache } from "millrace/cache";
import { type Database, createDatabase, sql } from "millrace/database";
import { createFreshness } from "millrace/freshness";
import { debianPackage } from "../harness/debian.ts";
import { eventually } from "../harness/patience.ts";
import { type TestServer, testDatabase, testServer } from "../harness/postgres.ts";
import { testRedis } from "../harness/redis.ts";

const schema = `create table items (id int primary key, v int not null); insert into items select n, 0 from generate_series(1, 5) n`;

/** Long enough that a busy machine keeps it, short enough to wait for. */
const boundMs = 1_000;

async function execute(url: string, statement: string): Promise<void> {
  const client = new pg.Client(url);
  client.on("error", () => {});
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

const sum = async (database: Database): Promise<number> =>
  (await database.one(sql<{ n: number }>`select coalesce(sum(v), 0)::int as n from items`)).n;

async function openStack(url: string) {
  const database = await createDatabase({ url });
  const freshness = await createFreshness({ database, bound: `${boundMs}ms` });
  const cache = createCache({ ledger: freshness.ledger });
  await freshness.ready();
  const read = () => cache.read("sum", { ttl: "10m" }, () => sum(database));
  return {
    cache,
    database,
    read,
    /** Reads until the answer comes from the cache, and gives it. */
    kept: () =>
      eventually("the answer is kept", async () => {
        const outcome = await Promise.resolve(read()).catch(() => undefined); // the server may be on its way
        return outcome?.state === "hit" && { value: outcome.value };
      }),
    async [Symbol.asyncDispose]() {
      await cache.close();
      await freshness.close();
      await database.close();
    },
  };
}

type Stack = Awaited<ReturnType<typeof openStack>>;

/** Asks all the time from now until `settled`, and fails when an answer from the cache is older than the bound allows. */
async function isNeverStale({ cache }: Stack, expected: number, writtenAtMs: number, settled: () => boolean): Promise<void> {
  while (!settled()) {
    const outcome = cache.peek<number>("sum");
    const ageMs = performance.now() - writtenAtMs;
    if (outcome && outcome.value !== expected && ageMs > boundMs) {
      assert.fail(`${outcome.value} was served ${ageMs.toFixed(0)} ms after ${expected} was committed`);
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Something outside of Millrace changes the sum to `expected`; then the cache must come to it, and serve nothing old meanwhile. */
async function changes(stack: Stack, expected: number, change: () => Promise<unknown>): Promise<void> {
  await change();
  const writtenAtMs = performance.now();
  let settled = false;
  const watching = isNeverStale(stack, expected, writtenAtMs, () => settled);
  try {
    await eventually(`the cache serves ${expected}`, async () => (await stack.kept()).value === expected);
  } finally {
    settled = true;
  }
  await watching;
}

test("COPY, a write by psql, and TRUNCATE are noticed like any other", async () => {
  await using scratch = await testDatabase();
  await execute(scratch.url, schema);
  await using stack = await openStack(scratch.url);
  assert.equal((await stack.kept()).value, 0);
  const psql = await debianPackage("postgresql-client-15", "psql");
  const run = (...statements: readonly string[]) =>
    promisify(execFile)(psql, ["-X", "-q", "-v", "ON_ERROR_STOP=1", ...statements.flatMap((each) => ["-c", each]), scratch.url]);
  await changes(stack, 7, () => run("update items set v = 7 where id = 1"));
  await changes(stack, 12, () => run("copy items from program 'echo 6,5' (format csv)"));
  await changes(stack, 0, () => run("truncate items"));
});

test("a clock that is moved a day on or back changes nothing", async (t) => {
  await using scratch = await testDatabase();
  await execute(scratch.url, schema);
  await using stack = await openStack(scratch.url);
  await stack.kept();
  const { now } = Date;
  for (const days of [1, -1]) {
    t.mock.method(Date, "now", () => now() + days * 86_400_000);
    assert.equal((await stack.kept()).value, days === 1 ? 0 : 3, "an answer of before is neither expired nor lost");
    await changes(stack, days === 1 ? 3 : 4, () => execute(scratch.url, `update items set v = ${days === 1 ? 3 : 4} where id = 1`));
    t.mock.restoreAll();
  }
});

test("when the slot is dropped, and something is written before anybody notices, nothing old is served", async () => {
  await using server = await testServer({ settings: { max_slot_wal_keep_size: "256MB" } });
  await execute(server.url, schema);
  await using stack = await openStack(server.url);
  await stack.kept();
  await changes(stack, 9, async () => {
    const client = new pg.Client(server.url);
    await client.connect();
    // The reader takes the slot again at once, so it is dropped in the moment between.
    await eventually("the slot is dropped", async () => {
      await client.query("select pg_terminate_backend(active_pid) from pg_replication_slots where active_pid is not null");
      return client.query("select pg_drop_replication_slot(slot_name) from pg_replication_slots").then(
        ({ rowCount }) => rowCount === 1,
        () => false,
      );
    });
    await client.query("update items set v = 9 where id = 1");
    await client.end();
  });
});

for (const [how, restart] of [
  ["killed", (server: TestServer) => server.kill()],
  ["restarted in good order", (server: TestServer) => server.stop()],
] as const) {
  test(`when PostgreSQL is ${how}, and something is written before the feed is back, nothing old is served`, async () => {
    await using server = await testServer({ settings: { max_slot_wal_keep_size: "256MB" } });
    await execute(server.url, schema);
    await using stack = await openStack(server.url);
    await stack.kept();
    await changes(stack, 11, async () => {
      await restart(server);
      await server.start();
      await execute(server.url, "update items set v = 11 where id = 1");
    });
  });
}

test("a transaction that began before the cached read does not lend its old snapshot to an answer that is kept", async () => {
  await using scratch = await testDatabase();
  await execute(scratch.url, schema);
  await using stack = await openStack(scratch.url);
  await stack.kept();
  await stack.database.transaction(
    async (tx) => {
      await tx.one(sql`select count(*) from items`);
      await execute(scratch.url, "update items set v = 13 where id = 1");
      // As another request: whether it finds what was kept or has to make it anew.
      await stack.database.outsideTransaction(() => stack.kept());
      const inside = await stack.cache.read(
        "inside",
        { ttl: "10m" },
        async () => (await tx.one(sql<{ n: number }>`select sum(v)::int as n from items`)).n,
      );
      assert.equal(inside.value, 0, "the transaction sees its own snapshot");
    },
    { isolation: "repeatable read" },
  );
  const outcome = await stack.cache.read("inside", { ttl: "10m" }, () => sum(stack.database));
  assert.equal(outcome.value, 13);
});

test("10,000 requests of one key at once in three processes make one fill", async () => {
  await using scratch = await testDatabase();
  await execute(scratch.url, schema);
  await using redis = await testRedis();
  const program = fileURLToPath(new URL("fixtures/cache-process.ts", import.meta.url));
  const children = Array.from({ length: 3 }, () =>
    fork(program, [JSON.stringify({ url: scratch.url, redisUrl: redis.url })], { execArgv: ["--conditions=millrace-source"] }),
  );
  try {
    await Promise.all(children.map((child) => once(child, "message")));
    interface Told {
      readonly fills: number;
      readonly values: readonly number[];
      readonly stored: boolean;
    }
    const told = await Promise.all(
      children.map(async (child, i) => {
        const answer = once(child, "message") as Promise<[Told]>;
        child.send({ key: "wanted", times: i === 0 ? 3_334 : 3_333 });
        return (await answer)[0];
      }),
    );
    assert.equal(
      told.reduce((fills, each) => fills + each.fills, 0),
      1,
      JSON.stringify(told),
    );
    for (const each of told) assert.deepEqual(each.values, [5]);
  } finally {
    for (const child of children) {
      const gone = once(child, "exit");
      child.kill("SIGKILL");
      await gone;
    }
  }
});
