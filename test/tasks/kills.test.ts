// Workers killed and connections cut, small. `npm run bench -- tasks-kills` does it with 10,000 tasks, 20 kills and 5 cuts.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { createDatabase } from "millrace/database";
import { testDatabase } from "../harness/postgres.ts";
import { postgresTarget } from "./kills/postgres-target.ts";
import { type KillRunResult, runKills } from "./kills/run.ts";

async function run(plant?: "lost" | "twice"): Promise<KillRunResult> {
  await using scratch = await testDatabase();
  await using database = await createDatabase({ url: scratch.url, applicationName: "kills" });
  await using target = postgresTarget(scratch.url, database, plant);
  return await runKills(target, {
    tasks: plant ? 3_000 : 300,
    workers: plant ? 1 : 2,
    kills: plant ? 0 : 3,
    cuts: plant ? 0 : 2,
    lease: "6s",
    boundMs: 120_000,
  });
}

suite("workers that are killed, on PostgreSQL,", () => {
  test("lose no task, settle none twice, and repeat no more than they had begun", async () => {
    const { problems, tasks, repeated, inFlightAtKills, lostLeases } = await run();
    assert.deepEqual(problems.slice(0, 3), []);
    assert.equal(tasks, 300);
    assert.ok(repeated <= inFlightAtKills + lostLeases, `${repeated} repeated, ${inFlightAtKills} in flight, ${lostLeases} lost`);
  });

  test("are found out when a task is lost", async () => {
    assert.deepEqual(
      (await run("lost")).problems.map(({ problem }) => problem),
      ["lost"],
    );
  });

  test("are found out when a task is settled twice", async () => {
    assert.deepEqual(
      (await run("twice")).problems.map(({ problem }) => problem),
      ["settled twice"],
    );
  });
});
