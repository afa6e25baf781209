// The ledger of one process without PostgreSQL: a counter of invalidations, and the versions of what they named. A fill reflects
// everything up to the count at its beginning, so that an invalidation that comes while it runs wins. docs/cache.md explains it.

import { randomBytes } from "node:crypto";
import { resolveOptions } from "../core/index.ts";
import { CountedReading, inheritInRunningReading, overlaps } from "./counted-reading.ts";
import { hashDependencies, hashDependency } from "./dependency-hash.ts";
import type { Demand, Inherited, Ledger, LedgerWrites, Reading, Refusal, Stamp } from "./ledger.ts";
import { type LocalLedgerOptions, localLedgerChecks, localLedgerDefaults } from "./options.ts";
import { type Judged, type Versions, createVersions } from "./versions.ts";

class LocalLedger implements Ledger {
  readonly namespace: string;
  readonly generation: number;
  readonly #versions: Versions;
  readonly #hash = new Uint32Array(2);
  readonly #listeners = new Set<(written: LedgerWrites) => void>();
  #count = 0;

  constructor(namespace: string, generation: number, slots: number) {
    this.namespace = namespace;
    this.generation = generation;
    this.#versions = createVersions(generation, { slots });
  }

  begin(): Reading {
    return new CountedReading(this.generation, this.#count);
  }

  judge(stamp: Stamp, _order: number, dependencies: Uint32Array, demand?: Demand, judged?: Judged): Refusal | undefined {
    const isUntouched = judged !== undefined && this.#versions.isUntouched(judged);
    if (!isUntouched && !this.#versions.mayServe(stamp.generation, stamp.upTo, dependencies, judged)) {
      return stamp.generation === this.generation ? "written" : "generation";
    }
    if (demand !== undefined && demand.upTo > this.#count && overlaps(demand.dependencies, dependencies)) return "token";
    return undefined;
  }

  inherit(stamp: Stamp | undefined, dependencies: Uint32Array, reason: string | undefined, answer?: Inherited): void {
    inheritInRunningReading(stamp, dependencies, reason, answer);
  }

  /** Always: what was invalidated meanwhile is judged at the end of the fill, by its dependencies. */
  mayJoin(): boolean {
    return true;
  }

  // oxlint-disable-next-line typescript/require-await -- the contract's promise; here everything has happened when it is returned
  async invalidate(names: readonly string[]): Promise<void> {
    this.#count++;
    for (const name of names) {
      hashDependency(name, this.#hash, 0);
      this.#versions.bump(this.#hash[0]!, this.#hash[1]!, this.#count);
    }
    if (this.#listeners.size === 0) return;
    const written = { dependencies: [hashDependencies(names)], everything: false };
    for (const listener of this.#listeners) listener(written);
  }

  listen(listener: (written: LedgerWrites) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  async settled(): Promise<void> {}
}

/**
 * A ledger for caches of one process. Several caches may share it: an invalidation through one is an invalidation in all. Its
 * generation is random, because its numbers mean nothing to another process: what another one has left in a store is not served.
 * @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID
 */
export function createLocalLedger(given: LocalLedgerOptions = {}): Ledger {
  const { namespace, slots } = resolveOptions("createLocalLedger", given, localLedgerDefaults, localLedgerChecks);
  return new LocalLedger(namespace, randomBytes(6).readUIntBE(0, 6), slots);
}
