// A ledger that follows what handlers say they read, as the one over PostgreSQL follows their statements: for tests of the response cache.

import { AsyncLocalStorage } from "node:async_hooks";
import { type Demand, type Findings, type Ledger, type Reading, createLocalLedger } from "../../src/cache/index.ts";

interface Notes {
  readonly names: Set<string>;
  reason: string | undefined;
  timeDependent: boolean;
}

export interface FollowingLedger extends Ledger {
  /** The running fill has read this. */
  reads(name: string): void;
  /** The running fill cannot be followed. */
  loses(reason: string): void;
  /** The running fill has looked at the clock. */
  looksAtClock(): void;
  /** While true, nothing can be judged. */
  silent: boolean;
}

export function createFollowingLedger(): FollowingLedger {
  const local = createLocalLedger();
  const running = new AsyncLocalStorage<Notes>();
  let silent = false;

  const follow = (reading: Reading): Reading => {
    const notes: Notes = { names: new Set(), reason: undefined, timeDependent: false };
    return {
      order: reading.order,
      run: (fill) => reading.run(() => running.run(notes, fill)),
      finish: (): Findings => {
        const found = reading.finish();
        const { names, reason, timeDependent } = notes;
        return { ...found, ...(reason !== undefined && { stamp: undefined, reason }), dependencies: [...names], timeDependent };
      },
      [Symbol.dispose]: () => reading[Symbol.dispose](),
    };
  };

  return {
    namespace: local.namespace,
    generation: local.generation,
    reads: (name) => void running.getStore()?.names.add(name),
    loses: (reason) => {
      const notes = running.getStore();
      if (notes) notes.reason = reason;
    },
    looksAtClock: () => {
      const notes = running.getStore();
      if (notes) notes.timeDependent = true;
    },
    get silent() {
      return silent;
    },
    set silent(value) {
      silent = value;
    },
    begin: () => follow(local.begin() as Reading),
    judge: (stamp, order, dependencies, demand?: Demand) =>
      silent ? "feed-silent" : local.judge(stamp, order, dependencies, demand),
    inherit: (stamp, dependencies, reason) => local.inherit(stamp, dependencies, reason),
    settled: () => local.settled(),
    mayJoin: (order) => local.mayJoin(order),
    invalidate: (names) => local.invalidate(names),
  };
}
