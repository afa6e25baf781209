// What this process has written and the feed has not brought back yet: what depends on it is refused, unless it was filled after the
// write. See docs/freshness.md, "Own writes".

import { hashDependency } from "../../cache/index.ts";
import { type TableName, dependencyNames } from "../feed.ts";

/** The tables that a statement may have written. */
export type Written = readonly TableName[] | "everything";

interface Pending {
  readonly high: number;
  /** Of the last write: whoever was filled at this order or later has seen it. */
  order: number;
}

const hash = new Uint32Array(2);

/** The two dependencies of which an answer that reads the table has one at least: its rows by value come with `:*`. */
const namesOf = ({ schema, name }: TableName): readonly string[] => [
  dependencyNames.table(schema, name),
  dependencyNames.rows(schema, name),
];

/** Hashes of what stands for the tables in every answer that reads them. Empty: everything. */
export function hashesOf(written: Written): Uint32Array {
  if (written === "everything") return new Uint32Array(0);
  const names = written.flatMap(namesOf);
  const hashes = new Uint32Array(names.length * 2);
  for (const [i, name] of names.entries()) hashDependency(name, hashes, i * 2);
  return hashes;
}

export class OwnWrites {
  /** Grows with every write that is acknowledged. Fills that begin later have a larger one. */
  order = 1;
  /** By the low half of the dependency's hash. Holds at most two per table. */
  readonly #pending = new Map<number, Pending>();
  /** The order of the last write that may have touched anything; 0: none is pending. */
  #everything = 0;

  /** Whether anything is pending at all. */
  get any(): boolean {
    return this.#everything !== 0 || this.#pending.size > 0;
  }

  /** A write to `tables` has been acknowledged, or may have been. */
  acknowledged(tables: Written): void {
    const order = ++this.order;
    if (tables === "everything") {
      this.#everything = order;
      return;
    }
    for (const table of tables) {
      for (const name of namesOf(table)) {
        hashDependency(name, hash, 0);
        const pending = this.#pending.get(hash[0]!);
        // Two names that share half of a hash: the first is kept, and the second stands for everything.
        if (pending === undefined) this.#pending.set(hash[0]!, { high: hash[1]!, order });
        else if (pending.high === hash[1]!) pending.order = order;
        else this.#everything = order;
      }
    }
  }

  /** The feed has brought every write up to `order`. */
  delivered(order: number): void {
    if (this.#everything <= order) this.#everything = 0;
    for (const [low, pending] of this.#pending) if (pending.order <= order) this.#pending.delete(low);
  }

  /** Whether an answer filled at `order` (0: elsewhere, or at an unknown moment) may miss a pending write to what it depends on. */
  refuses(order: number, dependencies: Uint32Array): boolean {
    if (order < this.#everything) return true;
    for (let i = 0; i < dependencies.length; i += 2) {
      const pending = this.#pending.get(dependencies[i]!);
      if (pending !== undefined && order < pending.order && pending.high === dependencies[i + 1]) return true;
    }
    return false;
  }
}
