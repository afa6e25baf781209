// The code of docs/schedules.md.

import assert from "node:assert/strict";
import { test } from "node:test";
import { readSchedules } from "./schedules.ts";
import { task } from "./task.ts";

test("a task with a schedule is what its page shows", () => {
  const deleteWhatIsOld = () => Promise.resolve();
  // #region declare
  const tidy = task("tidy", { schedule: { cron: "30 2 * * *", timeZone: "Europe/Zurich" } }, async () => {
    await deleteWhatIsOld();
  });
  // #endregion
  const [schedule] = readSchedules(tidy);
  assert.equal(schedule!.cron.next(Date.parse("2026-01-01T12:00:00Z")), Date.parse("2026-01-02T01:30:00Z"));
});
