// Short seeded schedules over three processes: what may fail fails, and no answer is older than promised. The long ones are a command:
// npm run bench -- schedules. Planted bugs of the protocol must be caught, or the schedules prove nothing.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { type ScheduleOptions, runSchedule } from "./schedules/run.ts";

const sound = { operations: 4_000, maxMs: 60_000 } as const;

async function holds(options: ScheduleOptions, diagnostic: (line: string) => void): Promise<void> {
  const { answers, fromCache, violations, faults, counts } = await runSchedule(options);
  diagnostic(JSON.stringify({ answers, fromCache, faults, counts }));
  assert.deepEqual(
    violations.slice(0, 5).map(({ why, answer }) => `${why}: ${JSON.stringify(answer)}`),
    [],
  );
  assert.ok(fromCache > answers / 10, "a cache that serves nothing keeps every promise");
}

suite("no answer is older than promised", { concurrency: 1 }, () => {
  test("logical decoding, read from the primary", async (t) => {
    await holds({ ...sound, seed: 11, source: "logical", readsFrom: "primary" }, (line) => t.diagnostic(line));
  });
  test("logical decoding, read from a lagging standby", async (t) => {
    await holds({ ...sound, seed: 12, source: "logical", readsFrom: "standby" }, (line) => t.diagnostic(line));
  });
  test("the log table, read from the primary", async (t) => {
    await holds({ ...sound, seed: 13, source: "triggers", readsFrom: "primary" }, (line) => t.diagnostic(line));
  });
});

suite("a bug that is planted in the protocol is caught", { concurrency: 1 }, () => {
  const planted = { operations: Infinity, maxMs: 120_000, untilViolation: true, redis: false, source: "logical" } as const;
  const waiting = ["a commit waits for synchronous replication"] as const;

  test("an answer reflects what the process had heard of when its fill began", async () => {
    const { violations } = await runSchedule({ ...planted, seed: 21, rule: "start token", readsFrom: "primary", faults: waiting });
    assert.ok(violations.length > 0);
  });
  test("an answer reflects everything before the end of the log", async () => {
    const { violations } = await runSchedule({ ...planted, seed: 22, rule: "log position", readsFrom: "primary", faults: waiting });
    assert.ok(violations.length > 0);
  });
  test("a standby's snapshot is read like a primary's", async () => {
    const faults = ["the standby stops replaying", "a transaction stays open"] as const;
    const { violations } = await runSchedule({ ...planted, seed: 23, rule: "visible in snapshot", readsFrom: "standby", faults });
    assert.ok(violations.length > 0);
  });
});
