// What follows a failed attempt: another one after a pause, or the dead letter.

import { parseDuration } from "../core/index.ts";
import type { DeadReason } from "./store.ts";
import type { AnyTask } from "./task.ts";

export type AfterFailure =
  | { readonly kind: "retry"; readonly delayMs: number }
  | { readonly kind: "dead"; readonly reason: DeadReason };

/**
 * The pause before the attempt after `attempt`: anything up to the ceiling, which doubles (full jitter). Those that failed together do not
 * come back together. Brooker, "Exponential Backoff and Jitter" (AWS Architecture Blog, 2015) has the comparison.
 */
export function pauseMs({ base, max }: AnyTask["retry"], attempt: number, random: () => number): number {
  return Math.round(random() * Math.min(max, base * 2 ** Math.min(attempt - 1, 50)));
}

/** Whether only a change can mend it, by the convention of MillraceError. */
const saysForGood = (error: unknown): boolean =>
  typeof error === "object" && error !== null && (error as { retryable?: unknown }).retryable === false;

/** `retry.on` decides, then the number of attempts. A mistake in `retry.on` counts as "the usual pause". */
export function afterFailure(task: AnyTask, error: unknown, attempt: number, random: () => number): AfterFailure {
  const { retry } = task;
  let delayMs: number | undefined;
  try {
    const says = retry.on ? retry.on(error, attempt) : !saysForGood(error);
    if (says === false) return { kind: "dead", reason: "fatal" };
    if (says !== true) delayMs = parseDuration(says);
  } catch {
    delayMs = undefined;
  }
  if (attempt >= retry.attempts) return { kind: "dead", reason: "attempts" };
  return { kind: "retry", delayMs: delayMs ?? pauseMs(retry, attempt, random) };
}
