import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { testDatabase } from "../harness/postgres.ts";
import { run, startFeed } from "./feed-recorder.ts";

describe("the change feed by logical decoding", () => {
  it("tells of a commit with the old and new values of followed columns", async () => {
    await using database = await testDatabase();
    await run(database.url, "create table reports (id int primary key, city_id int, note text)");
    await using one = await startFeed({ url: database.url, source: "logical" });
    await one.follow("public.reports", "city_id");
    const { heard } = one;

    let from = heard.commits.length;
    await run(database.url, "insert into reports values (1, 42, 'a')");
    await one.caughtUp();
    assert.ok(heard.touched("public.reports", from));
    assert.ok(heard.touched("public.reports:city_id=42", from));
    assert.ok(!heard.touched("public.reports:*", from));

    from = heard.commits.length;
    await run(database.url, "update reports set city_id = 43");
    await one.caughtUp();
    assert.ok(heard.touched("public.reports:city_id=42", from));
    assert.ok(heard.touched("public.reports:city_id=43", from));
    assert.ok(!heard.touched("public.reports:*", from));
    assert.deepEqual(heard.violations, []);
  });
});
