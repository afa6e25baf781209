// The public duration type: a number with its unit, "250ms", "5m", "1.5h". Inside the kit durations are numbers named …Ms.

import { coreErrors } from "./error-table.ts";

const unitMs = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** A unit of time as it is written behind a number: milliseconds, seconds, minutes, hours, days. */
export type DurationUnit = keyof typeof unitMs;

/** A length of time such as `"250ms"`, `"30s"`, `"5m"`, `"1.5h"` or `"7d"`. Not negative; `"0s"` is allowed where it has a meaning. */
export type Duration = `${number}${DurationUnit}`;

/** Node clamps timers above 2³¹−1 ms (24.8 days) to 1 ms, so no duration may exceed it unnoticed. */
export const maxTimerMs = 2 ** 31 - 1;

/** Never calls what a stranger's object calls toString. */
const show = (value: unknown): string =>
  typeof value === "object" && value !== null ? (Array.isArray(value) ? "[…]" : "{…}") : String(value).slice(0, 100);

/**
 * Milliseconds of a duration.
 * @throws MILLRACE_DURATION_INVALID when it is not a number directly followed by ms, s, m, h or d.
 */
export function parseDuration(duration: Duration): number {
  const given: unknown = duration; // what comes from configuration has not seen the type
  const match = typeof given === "string" ? /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(given) : null;
  if (!match) throw coreErrors.create("MILLRACE_DURATION_INVALID", { value: show(given) });
  return Number(match[1]) * unitMs[match[2] as DurationUnit];
}

/** A duration in the largest unit that keeps it readable, for messages and logs: 90_000 → "1.5m". */
export function formatDuration(ms: number): Duration {
  const units: readonly DurationUnit[] = ["d", "h", "m", "s"];
  for (const unit of units) {
    if (ms >= unitMs[unit]) return `${Number((ms / unitMs[unit]).toFixed(2))}${unit}`;
  }
  return `${Number(ms.toFixed(2))}ms`;
}
