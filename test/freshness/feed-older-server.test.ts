import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { debianServer } from "../harness/debian-postgres.ts";
import { run, startFeed, until } from "./feed-recorder.ts";

describe("the change feed on PostgreSQL 15", () => {
  it("reads the log, passes marks that it cannot flush by themselves, and tells of changes of the schema", async () => {
    await using server = await debianServer({ settings: { wal_level: "logical", max_slot_wal_keep_size: "1GB" } });
    await run(server.url, "create table reports (id int primary key, city_id int)");
    await using one = await startFeed({ url: server.url });
    await one.follow("public.reports", "city_id");
    assert.equal(one.feed.state.source, "logical");
    const from = one.heard.commits.length;
    await run(server.url, "insert into reports values (1, 42)", "update reports set city_id = 43");
    await one.caughtUp();
    for (const value of [42, 43]) assert.ok(one.heard.touched(`public.reports:city_id=${value}`, from));
    await run(server.url, "alter table reports add extra int");
    await until("everything", () => one.heard.commits.slice(from).some((commit) => commit.everything));
    assert.deepEqual(one.heard.violations, []);
  });

  it("goes by triggers where wal_level is not logical", async () => {
    await using server = await debianServer({ settings: { wal_level: "replica" } });
    await run(server.url, "create table reports (id int primary key, city_id int)");
    await using one = await startFeed({ url: server.url });
    await one.follow("public.reports", "city_id");
    assert.equal(one.feed.state.source, "triggers");
    const from = one.heard.commits.length;
    await run(server.url, "insert into reports values (1, 42)");
    await one.caughtUp();
    assert.ok(one.heard.touched("public.reports:city_id=42", from));
    assert.deepEqual(one.heard.restarts.length, 1);
  });
});
