// PostgreSQL's snapshots as text, `xmin:xmax:xip,…` (pg_current_snapshot()), and which transactions they see. The rule of docs/freshness.md
// stands on this file.

/** A snapshot of one server. Transaction ids carry their epoch: far below 2^53. */
export interface Snapshot {
  /** Everything below is finished: visible, or rolled back. */
  readonly xmin: number;
  /** Nothing at or above has begun to be visible. */
  readonly xmax: number;
  /** Running ones from xmin to xmax. Empty on a standby, whatever runs. */
  readonly running: ReadonlySet<number>;
  /** Taken on a server in recovery. */
  readonly standby: boolean;
}

const none: ReadonlySet<number> = new Set();

/** Reads pg_current_snapshot()'s text. @throws RangeError for anything else */
export function parseSnapshot(text: string, standby: boolean): Snapshot {
  const match = /^(\d+):(\d+):((?:\d+,)*\d+)?$/.exec(text);
  if (!match) throw new RangeError(`${JSON.stringify(text)} is not a snapshot.`);
  return {
    xmin: Number(match[1]),
    xmax: Number(match[2]),
    running: match[3] === undefined ? none : new Set(match[3].split(",").map(Number)),
    standby,
  };
}

/** Whether a snapshot certainly sees the transaction `xid`, which has committed. */
export type Sees = (snapshot: Snapshot, xid: number) => boolean;

/**
 * On a primary: it is not running in the snapshot. On a standby a snapshot lists nobody who is running (measured: `730:733:` while 730
 * was open), so only what is below xmin counts.
 */
export const sees: Sees = ({ xmin, xmax, running, standby }, xid) => (standby ? xid < xmin : xid < xmax && !running.has(xid));
