// Collects what one transaction touched as hashes of dependencies, without keeping rows or values: memory stays bounded however large
// the transaction is, because beyond a limit only its tables are named.

import { hashDependency } from "../../cache/index.ts";
import { type FeedCommit, dependencyNames } from "../feed.ts";

/** The hashes that every change of a table needs, made once. */
export interface TableHashes {
  readonly schema: string;
  readonly name: string;
  /** Halves of `schema.name`, then of `schema.name:*`. */
  readonly hashes: Uint32Array;
}

export function createTableHashes(schema: string, name: string): TableHashes {
  const hashes = new Uint32Array(4);
  hashDependency(dependencyNames.table(schema, name), hashes, 0);
  hashDependency(dependencyNames.rows(schema, name), hashes, 2);
  return { schema, name, hashes };
}

/** One transaction after the other: touch…() what it changed, then take(). */
export class CommitBuilder {
  readonly #maxDependencies: number;
  readonly #scratch = new Uint32Array(2);
  /** Both halves in one double would lose bits, so low halves lead to the high ones seen with them. */
  readonly #seen = new Map<number, number | number[]>();
  #halves: number[] = [];
  #given: number[] = [];
  readonly #tables = new Set<TableHashes>();
  #overflowed = false;
  #everything = false;

  /** @param maxDependencies values beyond which a commit names only tables and `:*` */
  constructor(maxDependencies: number) {
    this.#maxDependencies = maxDependencies;
  }

  /** A row of `table` was written. */
  touchTable(table: TableHashes): void {
    this.#add(table.hashes[0]!, table.hashes[1]!);
    this.#tables.add(table);
    if (this.#overflowed) this.#add(table.hashes[2]!, table.hashes[3]!);
  }

  /** A row of `table` had or has `value` (as canonicalValue() writes it) in `column`. */
  touchValue(table: TableHashes, column: string, value: string): void {
    if (this.#overflowed) return;
    hashDependency(dependencyNames.row(table.schema, table.name, column, value), this.#scratch, 0);
    this.#add(this.#scratch[0]!, this.#scratch[1]!);
    if (this.#halves.length > 2 * this.#maxDependencies) this.#collapse();
  }

  /** Rows of `table` were written of which the values are unknown. */
  touchUnknownRows(table: TableHashes): void {
    this.touchTable(table);
    this.#add(table.hashes[2]!, table.hashes[3]!);
  }

  /** Dependencies that were hashed elsewhere: invalidate()'s. Few, and never given up for their tables. */
  touchHashes(hashes: Uint32Array): void {
    for (let i = 0; i < hashes.length; i += 2) {
      this.#given.push(hashes[i]!, hashes[i + 1]!);
      this.#add(hashes[i]!, hashes[i + 1]!);
    }
  }

  /** Anything may have changed: DDL. */
  touchEverything(): void {
    this.#everything = true;
  }

  /** Whether anything was touched since take(). */
  get isEmpty(): boolean {
    return this.#halves.length === 0 && !this.#everything;
  }

  /** The commit of what was touched; begins the next one. */
  take(number: number, xid: bigint | undefined): FeedCommit {
    const commit = { number, xid, dependencies: Uint32Array.from(this.#halves), everything: this.#everything };
    this.discard();
    return commit;
  }

  /** Forgets what was touched. */
  discard(): void {
    this.#seen.clear();
    this.#halves = [];
    this.#given = [];
    this.#tables.clear();
    this.#overflowed = false;
    this.#everything = false;
  }

  /** Too many values: what remains are the tables, each with `:*`. */
  #collapse(): void {
    this.#seen.clear();
    this.#halves = [];
    this.#overflowed = true;
    for (const table of this.#tables) this.touchTable(table);
    for (let i = 0; i < this.#given.length; i += 2) this.#add(this.#given[i]!, this.#given[i + 1]!);
  }

  #add(low: number, high: number): void {
    const seen = this.#seen.get(low);
    if (seen === undefined) this.#seen.set(low, high);
    else if (typeof seen === "number") {
      if (seen === high) return;
      this.#seen.set(low, [seen, high]);
    } else {
      if (seen.includes(high)) return;
      seen.push(high);
    }
    this.#halves.push(low, high);
  }
}
