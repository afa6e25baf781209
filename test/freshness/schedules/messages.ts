// What a schedule and its processes say to each other.

import type { Acknowledged, Answer } from "./history.ts";

/** The ways to learn what a fill reflects: the right one, and those that look right. */
export const ruleNames = ["snapshot", "start token", "log position", "visible in snapshot"] as const;
export type RuleName = (typeof ruleNames)[number];

export interface ProcessOptions {
  readonly process: number;
  /** What is read: the primary or a standby. */
  readonly url: string;
  /** The primary: for writing, and for the feed. */
  readonly primaryUrl: string;
  readonly feedUrl: string;
  readonly redisUrl: string | undefined;
  readonly source: "logical" | "triggers";
  readonly rule: RuleName;
  readonly boundMs: number;
  readonly rows: number;
  readonly groups: number;
  readonly seed: number;
  /** Loops that ask one thing after the other. */
  readonly clients: number;
  /** Of a thousand things asked for. */
  readonly writesPerThousand: number;
}

/** To a process. */
export type ToProcess =
  /** A write of another process and the token that it gave out. */
  { readonly kind: "token"; readonly token: string; readonly id: number; readonly version: number } | { readonly kind: "stop" };

/** From a process. */
export type FromProcess =
  | { readonly kind: "ready" }
  /** It has ended by itself. */
  | { readonly kind: "failed"; readonly code: number }
  | { readonly kind: "answers"; readonly answers: readonly Answer[]; readonly acknowledged: readonly Acknowledged[] }
  | { readonly kind: "token"; readonly token: string; readonly id: number; readonly version: number }
  | { readonly kind: "stopped"; readonly counts: Readonly<Record<string, number>> };

/** Milliseconds of CLOCK_MONOTONIC, which all processes of a machine share. */
export const nowMs = (): number => Number(process.hrtime.bigint()) / 1e6;

/** The same "random" numbers for the same seed (mulberry32), from 0 to 1. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
