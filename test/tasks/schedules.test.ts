// Schedules on real stores: two processes' worth of them, and what a worker makes of them.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { createDatabase } from "millrace/database";
import {
  type TaskScheduleMessage,
  type TaskStore,
  createTasks,
  postgresTaskStore,
  redisTaskStore,
  task,
  taskScheduleChannel,
} from "millrace/tasks";
import { createManualClock } from "../../src/core/index.ts";
import { createScheduler } from "../../src/tasks/schedules.ts";
import { testDatabase } from "../harness/postgres.ts";
import { testRedis } from "../harness/redis.ts";
import { nextEnd, silent, taskService } from "./service.ts";

const tick = task("tick", { schedule: "*/5 * * * *" }, () => {});

/** Waits until both have looked at the clock for the last time. */
async function settle(scheduled: readonly { close(): Promise<void> }[]): Promise<void> {
  await Promise.all(scheduled.map((one) => one.close()));
}

async function onceOn(one: TaskStore, two: TaskStore): Promise<void> {
  await one.setup();
  const clock = createManualClock(Date.UTC(2026, 0, 1, 11, 58));
  const round = async (): Promise<void> => {
    const both = [one, two].map((store) => createScheduler({ store, tasks: [tick], clock }));
    for (const scheduler of both) scheduler.start();
    await settle(both);
  };
  await round(); // both have seen it for the first time
  clock.advance(3 * 60_000);
  await round();
  await round();
  clock.advance(3 * 3_600_000); // both were down for three hours
  await round();
  const records = await one.list({ name: "tick", limit: 100 });
  assert.deepEqual(
    records
      .map(({ meta }) => new Date((JSON.parse(meta!) as { schedule: { dueAtMs: number } }).schedule.dueAtMs).toISOString())
      .sort(),
    ["2026-01-01T12:00:00.000Z", "2026-01-01T15:00:00.000Z"],
  );
}

suite("a schedule of two processes", () => {
  test("is claimed once on PostgreSQL, and what was missed is made up for once", async () => {
    await using scratch = await testDatabase();
    await using first = await createDatabase({ url: scratch.url });
    await using second = await createDatabase({ url: scratch.url });
    await using one = postgresTaskStore({ database: first });
    await using two = postgresTaskStore({ database: second });
    await onceOn(one, two);
  });

  test("is claimed once on Redis", async () => {
    await using redis = await testRedis();
    await using one = redisTaskStore({ url: redis.url });
    await using two = redisTaskStore({ url: redis.url });
    await onceOn(one, two);
  });
});

test("a task whose moment has come is run by a worker, with what the schedule says", async () => {
  // Nobody waits five minutes: the store is told that the schedule was last met long ago.
  await using here = await taskService({ tasks: [tick] });
  await here.tasks.store.scheduleState("tick */5 * * * * UTC", Date.now() - 3_600_000);
  const claimed: TaskScheduleMessage[] = [];
  using _heard = taskScheduleChannel.subscribe((message) => void claimed.push(message));
  const ended = nextEnd("tick");
  await here.tasks.start();
  await using second = await createTasks({ database: here.db, tasks: [tick], logger: silent });
  await second.start();
  assert.equal((await ended).outcome, "completed");
  assert.equal(claimed.length, 1);
  assert.ok(claimed[0]!.dueAtMs <= Date.now() && claimed[0]!.dueAtMs % 300_000 === 0);
});
