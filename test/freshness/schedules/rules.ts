// Wrong rules, planted to see that schedules catch them. Each is what somebody would write first.

import { type Rule, snapshotRule } from "../../../src/freshness/ledger/rule.ts";
import { numberOfLsn, parseLsn } from "../../../src/freshness/feed/number.ts";
import type { RuleName } from "./messages.ts";

const seesAll: Rule["sees"] = () => true;

export const rules: Readonly<Record<RuleName, Rule>> = {
  snapshot: snapshotRule,
  /** An answer reflects everything that this process had heard of when its fill began. */
  "start token": {
    ...snapshotRule,
    read: (row, applied) => ({ ...snapshotRule.read(row, applied), bound: applied }),
    sees: seesAll,
  },
  /** An answer reflects everything up to the end of the log before its query. */
  "log position": {
    query: snapshotRule.query.replace(
      "select ",
      "select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end::text, ",
    ),
    read: ([position, ...row], applied) => ({
      ...snapshotRule.read(row, applied),
      bound: numberOfLsn(parseLsn(position as string)),
    }),
    sees: seesAll,
  },
  /** A standby's snapshot is read like a primary's: what it does not list as running counts as seen. */
  "visible in snapshot": {
    ...snapshotRule,
    read: (row, applied) => {
      const read = snapshotRule.read(row, applied);
      return { ...read, snapshot: { ...read.snapshot, standby: false } };
    },
  },
};
