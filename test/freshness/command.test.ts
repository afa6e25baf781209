// `millrace freshness` and `millrace cache` on real servers, beside processes that run the feed and answer questions.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { it } from "node:test";
import { hashDependencies } from "../../src/cache/index.ts";
import { systemClock } from "../../src/core/index.ts";
import { type FeedCommit, type FreshnessStatus, createControl, createFeed } from "../../src/freshness/index.ts";
import { openSession } from "../../src/freshness/feed/session.ts";
import { testServer } from "../harness/postgres.ts";
import { connect } from "./trigger-feed.ts";

const bin = join(import.meta.dirname, "../../src/cli/bin.ts");

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const millrace = (url: string, ...args: readonly string[]): Promise<Ended> =>
  new Promise((resolve) => {
    execFile(
      process.execPath,
      [...process.execArgv.filter((arg) => arg.startsWith("--conditions")), bin, ...args, "--database-url", url],
      (error, stdout, stderr) => resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });

/** A feed that runs, and what it was told. */
async function runFeed(url: string, source: "logical" | "triggers") {
  const commits: FeedCommit[] = [];
  const waiting = new Set<() => void>();
  const wake = (): void => {
    for (const look of waiting) look();
  };
  let restarted = false;
  const followed: string[] = [];
  const feed = createFeed(
    { url, source, allowUnboundedSlot: true, canonicalValue: (_, text) => text },
    {
      onCommits: (batch) => {
        commits.push(...batch);
        wake();
      },
      onRestart: () => {
        restarted = true;
        wake();
      },
      onHistory: () => {},
      onFollowed: ({ table }) => {
        followed.push(table);
        wake();
      },
      onState: () => wake(),
    },
  );
  const until = (condition: () => boolean, what: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${what}: ${JSON.stringify(feed.state)}`)), 30_000);
      const look = (): void => {
        if (!condition()) return;
        clearTimeout(timer);
        waiting.delete(look);
        resolve();
      };
      waiting.add(look);
      look();
    });
  await until(() => restarted, "the feed runs");
  return { feed, commits, followed, until, [Symbol.asyncDispose]: () => feed.close() };
}

for (const source of ["triggers", "logical"] as const) {
  it(`sets up, shows and removes the feed by ${source}`, async () => {
    await using server = await testServer({ durable: false });
    const { url } = server;
    await using client = await connect(url);
    await client.query("create table items (id int primary key, city_id int)");
    await client.query("create table tags (id int not null, city_id int)");
    await client.query("create unique index tags_id on tags (id)");
    await client.query("alter table tags replica identity using index tags_id");

    const before = await millrace(url, "freshness", "status", "--source", source, "--json");
    assert.equal(before.code, 1);
    assert.equal((JSON.parse(before.stdout) as FreshnessStatus).installed, false);

    const dry = await millrace(url, "freshness", "setup", "--source", source, "--dry-run");
    assert.equal(dry.code, 0, dry.stderr);
    assert.match(dry.stdout, /create table if not exists millrace\.followed/i);
    const kit = () => client.query("select 1 from pg_namespace where nspname = 'millrace'");
    assert.equal((await kit()).rows.length, 0, "nothing was made");

    for (let again = 0; again < 2; again++) {
      const setup = await millrace(url, "freshness", "setup", "--source", source);
      assert.equal(setup.code, 0, setup.stderr);
      assert.equal(setup.stdout, `The feed by ${source} is set up.\n`);
    }

    {
      await using running = await runFeed(url, source);
      const { rows } = await client.query<{ oid: number }>("select 'items'::regclass::oid::int as oid");
      running.feed.follow({ oid: rows[0]!.oid, schema: "public", name: "items" }, ["city_id"]);
      await running.until(() => running.followed.includes("public.items"), "items is followed");
      const tags = await client.query<{ oid: number }>("select 'tags'::regclass::oid::int as oid");
      running.feed.follow({ oid: tags.rows[0]!.oid, schema: "public", name: "tags" }, ["city_id"]);
      await running.until(() => running.followed.includes("public.tags"), "tags is followed");
      const shown = await millrace(url, "freshness", "status", "--json");
      const status = JSON.parse(shown.stdout) as FreshnessStatus;
      assert.deepEqual(
        status.problems.filter((problem) => !problem.includes("max_slot_wal_keep_size")),
        [],
      );
      assert.equal(status.source, source);
      assert.ok(status.generation! > 1_700_000_000);
      assert.ok(status.elected && status.elected.pid > 0);
      assert.ok(status.lagMs !== undefined && status.lagMs < 3_000);
      assert.deepEqual(status.followed, [
        { table: "public.items", columns: ["city_id"] },
        { table: "public.tags", columns: ["city_id"] },
      ]);
      const text = await millrace(url, "freshness", "status");
      assert.match(text.stdout, new RegExp(`source +${source}`));
      assert.match(text.stdout, /public\.items +city_id/);
      if (source === "logical") {
        assert.match(text.stdout, /replica identity of public\.items +full, made by the feed \(before: primary key\)/);
        assert.match(text.stdout, /replica identity of public\.tags +full, made by the feed \(before: an index\)/);
      }

      const refused = await millrace(url, "freshness", "teardown");
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, /1 process uses the change feed.*\n\(MILLRACE_FEED_IN_USE\)/);

      const [low] = hashDependencies(["forecast:42"]);
      const invalidated = await millrace(url, "cache", "invalidate", "forecast:42");
      assert.equal(invalidated.stdout, "Invalidated forecast:42.\n", invalidated.stderr);
      await running.until(() => running.commits.some(({ dependencies }) => dependencies.includes(low!)), "the name arrived");
    }

    const teardown = await millrace(url, "freshness", "teardown");
    assert.equal(teardown.code, 0, teardown.stderr);
    const left = await client.query(
      `select relname::text from pg_class where relnamespace = to_regnamespace('millrace') union all select tgname from pg_trigger where tgname like 'millrace%'
       union all select evtname from pg_event_trigger union all select slot_name from pg_replication_slots
       union all select pubname from pg_publication union all select proname from pg_proc where pronamespace = to_regnamespace('millrace')`,
    );
    assert.deepEqual(left.rows, []);
    const identities = await client.query(
      "select relname::text as name, relreplident::text as identity from pg_class where relname in ('items', 'tags') order by 1",
    );
    assert.deepEqual(identities.rows, [
      { name: "items", identity: "d" },
      { name: "tags", identity: "i" },
    ]);
    await client.query("insert into items values (1, 1)");
    const again = await millrace(url, "freshness", "teardown");
    assert.equal(again.code, 0, again.stderr);
  });
}

it("asks the running processes, whatever strangers say meanwhile", async () => {
  await using server = await testServer({ durable: false });
  const { url } = server;
  await using running = await runFeed(url, "triggers");
  const lonely = await millrace(url, "cache", "stats");
  assert.equal(lonely.code, 1);
  assert.match(lonely.stderr, /No process answered/);

  const session = await openSession({ url, purpose: "test process", clock: systemClock, timeoutMs: 30_000 });
  const asked: string[] = [];
  const large = "é".repeat(20_000);
  using _control = await createControl(session, "weather", {
    stats: () => ({ hits: 7, misses: 1, refusals: { written: 2 } }),
    why: (key) => {
      asked.push(key);
      if (key === "bad") throw new Error("It cannot be read.");
      return { key, verdict: "miss", reason: large };
    },
  });
  await using client = await connect(url);
  const { rows } = await client.query<{ channel: string }>("select channel || '_control' as channel from millrace.feed");
  for (const payload of [
    "",
    "{",
    "null",
    "[]",
    '{"id":"x","ask":"stats"}',
    `{"id":"${"0".repeat(32)}","ask":"drop"}`,
    `{"id":"${"0".repeat(32)}","ask":"why","key":5}`,
  ]) {
    await client.query("select pg_notify($1, $2)", [rows[0]!.channel, payload]);
  }
  try {
    const stats = await millrace(url, "cache", "stats");
    assert.equal(stats.code, 0, stats.stderr);
    assert.match(stats.stdout, new RegExp(`:${process.pid} weather  hits=7 misses=1 refusals=\\{"written":2\\}\n$`));
    const why = await millrace(url, "cache", "why", 'it\'s "quoted"', "--json");
    const [answer] = JSON.parse(why.stdout) as { answer: { key: string; reason: string } }[];
    assert.equal(answer!.answer.key, 'it\'s "quoted"');
    assert.equal(answer!.answer.reason, large, "an answer of several notifications");
    assert.match((await millrace(url, "cache", "why", "bad")).stdout, /weather  failed: It cannot be read\.\n$/);
    assert.match((await millrace(url, "cache", "why", "k".repeat(2_000))).stderr, /MILLRACE_CONTROL_KEY_TOO_LONG/);
    assert.deepEqual(asked, ['it\'s "quoted"', "bad"]);
    assert.equal(running.feed.state.state, "running");
  } finally {
    await session.close();
  }
});
