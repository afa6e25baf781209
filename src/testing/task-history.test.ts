// The judge itself: what is right passes, and each planted fault is found.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { type HistoryProblem, type TaskEvent, judgeHistory } from "./task-history.ts";

const enqueued: TaskEvent = { kind: "enqueued", id: "1" };
const started = (attempt: number, lease: string): TaskEvent => ({ kind: "started", id: "1", attempt, lease });
const settled = (
  attempt: number,
  lease: string,
  as: "complete" | "retry" | "release" | "dead",
  answer: "settled" | "fenced" | "unknown" = "settled",
): TaskEvent => ({ kind: "settled", id: "1", attempt, lease, as, answer });

suite("the judge of histories accepts", () => {
  const right: Readonly<Record<string, { readonly events: readonly TaskEvent[]; readonly repeated: number }>> = {
    "a task that runs once": { events: [enqueued, started(1, "a"), settled(1, "a", "complete")], repeated: 0 },
    "one that fails and is tried again": {
      events: [enqueued, started(1, "a"), settled(1, "a", "retry"), started(2, "b"), settled(2, "b", "complete")],
      repeated: 0,
    },
    "one that is handed back, with the attempt": {
      events: [enqueued, started(1, "a"), settled(1, "a", "release"), started(1, "b"), settled(1, "b", "complete")],
      repeated: 0,
    },
    "one whose worker died": { events: [enqueued, started(1, "a"), started(2, "b"), settled(2, "b", "complete")], repeated: 1 },
    "one whose worker was too late": {
      events: [enqueued, started(1, "a"), started(2, "b"), settled(2, "b", "complete"), settled(1, "a", "complete", "fenced")],
      repeated: 1,
    },
    "one whose settlement was not answered and counted": {
      events: [enqueued, started(1, "a"), settled(1, "a", "complete", "unknown")],
      repeated: 0,
    },
    "one whose settlement was not answered and did not count": {
      events: [enqueued, started(1, "a"), settled(1, "a", "complete", "unknown"), started(2, "b"), settled(2, "b", "complete")],
      repeated: 1,
    },
    "one that still waits": { events: [enqueued, { kind: "found", id: "1", state: "waiting" }], repeated: 0 },
  };
  for (const [what, { events, repeated }] of Object.entries(right)) {
    test(what, () => {
      assert.deepEqual(judgeHistory(events), { problems: [], tasks: 1, repeated });
    });
  }
});

suite("the judge of histories finds", () => {
  const wrong: Readonly<Record<string, { readonly events: readonly TaskEvent[]; readonly problem: HistoryProblem["problem"] }>> = {
    "a task that was never run": { events: [enqueued], problem: "lost" },
    "a task that was lost by a crash": { events: [enqueued, started(1, "a")], problem: "lost" },
    "a task that was lost after a failure": { events: [enqueued, started(1, "a"), settled(1, "a", "retry")], problem: "lost" },
    "two ends of two attempts": {
      events: [enqueued, started(1, "a"), started(2, "b"), settled(1, "a", "complete"), settled(2, "b", "complete")],
      problem: "settled twice",
    },
    "two ends of one attempt": {
      events: [enqueued, started(1, "a"), settled(1, "a", "complete"), settled(1, "a", "complete")],
      problem: "settled twice",
    },
    "a failure that counts twice": {
      events: [
        enqueued,
        started(1, "a"),
        settled(1, "a", "retry"),
        settled(1, "a", "retry"),
        started(2, "b"),
        settled(2, "b", "dead"),
      ],
      problem: "settled twice",
    },
    "a start after the end": {
      events: [enqueued, started(1, "a"), settled(1, "a", "complete"), started(2, "b"), settled(2, "b", "complete", "fenced")],
      problem: "run after its end",
    },
    "one attempt in two hands": {
      events: [enqueued, started(1, "a"), started(1, "b"), settled(1, "b", "complete")],
      problem: "attempt given twice",
    },
    "a task that nobody enqueued": { events: [started(1, "a"), settled(1, "a", "complete")], problem: "out of nowhere" },
  };
  for (const [what, { events, problem }] of Object.entries(wrong)) {
    test(what, () => {
      assert.deepEqual(
        judgeHistory(events).problems.map((found) => found.problem),
        [problem],
      );
    });
  }
});
