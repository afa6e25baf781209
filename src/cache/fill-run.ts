// One run of a fill: followed by the ledger, in a context of its own so that the leaving of the request that began it does not end it
// for the others, and ended by its deadline.

import { type Deadline, currentContext, runInContext } from "../concurrency/index.ts";
import { type Clock, parseDuration } from "../core/index.ts";
import type { Fill, FillTools } from "./cache.ts";
import type { Findings, Ledger, Reading } from "./ledger.ts";

/** What became of a run. */
export interface FillRun {
  readonly value: unknown;
  /** What the fill failed with. */
  readonly failure: { readonly error: unknown } | undefined;
  readonly findings: Findings;
  /** The reading's; infinite without one, for there is nothing that it could have missed. */
  readonly order: number;
  readonly computeMs: number;
  /** Clock's monotonic time when it began to read: the answer is at least as new as that. */
  readonly readFromMs: number;
  /** Named while it ran. */
  readonly names: readonly string[];
  readonly dontKeep: string | undefined;
  readonly keepForMs: number | undefined;
}

export interface FillRunOptions {
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly deadline: Deadline;
  /** Called when the reading has begun, directly before the fill. */
  onBegun?(order: number): void;
}

class Tools implements FillTools {
  readonly names: string[] = [];
  dontKeepReason: string | undefined;
  keepForMs: number | undefined;
  readonly deadline: Deadline;

  constructor(deadline: Deadline) {
    this.deadline = deadline;
  }

  get signal(): AbortSignal {
    return this.deadline.signal; // created when somebody asks for it
  }

  depends(...names: readonly string[]): void {
    this.names.push(...names);
  }

  dontKeep(reason: string): void {
    this.dontKeepReason ??= reason;
  }

  keepFor(ttl: Parameters<FillTools["keepFor"]>[0]): void {
    this.keepForMs = parseDuration(ttl);
  }
}

const unread = (reason: string): Findings => ({
  stamp: undefined,
  reason,
  dependencies: [],
  inherited: new Uint32Array(0),
  timeDependent: false,
});

/** Never rejects: what the fill throws is in `failure`. A run that outlives its deadline is for its caller to ignore. */
export async function runFill(fill: Fill<unknown>, options: FillRunOptions): Promise<FillRun> {
  const { ledger, clock, deadline } = options;
  let reading: Reading | undefined;
  let unfollowed = "";
  try {
    const beginning = ledger.begin();
    reading = beginning instanceof Promise ? await beginning : beginning;
  } catch (error) {
    unfollowed = `the ledger could not follow the fill: ${error instanceof Error ? error.message : String(error)}`;
  }
  const order = reading?.order ?? Infinity;
  const readFromMs = clock.monotonic();
  const tools = new Tools(deadline);
  let value: unknown;
  let failure: FillRun["failure"];
  try {
    deadline.throwIfAborted();
    options.onBegun?.(order);
    const outer = currentContext();
    const context = { requestId: outer?.requestId ?? "cache", deadline, principalId: outer?.principalId, trace: outer?.trace };
    const run = () => runInContext(context, () => fill(tools));
    value = await (reading ? reading.run(run) : run());
  } catch (error) {
    failure = { error };
  }
  const computeMs = clock.monotonic() - readFromMs;
  let findings: Findings;
  try {
    findings = reading?.finish() ?? unread(unfollowed);
  } catch (error) {
    findings = unread(`the ledger could not follow the fill: ${error instanceof Error ? error.message : String(error)}`);
    reading?.[Symbol.dispose]();
  }
  const { names, dontKeepReason, keepForMs } = tools;
  return { value, failure, findings, order, computeMs, readFromMs, names, dontKeep: dontKeepReason, keepForMs };
}
