// The log table's source when its relay ends, when others hold it up, and when a table cannot have triggers.

import assert from "node:assert/strict";
import { it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { numberOfLsn, parseLsn } from "../../src/freshness/feed/number.ts";
import { testDatabase, testServer } from "../harness/postgres.ts";
import { connect, hashOf, of, sourceOf, startTriggerFeed } from "./trigger-feed.ts";

/** Resolves when `look` finds what it looks for, within a bound. */
async function until(look: () => Promise<boolean>, what: string): Promise<void> {
  const untilMs = performance.now() + 30_000;
  while (!(await look())) {
    assert.ok(performance.now() < untilMs, what);
    await sleep(20);
  }
}

it("loses nothing when the relay is killed and another takes over, while writers go on", async () => {
  await using database = await testDatabase();
  await using writer = await connect(database.url);
  await writer.query("create table items (id int primary key, city_id int)");
  const published = new Set<string>();
  const collect = (batches: readonly { readonly commits: readonly { readonly dependencies: Uint32Array }[] }[]): void => {
    for (const { commits } of batches) {
      for (const { dependencies } of commits) {
        for (let i = 0; i < dependencies.length; i += 2) published.add(`${dependencies[i]}:${dependencies[i + 1]}`);
      }
    }
  };
  let feed = await startTriggerFeed(database.url);
  await feed.follow("items", ["id"]);

  let writing = true;
  let written = 0;
  const writeSome = async (lane: number): Promise<void> => {
    await using client = await connect(database.url);
    for (let i = 0; writing; i++) {
      const id = lane * 1_000_000 + i;
      await client.query("begin");
      await client.query("insert into items values ($1, 1)", [id]);
      if (i % 7 === lane) await client.query("select pg_sleep(0.02)");
      await client.query(i % 11 === 5 ? "rollback" : "commit");
      if (i % 11 !== 5) written++;
    }
  };
  const writers = [0, 1, 2].map(writeSome);
  const numbers: number[] = [];
  for (let kill = 0; kill < 4; kill++) {
    const before = written;
    await until(() => Promise.resolve(written > before + 100), "the writers write");
    await feed.crash();
    collect(feed.batches);
    numbers.push(feed.batches.at(-1)!.upTo);
    const successor = await startTriggerFeed(database.url);
    await successor.settled();
    assert.equal(successor.failure, undefined);
    const first = successor.batches[0]!;
    assert.ok(first.prev <= numbers.at(-1)!, "no gap for those who have applied what came before");
    assert.ok(first.upTo > numbers.at(-1)!, "and its numbers are new");
    feed = successor;
  }
  writing = false;
  await Promise.all(writers);
  await feed.settled();
  collect(feed.batches);
  await feed[Symbol.asyncDispose]();
  const rows = await writer.query<{ id: number }>("select id from items");
  assert.ok(rows.rows.length > 400);
  const lost = rows.rows.filter(({ id }) => !published.has(hashOf(of.row("items", "id", String(id)))));
  assert.deepEqual(lost, []);
});

it("publishes nothing twice after a relay that stopped in order", async () => {
  await using database = await testDatabase();
  await using writer = await connect(database.url);
  await writer.query("create table items (id int primary key)");
  {
    await using feed = await startTriggerFeed(database.url);
    await feed.follow("items", ["id"]);
    await writer.query("insert into items values (1)");
    await feed.settled();
  }
  await writer.query("insert into items values (2)");
  await using feed = await startTriggerFeed(database.url);
  await feed.settled();
  assert.ok(!feed.touched(of.row("items", "id", "1")));
  assert.ok(feed.touched(of.row("items", "id", "2")));
});

it("deletes what has been read, also while an old transaction stays open, and then publishes that one's writes", async () => {
  await using database = await testDatabase();
  await using writer = await connect(database.url);
  await using old = await connect(database.url);
  await writer.query("create table items (id int primary key)");
  await using feed = await startTriggerFeed(database.url);
  await feed.follow("items", ["id"]);
  await old.query("begin; insert into items values (1)");
  for (let i = 2; i < 200; i++) await writer.query("insert into items values ($1)", [i]);
  await feed.settled();
  await until(async () => {
    const { rows } = await writer.query<{ n: number }>("select count(*)::int as n from millrace.changes");
    return rows[0]!.n === 0;
  }, "the log is emptied");
  feed.clear();
  await old.query("commit");
  await feed.settled();
  assert.ok(feed.touched(of.row("items", "id", "1")));
  assert.ok(!feed.touched(of.row("items", "id", "2")));
});

it("publishes names of the cache's own", async () => {
  await using database = await testDatabase();
  await using feed = await startTriggerFeed(database.url);
  const [low, high] = hashOf("forecast:42").split(":").map(Number) as [number, number];
  await feed.source.invalidate(feed.session, Uint32Array.from([low, high]));
  await feed.settled();
  assert.ok(feed.touched("forecast:42"));
});

it("does not begin anew when nothing is missing, and does when the row with the position is another server's", async () => {
  await using database = await testDatabase();
  await using writer = await connect(database.url);
  const source = sourceOf(database.url);
  {
    await using feed = await startTriggerFeed(database.url);
    await feed.settled();
  }
  await using feed = await startTriggerFeed(database.url);
  const { signal } = new AbortController();
  assert.deepEqual(await source.prepare(feed.session, signal), { kept: true, reason: "" });
  await writer.query("update millrace.relay set system = 'elsewhere'");
  const { kept, reason } = await source.prepare(feed.session, signal);
  assert.equal(kept, false);
  assert.match(reason, /another server/);
  await writer.query("update millrace.relay set snapshot = '9000000000:9000000000:'");
  assert.equal((await source.prepare(feed.session, signal)).kept, false);
});

it("refuses tables that cannot have the triggers, each with the next step", async () => {
  await using database = await testDatabase();
  await using writer = await connect(database.url);
  const role = `other_${process.pid}_${Date.now()}`;
  await writer.query(`
    create extension postgres_fdw; create server far foreign data wrapper postgres_fdw;
    create table parts (id int, day date) partition by range (day);
    create table near partition of parts for values from ('2026-01-01') to ('2026-02-01');
    create foreign table away partition of parts for values from ('2026-02-01') to ('2026-03-01') server far;
    create table theirs (id int);`);
  await using feed = await startTriggerFeed(database.url);
  assert.match((await feed.follow("parts", []))!, /away is a foreign table/);
  await writer.query(
    `create role ${role}; grant usage on schema millrace to ${role}; grant select on all tables in schema millrace to ${role}`,
  );
  await feed.session.query(`set role ${role}`);
  try {
    const [row] = await feed.session.query<{ oid: number }>("select 'theirs'::regclass::oid::int as oid");
    const refusal = await feed.session.transaction((tx) =>
      feed.source.followTable(tx, { oid: row!.oid, schema: "public", name: "theirs" }, []),
    );
    assert.match(refusal!, /theirs belongs to \w+, and only its owner may put triggers on it\. Run GRANT "\w+" TO/);
  } finally {
    await feed.session.query("reset role");
    await writer.query(`drop owned by ${role}; drop role ${role}`);
  }
});

it("puts back a trigger that was dropped, and removes everything at the end", async () => {
  await using database = await testDatabase();
  await using writer = await connect(database.url);
  await writer.query("create table items (id int primary key)");
  await using feed = await startTriggerFeed(database.url);
  await feed.follow("items", ["id"]);
  // As where nobody may create event triggers.
  await writer.query("drop event trigger millrace_log_ddl; drop event trigger millrace_log_drop");
  await writer.query("drop trigger millrace_insert on items");
  await until(async () => {
    const { rows } = await writer.query("select from pg_trigger where tgname = 'millrace_insert' and tgenabled = 'A'");
    return rows.length === 1;
  }, "the trigger is back");
  await feed.settled();
  assert.ok(feed.batches.some(({ commits }) => commits.some(({ everything }) => everything)));
  await feed.source.teardown(feed.session);
  const { rows } = await writer.query(
    `select 1 from pg_trigger where tgname like 'millrace%' union all select 1 from pg_event_trigger where evtname like 'millrace%'
     union all select 1 from pg_class where relname in ('changes', 'relay', 'watched') union all
     select 1 from pg_proc where pronamespace = 'millrace'::regnamespace`,
  );
  assert.deepEqual(rows, []);
  await writer.query("insert into items values (1)");
});

it("publishes a commit that waited for a standby when it is seen, under a number that nobody could claim before", async () => {
  await using server = await testServer({ durable: false, settings: { synchronous_standby_names: "nobody" } });
  await using writer = await connect(server.url);
  await using other = await connect(server.url);
  await other.query("set synchronous_commit = local");
  await other.query("create table items (id int primary key)");
  await using feed = await startTriggerFeed(server.url);
  await feed.follow("items", ["id"]);
  await feed.settled();
  const { rows } = await writer.query<{ pid: number }>("select pg_backend_pid() as pid");
  const pid = rows[0]!.pid;
  await writer.query("set synchronous_commit = on");
  const write = writer.query("insert into items values (1)");
  await until(async () => {
    const waiting = await other.query("select from pg_stat_activity where pid = $1 and wait_event = 'SyncRep'", [pid]);
    return waiting.rows.length === 1;
  }, "the writer waits for a standby");
  await feed.settled();
  await feed.settled();
  assert.ok(!feed.touched(of.row("items", "id", "1")), "its record is in the log, but nobody can see it");
  // All of the log is claimed, and becoming visible adds nothing to it.
  await until(async () => {
    const tip = await other.query<{ at: string }>("select pg_current_wal_insert_lsn()::text as at");
    return feed.batches.at(-1)!.upTo === numberOfLsn(parseLsn(tip.rows[0]!.at));
  }, "everything in the log is claimed");
  const claimed = feed.batches.at(-1)!.upTo;
  await other.query("select pg_cancel_backend($1)", [pid]); // ends the wait, not the commit
  await write;
  await until(() => Promise.resolve(feed.touched(of.row("items", "id", "1"))), "the commit is published");
  const published = feed.batches.flatMap(({ commits }) => commits).at(-1)!;
  assert.ok(published.number > claimed);
});

it("notices changes of the schema where nobody may create event triggers", async () => {
  await using database = await testDatabase();
  await using writer = await connect(database.url);
  await writer.query("create table items (id int primary key)");
  await using feed = await startTriggerFeed(database.url);
  await feed.follow("items", ["id"]);
  await writer.query("drop event trigger millrace_log_ddl; drop event trigger millrace_log_drop");
  const everything = () => feed.batches.some(({ commits }) => commits.some((commit) => commit.everything));
  await until(() => Promise.resolve(everything()), "the first look tells too: what came before it is unknown");
  feed.clear();
  await writer.query("alter table items rename to things");
  await until(() => Promise.resolve(everything()), "the catalogue changed");
  feed.clear();
  await writer.query("insert into things values (1)");
  await feed.settled();
  assert.ok(feed.touched(of.row("things", "id", "1")));
});
