// How a fill learns how much of the log it has behind it. There is one right rule; that it is a value of its own lets tests plant wrong
// ones and see that they are caught.

import { type Sees, type Snapshot, parseSnapshot, sees } from "./snapshot.ts";

export interface Rule {
  /** Runs before the fill reads, on the server that the fill reads from. */
  readonly query: string;
  /** Reads its row. `bound` is only for wrong rules: a number that is taken for granted. */
  read(
    row: readonly unknown[],
    applied: number,
  ): { readonly snapshot: Snapshot; readonly server: string; readonly bound: number | undefined };
  readonly sees: Sees;
}

/** Runs before the rule's query where that has said that it is a standby: how far the log was replayed, before the snapshot was taken. */
export const replayedQuery = "select pg_last_wal_replay_lsn()::text";

/**
 * Only stable functions, so that it goes over a pipelined connection. in_hot_standby is pg_is_in_recovery() as a setting; the server is known
 * by its address and by its start, in seconds to the microsecond.
 */
const query =
  "select pg_current_snapshot()::text, current_setting('in_hot_standby') = 'on', " +
  "coalesce(host(inet_server_addr()) || ':' || inet_server_port(), '') || ' ' || extract(epoch from pg_postmaster_start_time())";

export const snapshotRule: Rule = {
  query,
  read: ([snapshot, standby, server]) => ({
    snapshot: parseSnapshot(snapshot as string, standby as boolean),
    server: server as string,
    bound: undefined,
  }),
  sees,
};
