// What happened to tasks, written down as it happened, and whether that is allowed: the judge of the kill tests and of the contract suite.
// Events may come from many processes and in any order.

/** One thing that happened to a task. */
export type TaskEvent =
  /** A store has accepted it, and the transaction is known to have committed. */
  | { readonly kind: "enqueued"; readonly id: string }
  /** A worker has it and begins. */
  | { readonly kind: "started"; readonly id: string; readonly attempt: number; readonly lease: string }
  /** A worker has told the store how an attempt ended, and this was the answer; "unknown": none came. */
  | {
      readonly kind: "settled";
      readonly id: string;
      readonly attempt: number;
      readonly lease: string;
      readonly as: "complete" | "retry" | "release" | "dead" | "cancelled";
      readonly answer: "settled" | "fenced" | "unknown";
    }
  /** Afterwards: what the store says of it. */
  | { readonly kind: "found"; readonly id: string; readonly state: "waiting" | "active" | "completed" | "cancelled" | "dead" };

/** Something that no store may do. */
export interface HistoryProblem {
  readonly id: string;
  /**
   * lost: accepted, and neither through nor found afterwards. settled twice: two settlements that end a task, or two of one lease, were
   * both said to count. run after its end: an attempt began though the task had ended. attempt given twice: two leases of the same attempt
   * without a release in between. out of nowhere: it was never enqueued.
   */
  readonly problem: "lost" | "settled twice" | "run after its end" | "attempt given twice" | "out of nowhere";
  readonly events: readonly TaskEvent[];
}

export interface HistoryVerdict {
  readonly problems: readonly HistoryProblem[];
  readonly tasks: number;
  /** Attempts that began beyond the first of each task and were not asked for by a retry or a release: what crashes cost. */
  readonly repeated: number;
}

const ends = new Set(["complete", "dead", "cancelled"]);

/** What became of one lease. */
interface Held {
  readonly attempt: number;
  started: boolean;
  /** Settlements of it that were said to count. */
  settled: number;
  /** It was, or may have been, handed back for another attempt. */
  again: boolean;
  released: boolean;
}

/**
 * The first thing wrong with one task's events, and how many of its attempts repeated an earlier one. It goes by attempts and leases, not by
 * the order of the events: those of several processes have none.
 */
function judge(events: readonly TaskEvent[]): {
  readonly problem: HistoryProblem["problem"] | undefined;
  readonly repeated: number;
} {
  const leases = new Map<string, Held>();
  let enqueued = false;
  let found = false;
  let mayHaveEnded = false;
  const endedAt: number[] = [];
  for (const event of events) {
    if (event.kind === "enqueued") enqueued = true;
    else if (event.kind === "found") found = true;
    else {
      const held: Held = leases.get(event.lease) ?? {
        attempt: event.attempt,
        started: false,
        settled: 0,
        again: false,
        released: false,
      };
      leases.set(event.lease, held);
      if (event.kind === "started") held.started = true;
      else if (event.answer !== "fenced") {
        const isEnd = ends.has(event.as);
        held.again ||= !isEnd;
        held.released ||= event.as === "release";
        if (event.answer === "unknown") mayHaveEnded ||= isEnd;
        else {
          held.settled++;
          if (isEnd) endedAt.push(event.attempt);
        }
      }
    }
  }
  const all = [...leases.values()];
  const started = all.filter((held) => held.started);
  const kept = started.filter((held) => !held.released).map(({ attempt }) => attempt);
  const [end = Infinity] = endedAt;
  const repeated = Math.max(0, started.length - 1 - all.filter((held) => held.again).length);
  const problem = !enqueued
    ? "out of nowhere"
    : endedAt.length > 1 || all.some(({ settled }) => settled > 1)
      ? "settled twice"
      : started.some(({ attempt }) => attempt > end)
        ? "run after its end"
        : new Set(kept).size < kept.length
          ? "attempt given twice"
          : endedAt.length === 0 && !mayHaveEnded && !found
            ? "lost"
            : undefined;
  return { problem, repeated };
}

/** Judges a history: see HistoryProblem for what is wrong. */
export function judgeHistory(events: Iterable<TaskEvent>): HistoryVerdict {
  const byTask = new Map<string, TaskEvent[]>();
  for (const event of events) {
    const known = byTask.get(event.id);
    if (known) known.push(event);
    else byTask.set(event.id, [event]);
  }
  const problems: HistoryProblem[] = [];
  let repeated = 0;
  for (const [id, ofTask] of byTask) {
    const verdict = judge(ofTask);
    if (verdict.problem) problems.push({ id, problem: verdict.problem, events: ofTask });
    repeated += verdict.repeated;
  }
  return { problems, tasks: byTask.size, repeated };
}
