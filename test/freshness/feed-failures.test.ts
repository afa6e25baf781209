import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Client } from "pg";
import { readyProcess } from "../harness/ready-process.ts";
import { testDatabase, testServer } from "../harness/postgres.ts";
import { type RunningFeed, run, startFeed, until } from "./feed-recorder.ts";

const table = "create table reports (id int primary key, city_id int)";

/** Another process with a feed, once it is elected. */
const electedProcess = (url: string) => readyProcess(new URL("./fixtures/feed-process.ts", import.meta.url), url, "logical");

/** Inserts rows 1, 2, 3… until it is stopped; returns how many. */
function writing(url: string): { stop(): Promise<number> } {
  let stopped = false;
  const loop = async (): Promise<number> => {
    const client = new Client({ connectionString: url });
    await client.connect();
    let id = 0;
    while (!stopped) {
      await client.query("insert into reports values ($1, $1)", [++id]);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    await client.end();
    return id;
  };
  const running = loop();
  return {
    stop() {
      stopped = true;
      return running;
    },
  };
}

/** The ids of 1…count that no commit has named. */
const missing = (one: RunningFeed, count: number): number[] => {
  const ids = Array.from({ length: count }, (_, i) => i + 1);
  return ids.filter((id) => !one.heard.touched(`public.reports:id=${id}`));
};

const isElected = (one: RunningFeed): boolean => one.feed.state.elected && one.feed.state.state === "running";

describe("the change feed when something fails", () => {
  it("loses no commit when the elected process is killed, and goes on in another", async () => {
    await using database = await testDatabase();
    await run(database.url, table);
    await using other = await electedProcess(database.url);
    await using one = await startFeed({ url: database.url, source: "logical" });
    await one.follow("public.reports", "id");
    assert.equal(one.feed.state.elected, false);
    const writer = writing(database.url);
    await until("some commits", () => one.heard.commits.length > 50);
    other.child.kill("SIGKILL");
    const killedMs = performance.now();
    await until("the other process", () => isElected(one));
    const tookMs = performance.now() - killedMs;
    const before = one.heard.commits.length;
    await until("more commits", () => one.heard.commits.length > before + 50);
    const count = await writer.stop();
    await one.caughtUp();
    assert.deepEqual(missing(one, count), []);
    assert.deepEqual(one.heard.violations, []);
    assert.equal(one.heard.restarts.length, 1, "nothing was lost, so nothing began anew");
    assert.ok(tookMs < 10_000, `took over after ${tookMs} ms`);
  });

  it("takes over from a process that is frozen", async () => {
    await using database = await testDatabase();
    await run(database.url, table);
    await using other = await electedProcess(database.url);
    await using one = await startFeed({ url: database.url, source: "logical" });
    await one.follow("public.reports", "id");
    other.child.kill("SIGSTOP");
    await run(database.url, "insert into reports values (1, 1)");
    await until("the other process", () => isElected(one));
    await one.caughtUp();
    assert.deepEqual(missing(one, 1), []);
    assert.deepEqual(one.heard.violations, []);
  });

  it("sets itself up once when several processes start at the same time, and all hear the same", async () => {
    await using database = await testDatabase();
    await run(database.url, table);
    const all = await Promise.all(Array.from({ length: 4 }, () => startFeed({ url: database.url, source: "logical" })));
    await Promise.all(all.map((each) => each.follow("public.reports", "id")));
    await run(database.url, "insert into reports values (1, 1)");
    for (const each of all) {
      await each.caughtUp();
      assert.deepEqual(missing(each, 1), []);
      assert.deepEqual(each.heard.violations, []);
    }
    assert.equal(all.filter((each) => each.feed.state.elected).length, 1);
    assert.equal(new Set(all.map((each) => each.heard.restarts.at(-1)!.generation)).size, 1);
    await Promise.all(all.map((each) => each.feed.close()));
  });

  it("begins a new generation when its slot was dropped", async () => {
    await using database = await testDatabase();
    await run(database.url, table);
    await using one = await startFeed({ url: database.url, source: "logical" });
    await one.follow("public.reports", "id");
    const { generation } = one.heard.restarts.at(-1)!;
    await until("the slot to be dropped", () =>
      run(
        database.url,
        "select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database()",
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = current_database()",
      ).then(
        () => true,
        () => false,
      ),
    );
    await until("a new generation", () => one.heard.restarts.at(-1)!.generation > generation);
    await one.follow("public.reports", "id");
    await run(database.url, "insert into reports values (1, 1)");
    await one.caughtUp();
    assert.deepEqual(missing(one, 1), []);
    assert.deepEqual(one.heard.violations, []);
  });

  it("keeps the generation over a restart in order, and begins a new one after a crash", async () => {
    await using server = await testServer();
    await run(server.url, table);
    await using one = await startFeed({ url: server.url, source: "logical" });
    await one.follow("public.reports", "id");
    const { generation } = one.heard.restarts.at(-1)!;
    await server.stop();
    await server.start();
    await run(server.url, "insert into reports values (1, 1)");
    await one.caughtUp();
    assert.deepEqual(missing(one, 1), []);
    assert.equal(one.heard.restarts.at(-1)!.generation, generation);
    await server.kill();
    await server.start();
    await until("a new generation", () => one.heard.restarts.at(-1)!.generation > generation);
    await run(server.url, "insert into reports values (2, 2)");
    await one.caughtUp();
    assert.deepEqual(missing(one, 2), []);
    assert.deepEqual(one.heard.violations, []);
  });

  it("makes no slot on a server where a forgotten one would fill the disk", async () => {
    await using server = await testServer({ settings: { max_slot_wal_keep_size: "-1" } });
    await using one = await startFeed({ url: server.url, source: "logical" });
    await until("the problem", () => one.feed.state.problem?.includes("max_slot_wal_keep_size is -1"));
    assert.deepEqual(await run(server.url, "select slot_name from pg_replication_slots"), []);
    await using other = await startFeed({ url: server.url, source: "logical", allowUnboundedSlot: true, name: "other" });
    await one.feed.close();
    await until("the one that may", () => isElected(other));
  });

  it("says what is wrong with the slot, and goes on when it is repaired", async () => {
    await using database = await testDatabase();
    await using elsewhere = await testDatabase();
    const slot = `millrace_taken_${process.pid}`;
    await run(elsewhere.url, `select pg_create_logical_replication_slot('${slot}', 'pgoutput')`);
    await using one = await startFeed({ url: database.url, source: "logical", slot });
    await until("the problem", () => one.feed.state.problem?.includes(`the slot ${slot} belongs to database`));
    await run(elsewhere.url, `select pg_drop_replication_slot('${slot}')`);
    await until("the feed", () => isElected(one));
    assert.equal(one.feed.state.problem, undefined);
  });

  it("serves a role that is no superuser, and says what one without REPLICATION lacks", async () => {
    await using database = await testDatabase();
    const role = `app_${process.pid}`;
    const { pathname } = new URL(database.url);
    await run(
      database.url,
      `create role ${role} login replication`,
      `grant create on database ${pathname.slice(1)} to ${role}`,
      `create schema app authorization ${role}`,
    );
    try {
      const url = new URL(database.url);
      url.searchParams.set("user", role);
      await run(url.href, "create table app.reports (id int primary key, city_id int)");
      await using one = await startFeed({ url: url.href, source: "logical" });
      await one.follow("app.reports", "city_id");
      await one.caughtUp();
      const from = one.heard.commits.length;
      await run(database.url, "insert into app.reports values (1, 42)");
      await one.caughtUp();
      assert.ok(one.heard.touched("app.reports:city_id=42", from));
      await run(database.url, "alter table app.reports add extra int");
      await until("everything", () => one.heard.commits.slice(from).some((commit) => commit.everything));
      await until("what is followed", () => one.heard.followed.has("app.reports:city_id"));
      assert.deepEqual(one.heard.violations, []);
      await one.feed.close();

      await run(database.url, `alter role ${role} noreplication`);
      await using two = await startFeed({ url: url.href, source: "logical" });
      await until("the problem", () => two.feed.state.problem?.includes("the role may not use replication"));
    } finally {
      await run(database.url, `drop owned by ${role} cascade`, `drop role ${role}`);
    }
  });
});
