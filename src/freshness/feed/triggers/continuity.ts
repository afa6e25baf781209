// What outlives a relay: up to which snapshot the log has been published. One row, saved now and then: what is published twice does no
// harm, what is skipped would.

import type { Session } from "../session.ts";
import { maxBacklog } from "./reading.ts";
import { type Snapshot, parseSnapshot } from "./snapshot.ts";

/** Everything that is visible in `snapshot` has been published; `position` is at or before what was published last. */
export interface Saved {
  readonly snapshot: Snapshot;
  /** An LSN, as PostgreSQL writes it. */
  readonly position: string;
}

/** A copy of the database elsewhere, or a promoted standby, has other transactions under the same numbers. */
const systemQuery = `
  select s.system_identifier || '/' || c.timeline_id as system from pg_control_system() s, pg_control_checkpoint() c`;

const savedQuery = "select system, snapshot, position::text as position from millrace.relay";

const saveQuery = `
  insert into millrace.relay (system, snapshot, position) values ($1, $2, $3::pg_lsn)
  on conflict (one) do update set system = excluded.system, snapshot = excluded.snapshot, position = excluded.position, saved = now()`;

export async function readSaved(session: Session): Promise<Saved | undefined> {
  const [row] = await session.query<{ snapshot: string; position: string }>(savedQuery);
  return row && { snapshot: parseSnapshot(row.snapshot), position: row.position };
}

async function systemOf(session: Session): Promise<string> {
  const [row] = await session.query<{ system: string }>(systemQuery);
  return row!.system;
}

export async function save(session: Session, { snapshot, position }: Saved): Promise<void> {
  await session.query("update millrace.relay set snapshot = $1, position = $2::pg_lsn, saved = now()", [snapshot.text, position]);
}

/** Why nothing can be continued; undefined: it can. */
export async function reasonToBeginAnew(session: Session): Promise<string | undefined> {
  const [row] = await session.query<{ system: string; snapshot: string }>(savedQuery);
  if (!row) return "The log table has not been read before.";
  if (row.system !== (await systemOf(session))) {
    return "This is another server, or another timeline of it, than the one whose log table was read before.";
  }
  const snapshot = parseSnapshot(row.snapshot);
  const [state] = await session.query<{ possible: boolean; backlog: string }>(
    `select $1::xid8 <= pg_snapshot_xmax(pg_current_snapshot()) as possible,
       (select count(*) from (select from millrace.changes where xid >= $1::xid8 or xid = any ($2::xid8[]) limit ${maxBacklog + 1}) c
       )::text as backlog`,
    [String(snapshot.xmax), snapshot.underWay],
  );
  if (!state!.possible) return "The transactions that were read before have not happened on this server.";
  if (Number(state!.backlog) > maxBacklog) return `More than ${maxBacklog} changes came together while nobody read the log table.`;
  return undefined;
}

/** From here on, and only from here on, everything is published. */
export async function beginAnew(session: Session): Promise<void> {
  // The position first: whatever commits between the two statements is seen by the snapshot, or published later.
  const [tip] = await session.query<{ position: string }>("select pg_current_wal_insert_lsn()::text as position");
  const [now] = await session.query<{ snapshot: string }>("select pg_current_snapshot()::text as snapshot");
  await session.query(saveQuery, [await systemOf(session), now!.snapshot, tip!.position]);
}

/** Rows deleted at once: about ten milliseconds. */
const pruneBatch = 5_000;

/**
 * Deletes what is visible in `upTo` and was not in `from`: like reading, it passes over nothing twice, also while an old transaction
 * keeps deleted rows from being vacuumed. `from` undefined: from the beginning of the table.
 */
export async function prune(session: Session, from: Snapshot | undefined, upTo: Snapshot, signal: AbortSignal): Promise<void> {
  for (;;) {
    const gone = await session.query(
      `delete from millrace.changes where ctid = any (array(
         select ctid from millrace.changes
         where ((xid >= $1::xid8 and xid < $2::xid8) or xid = any ($3::xid8[])) and xid <> all ($4::xid8[]) limit ${pruneBatch}))
       returning 1`,
      [String(from?.xmax ?? 0n), String(upTo.xmax), from?.underWay ?? [], upTo.underWay],
    );
    if (gone.length < pruneBatch || signal.aborted) return;
  }
}
