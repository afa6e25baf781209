// The ledger of one process without PostgreSQL: a counter of invalidations, and the versions of what they named. A fill reflects
// everything up to the count at its beginning, so that an invalidation that comes while it runs wins. docs/cache.md explains it.

import { AsyncLocalStorage } from "node:async_hooks";
import { randomBytes } from "node:crypto";
import { resolveOptions } from "../core/index.ts";
import { hashDependency } from "./dependency-hash.ts";
import type { Demand, Findings, Ledger, Reading, Refusal, Stamp } from "./ledger.ts";
import { type LocalLedgerOptions, localLedgerChecks, localLedgerDefaults } from "./options.ts";
import { type Versions, createVersions } from "./versions.ts";

/** Nothing is found out by itself: what a fill depends on is what its caller names. */
const nothingFound: readonly string[] = Object.freeze([]);

/** The reading that runs around the code. */
const running = new AsyncLocalStorage<LocalReading>();

class LocalReading implements Reading {
  readonly order: number;
  readonly generation: number;
  #upTo: number;
  #reason: string | undefined;
  readonly #inherited = new Set<Uint32Array>();

  constructor(generation: number, upTo: number) {
    this.order = upTo;
    this.generation = generation;
    this.#upTo = upTo;
  }

  run<Result>(fill: () => Result): Result {
    return running.run(this, fill);
  }

  inherit(stamp: Stamp | undefined, dependencies: Uint32Array, reason: string | undefined): void {
    if (stamp === undefined) this.#reason ??= reason ?? "it uses an answer that may not be kept";
    else if (stamp.generation !== this.generation) this.#reason ??= "it uses an answer of another ledger";
    else this.#upTo = Math.min(this.#upTo, stamp.upTo);
    if (dependencies.length > 0) this.#inherited.add(dependencies);
  }

  finish(): Findings {
    const inherited = new Uint32Array([...this.#inherited].reduce((length, each) => length + each.length, 0));
    let at = 0;
    for (const each of this.#inherited) {
      inherited.set(each, at);
      at += each.length;
    }
    return {
      stamp: this.#reason === undefined ? { generation: this.generation, upTo: this.#upTo } : undefined,
      reason: this.#reason,
      dependencies: nothingFound,
      inherited,
      timeDependent: false,
    };
  }

  [Symbol.dispose](): void {}
}

class LocalLedger implements Ledger {
  readonly namespace: string;
  readonly generation: number;
  readonly #versions: Versions;
  readonly #hash = new Uint32Array(2);
  #count = 0;

  constructor(namespace: string, generation: number, slots: number) {
    this.namespace = namespace;
    this.generation = generation;
    this.#versions = createVersions(generation, { slots });
  }

  begin(): Reading {
    return new LocalReading(this.generation, this.#count);
  }

  judge(stamp: Stamp, _order: number, dependencies: Uint32Array, demand?: Demand): Refusal | undefined {
    if (stamp.generation !== this.generation) return "generation";
    if (!this.#versions.mayServe(stamp.generation, stamp.upTo, dependencies)) return "written";
    if (demand !== undefined && demand.upTo > this.#count && overlaps(demand.dependencies, dependencies)) return "token";
    return undefined;
  }

  inherit(stamp: Stamp | undefined, dependencies: Uint32Array, reason: string | undefined): void {
    running.getStore()?.inherit(stamp, dependencies, reason);
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
  }

  async settled(): Promise<void> {}
}

/** Whether a demand for writes to `demanded` (empty: to anything) concerns an entry with `dependencies`. */
function overlaps(demanded: Uint32Array, dependencies: Uint32Array): boolean {
  if (demanded.length === 0) return true;
  for (let i = 0; i < demanded.length; i += 2) {
    for (let j = 0; j < dependencies.length; j += 2) {
      if (demanded[i] === dependencies[j] && demanded[i + 1] === dependencies[j + 1]) return true;
    }
  }
  return false;
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
