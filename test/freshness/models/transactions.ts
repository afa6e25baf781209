// What all models share: transactions as PostgreSQL commits them, and the snapshots of others meanwhile.
//
// | phase | what is true of it |
// | --- | --- |
// | idle | nothing |
// | begun | it has an xid |
// | logged | its commit stands in the log, so the feed may report it; with synchronous replication it may wait here for long |
// | visible | later snapshots see it |
// | acknowledged | its caller has heard of it |

export type Phase = "idle" | "begun" | "logged" | "visible" | "acknowledged";

/** Writers are known by their place; sets of writers are bits. */
export interface Transactions {
  readonly phases: readonly Phase[];
  /** 0 before it has one. */
  readonly xids: readonly number[];
  readonly nextXid: number;
}

/** What pg_current_snapshot() tells. */
export interface Snapshot {
  readonly xmin: number;
  readonly xmax: number;
  readonly xip: readonly number[];
}

export const noTransactions = (writers: number): Transactions => ({
  phases: Array<Phase>(writers).fill("idle"),
  xids: Array<number>(writers).fill(0),
  nextXid: 1,
});

export const bit = (writer: number): number => 1 << writer;

/** Whether all of `some` are in `set`. */
export const includes = (set: number, some: number): boolean => (some & ~set) === 0;

/** The writers in one of these phases. */
export const those = ({ phases }: Transactions, ...wanted: readonly Phase[]): number =>
  phases.reduce((set, phase, writer) => (wanted.includes(phase) ? set | bit(writer) : set), 0);

/** What a query sees now. */
export const visibleOn = (transactions: Transactions, replayed?: number): number =>
  replayed ?? those(transactions, "visible", "acknowledged");

/**
 * The snapshot at this moment: of the primary, or of a standby that has replayed the commits of `replayed`. A standby lists none of what
 * is running.
 */
export function snapshotOf(transactions: Transactions, replayed?: number): Snapshot {
  const visible = visibleOn(transactions, replayed);
  const { phases, xids } = transactions;
  const xmax = 1 + Math.max(0, ...xids.filter((_, writer) => visible & bit(writer)));
  const running = xids.filter((xid, writer) => phases[writer] !== "idle" && !(visible & bit(writer)) && xid < xmax);
  return { xmin: Math.min(xmax, ...running), xmax, xip: replayed === undefined ? running : [] };
}

export type Sees = (snapshot: Snapshot, xid: number) => boolean;

/** The rule on a primary, and the one that also holds on a standby. */
export const byList: Sees = ({ xmax, xip }, xid) => xid < xmax && !xip.includes(xid);
export const byXmin: Sees = ({ xmin }, xid) => xid < xmin;

/**
 * Steps of transactions: what the step is called, the writer, the phase that it enters, and the transactions after it. Where writers
 * are alike they begin in their order: the other orders are the same with other names.
 */
export function* transactionSteps(
  transactions: Transactions,
  {
    atOnce = false,
    alike = true,
  }: { /** Visible and acknowledged in one step. */ readonly atOnce?: boolean; readonly alike?: boolean } = {},
): Generator<{ readonly what: string; readonly writer: number; readonly phase: Phase; readonly after: Transactions }> {
  const { phases, xids, nextXid } = transactions;
  for (const [writer, phase] of phases.entries()) {
    const step = (verb: string, next: Phase, more: Partial<Transactions> = {}) => ({
      what: `transaction ${writer + 1} ${verb}`,
      writer,
      phase: next,
      after: { ...transactions, phases: phases.with(writer, next), ...more },
    });
    if (phase === "idle" && (!alike || writer === 0 || phases[writer - 1] !== "idle")) {
      yield step("begins", "begun", { xids: xids.with(writer, nextXid), nextXid: nextXid + 1 });
    }
    if (phase === "begun") yield step("is in the log", "logged");
    if (phase === "logged") yield atOnce ? step("is visible, and acknowledged", "acknowledged") : step("is visible", "visible");
    if (phase === "visible") yield step("is acknowledged", "acknowledged");
  }
}
