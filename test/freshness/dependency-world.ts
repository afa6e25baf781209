// What an oracle of dependencies plays with: a schema, the tables that are written, and a grammar of queries and writes over them.

/** A query with its parameters. */
export interface OracleQuery {
  readonly text: string;
  readonly values: readonly unknown[];
  /** Its rows come in one order only: another order is another answer. */
  readonly ordered?: boolean;
}

export interface OracleGrammar {
  query(): OracleQuery;
  /** A write, mostly to one of the tables that were read. */
  write(read: readonly string[]): string;
}

export interface OracleWorld {
  readonly schema: string;
  /** The tables under whose names changes are published, topmost parents for their partitions. */
  readonly written: readonly string[];
  /** The role that queries, with less rights than the one that writes. */
  readonly reader?: string;
  readonly grammar: (random: () => number) => OracleGrammar;
}

/** Uniform, the same for a seed on every machine (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What every grammar draws from. */
export class Dice {
  readonly #random: () => number;
  constructor(random: () => number) {
    this.#random = random;
  }
  below = (n: number): number => Math.floor(this.#random() * n);
  chance = (share: number): boolean => this.#random() < share;
  one = <Each>(list: readonly Each[]): Each => list[this.below(list.length)]!;
  /** Some of a list, in its order, at least one. */
  some<Each>(list: readonly Each[]): readonly Each[] {
    const chosen = list.filter(() => this.chance(0.5));
    return chosen.length > 0 ? chosen : [this.one(list)];
  }
}
