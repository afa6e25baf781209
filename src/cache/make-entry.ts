// From what a fill has brought to what is kept of it: its names, its times, its size, or the reason why nothing is kept.

import type { Clock } from "../core/index.ts";
import { hashDependencies, joinDependencies } from "./dependency-hash.ts";
import type { EarlyRefresh } from "./early-refresh.ts";
import { Entry } from "./entry.ts";
import type { FillRun } from "./fill-run.ts";
import type { Flight, Origin } from "./flight.ts";
import { namesOfKey } from "./names.ts";
import { messageOf } from "./refusals.ts";
import { settleValue } from "./value.ts";

/** Names that an entry may depend on; with more it is not kept: judging it would cost more than it saves. */
export const mostDependencies = 1_024;

/** How far a ttl is spread, so that what was filled together does not expire together. */
const ttlJitter = 0.05;

/** What a fill's answer has become. */
export interface Made {
  readonly entry: Entry | undefined;
  /** Undefined: nobody could judge it, or it holds only for now; a fill that uses it may not be kept. */
  readonly origin: Origin | undefined;
  readonly reason: string | undefined;
  readonly shareable: boolean;
  readonly admitted: boolean;
}

export interface MakeOptions {
  readonly clock: Clock;
  readonly random: () => number;
  readonly maxValueBytes: number;
  readonly earlyRefresh: EarlyRefresh;
}

/** Everything that the answer depends on, by name. */
export function namesOfRun(flight: Flight, run: FillRun): string[] {
  return [...new Set([...namesOfKey(flight.key), ...flight.policy.names, ...run.names, ...run.findings.dependencies])];
}

/** The entry of what a fill has brought, or why there is none. */
export function makeEntry(flight: Flight, run: FillRun, options: MakeOptions): Made {
  const { clock, random, maxValueBytes, earlyRefresh } = options;
  const { policy, codec } = flight;
  const { findings, value, order } = run;
  const { stamp } = findings;
  if (run.dontKeep !== undefined || stamp === undefined) {
    const reason = run.dontKeep ?? findings.reason ?? "the ledger could not follow the fill";
    const shareable = run.dontKeep === undefined && (findings.shareable ?? false);
    const admitted = shareable && flight.admit?.(findings) === undefined;
    return { entry: undefined, origin: undefined, reason, shareable, admitted };
  }
  const names = namesOfRun(flight, run);
  const dependencies = joinDependencies(hashDependencies(names), findings.inherited);
  const nowMs = clock.monotonic();
  const isNegative = value === undefined || value === null;
  const wantedMs = run.keepForMs ?? (isNegative ? policy.negativeTtlMs : policy.ttlMs);
  // What is made of answers lasts no longer than the first of them.
  const mostMs = Math.max(0, (findings.freshUntilMs ?? Infinity) - nowMs);
  const ttlMs = Math.min(mostMs, wantedMs * (1 + ttlJitter * (2 * random() - 1)));
  const origin = { stamp, order, dependencies, freshUntilMs: nowMs + ttlMs };
  const unwanted = flight.admit?.(findings);
  const admitted = unwanted === undefined;
  const unkept = (reason: string): Made => ({ entry: undefined, origin, reason, shareable: true, admitted });
  if (findings.timeDependent && !policy.choseTtl && run.keepForMs === undefined) {
    const reason = "the answer depends on the clock, and no `ttl` says for how long it holds";
    return { entry: undefined, origin: undefined, reason, shareable: true, admitted };
  }
  if (dependencies.length > 2 * mostDependencies) {
    const reason = `it depends on ${dependencies.length / 2} names, more than ${mostDependencies}`;
    return { entry: undefined, origin: undefined, reason, shareable: true, admitted };
  }
  if (unwanted !== undefined) return unkept(unwanted);
  if (wantedMs === 0) return unkept(isNegative ? "there is none, and `negativeTtl` is 0" : "it is to be kept for no time");
  if (ttlMs === 0) return unkept("it uses an answer that is kept for no time, or whose time is over");
  let valueBytes = 0;
  if (!isNegative && codec) {
    try {
      valueBytes = codec.sizeOf ? codec.sizeOf(value) : codec.encode(value).byteLength;
    } catch (error) {
      return unkept(`its codec could not encode it: ${messageOf(error)}`);
    }
  } else if (!isNegative) {
    const facts = settleValue(value, maxValueBytes);
    if (facts.problem !== undefined) return unkept(`the value ${facts.problem}; give it a codec`);
    valueBytes = facts.bytes;
  }
  if (!(valueBytes <= maxValueBytes)) return unkept(`the value is larger than ${maxValueBytes} bytes`);
  // What depends on the clock, and that there is none, holds for its time and no longer, unless the policy says otherwise.
  const staleMs = isNegative || (findings.timeDependent && !policy.choseStale) ? 0 : policy.staleMs;
  const entry = new Entry({
    value,
    codecId: flight.codecId,
    namespace: flight.namespace,
    stamp,
    order,
    dependencies,
    names,
    madeAtMs: nowMs,
    freshUntilMs: nowMs + ttlMs,
    staleUntilMs: nowMs + ttlMs + staleMs,
    refreshFromMs: earlyRefresh.from(nowMs, ttlMs, run.computeMs),
    computeMs: run.computeMs,
    valueBytes,
    timeDependent: findings.timeDependent,
  });
  return { entry, origin, reason: undefined, shareable: true, admitted };
}
