// PostgreSQL's snapshots as pg_current_snapshot() writes them, "xmin:xmax:xip,xip,…", and what makes one different from another.
// docs/decisions/log-table.md says why the relay compares snapshots.

export interface Snapshot {
  /** As PostgreSQL wrote it. */
  readonly text: string;
  readonly xmin: bigint;
  /** The first transaction that had not begun to write. Everything from here on is invisible in it. */
  readonly xmax: bigint;
  /** Transactions below xmax that were under way: as invisible. As decimal text, as parameters of type xid8 want them. */
  readonly underWay: readonly string[];
}

const shape = /^(\d{1,20}):(\d{1,20}):((?:\d{1,20}(?:,\d{1,20})*)?)$/;

/** @throws Error when it is no snapshot: then the server is not the PostgreSQL that this code knows. */
export function parseSnapshot(text: string): Snapshot {
  const parts = shape.exec(text);
  if (!parts) throw new Error(`PostgreSQL gave ${JSON.stringify(text.slice(0, 100))} where a snapshot was expected.`);
  const underWay = parts[3] === "" ? [] : parts[3]!.split(",");
  return { text, xmin: BigInt(parts[1]!), xmax: BigInt(parts[2]!), underWay };
}

/** Whether what `xid` committed is seen in `snapshot`, provided that it has committed. */
export const seenIn = (snapshot: Snapshot, xid: bigint): boolean =>
  xid < snapshot.xmin || (xid < snapshot.xmax && !snapshot.underWay.includes(String(xid)));
