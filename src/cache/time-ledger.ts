// The ledger of answers that time alone decides: what other people's APIs say, which nobody here writes to. Every process that names the
// same namespace stands by what any of them has made, until its time is over. docs/cache-stores.md explains it.

import { resolveOptions } from "../core/index.ts";
import { CountedReading, inheritInRunningReading, unnumbered } from "./counted-reading.ts";
import { cacheErrors } from "./errors.ts";
import type { Inherited, Ledger, Reading, Refusal, Stamp } from "./ledger.ts";
import { type TimeLedgerOptions, timeLedgerChecks } from "./options.ts";

class TimeLedger implements Ledger {
  readonly namespace: string;
  /** The same in every process: an entry of another one is as good as one's own. */
  readonly generation = unnumbered;

  constructor(namespace: string) {
    this.namespace = namespace;
  }

  begin(): Reading {
    return new CountedReading(unnumbered, 0);
  }

  /** An entry of another generation was made under another ledger, and this one cannot know what that has seen. */
  judge(stamp: Stamp): Refusal | undefined {
    return stamp.generation === unnumbered ? undefined : "generation";
  }

  inherit(stamp: Stamp | undefined, dependencies: Uint32Array, reason: string | undefined, answer?: Inherited): void {
    inheritInRunningReading(stamp, dependencies, reason, answer);
  }

  mayJoin(): boolean {
    return true;
  }

  // oxlint-disable-next-line typescript/require-await -- the contract's promise
  async invalidate(names: readonly string[]): Promise<void> {
    throw cacheErrors.create("MILLRACE_CACHE_TIME_ONLY", { namespace: this.namespace, names });
  }

  async settled(): Promise<void> {}
}

/**
 * A ledger for a cache of what nothing in reach can invalidate. Several processes may share a store with it, and need nothing else in
 * common: no database, no feed. `invalidate()` rejects with MILLRACE_CACHE_TIME_ONLY. Its namespace says where the answers come from and
 * what they look like ("api.open-meteo.com 2"): another one finds nothing of before.
 * @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID
 */
export function createTimeLedger(given: TimeLedgerOptions): Ledger {
  const required = { namespace: "" }; // which is refused
  const { namespace } = resolveOptions("createTimeLedger", given, required, timeLedgerChecks);
  return new TimeLedger(namespace);
}
