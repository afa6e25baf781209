// What the cache is tried against: a source whose writes are numbered, processes that hear of them one after the other and late, and a
// ledger in each that can be given a flaw, to see that it is found.

import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { type ManualClock, createManualClock } from "../../src/core/index.ts";
import {
  type Cache,
  type Demand,
  type Judged,
  type Ledger,
  type Reading,
  type Refusal,
  type Stamp,
  createCache,
  createVersions,
  hashDependencies,
  memoryStore,
} from "../../src/cache/index.ts";

/** Mistakes that a ledger could make. */
export type Flaw =
  /** An answer is said to reflect what was applied when its fill ended, not when it began to read. */
  | "stamped at the end"
  /** What the process has written and not heard of yet is not held against its answers. */
  | "own writes forgotten"
  /** What a reader must see is not asked about. */
  | "tokens ignored"
  /** What was fit once is not looked at again. */
  | "once fit, always fit";

const keys = ["a:1", "a:2", "b:1"] as const;
const names = [...keys, "a:*", "b:*", "*", "tag"] as const;

/** Which keys a name makes stale. "tag" is on a:1 and b:1. */
const touches = (name: string, key: string): boolean =>
  name === "tag" ? key.endsWith(":1") : name === key || name === "*" || (name.endsWith(":*") && key.startsWith(name.slice(0, -1)));

interface Commit {
  readonly number: number;
  readonly name: string;
  readonly hashes: Uint32Array;
  readonly by: ModelLedger;
}

/** The source. A read of a key shows how many writes have touched it. */
class Source {
  readonly commits: Commit[] = [];

  write(name: string, by: ModelLedger): Commit {
    const commit = { number: this.commits.length + 1, name, hashes: hashDependencies([name]), by };
    this.commits.push(commit);
    return commit;
  }

  read(key: string): number {
    return this.commits.filter(({ name }) => touches(name, key)).length;
  }

  /** What a read must show at least, so that it reflects all of those writes that `mustSee` picks. */
  least(key: string, mustSee: (commit: Commit) => boolean): number {
    return this.commits.filter(({ name }) => touches(name, key)).findLastIndex(mustSee) + 1;
  }
}

/** How often what the tests are about has come up. */
export interface Coverage {
  served: number;
  hits: number;
  notJoined: number;
  readonly refused: Partial<Record<Refusal, number>>;
}

/** The ledger of one process: as that over PostgreSQL, without PostgreSQL. */
class ModelLedger implements Ledger {
  readonly namespace = "model";
  readonly generation = 1;
  applied = 0;
  silent = false;
  readonly #versions = createVersions(1, { slots: 1_024 });
  readonly #source: Source;
  readonly #flaw: Flaw | undefined;
  readonly #coverage: Coverage;
  #order = 1;
  #pending: { readonly commit: Commit; readonly order: number }[] = [];

  constructor(source: Source, coverage: Coverage, flaw: Flaw | undefined) {
    this.#source = source;
    this.#coverage = coverage;
    this.#flaw = flaw;
  }

  begin(): Reading {
    const began = this.applied;
    const wasSilent = this.silent;
    return {
      order: this.#order,
      run: (fill) => fill(),
      finish: () => ({
        stamp: wasSilent ? undefined : { generation: 1, upTo: this.#flaw === "stamped at the end" ? this.applied : began },
        reason: wasSilent ? "silent" : undefined,
        dependencies: [],
        inherited: new Uint32Array(0),
        timeDependent: false,
        shareable: true,
      }),
      [Symbol.dispose]: () => {},
    };
  }

  judge(stamp: Stamp, order: number, dependencies: Uint32Array, demand?: Demand, judged?: Judged): Refusal | undefined {
    const refusal = this.#judge(stamp, order, dependencies, demand, judged);
    if (refusal !== undefined && dependencies.length > 0) {
      this.#coverage.refused[refusal] = (this.#coverage.refused[refusal] ?? 0) + 1;
    }
    return refusal;
  }

  #judge(stamp: Stamp, order: number, dependencies: Uint32Array, demand?: Demand, judged?: Judged): Refusal | undefined {
    const has = (hashes: Uint32Array) =>
      dependencies.some((low, i) => i % 2 === 0 && low === hashes[0] && dependencies[i + 1] === hashes[1]);
    if (this.silent) return "feed-silent";
    const wasFit = this.#flaw === "once fit, always fit" && judged !== undefined && judged.judgedAt > 0;
    if (!wasFit && !this.#versions.mayServe(stamp.generation, stamp.upTo, dependencies, judged)) return "written";
    if (this.#flaw !== "own writes forgotten") {
      if (this.#pending.some((write) => order < write.order && has(write.commit.hashes))) return "own-write";
    }
    if (demand === undefined || this.#flaw === "tokens ignored") return undefined;
    const isMet = this.applied >= demand.upTo || stamp.upTo >= demand.upTo;
    return isMet || (demand.dependencies.length > 0 && !has(demand.dependencies)) ? undefined : "token";
  }

  inherit(): void {}

  mayJoin(order: number): boolean {
    const isNew = order >= this.#order;
    if (!isNew) this.#coverage.notJoined++;
    return isNew;
  }

  async settled(): Promise<void> {}

  /** A write of this process. It hears of it like the others: later. */
  async invalidate(written: readonly string[]): Promise<void> {
    for (const name of written) this.#pending.push({ commit: this.#source.write(name, this), order: ++this.#order });
  }

  /** Hears of the next write. */
  deliver(): void {
    const commit = this.#source.commits[this.applied];
    if (commit === undefined) return;
    this.#versions.bump(commit.hashes[0]!, commit.hashes[1]!, commit.number);
    this.applied = commit.number;
    this.#pending = this.#pending.filter((write) => write.commit.number > this.applied);
  }
}

const cache = fc.nat(1);
const step = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      op: fc.constant("get" as const),
      key: fc.constantFrom(...keys),
      cache,
      token: fc.constantFrom("none" as const, "none" as const, "named" as const, "anything" as const),
    }),
  },
  { weight: 3, arbitrary: fc.record({ op: fc.constant("write" as const), name: fc.constantFrom(...names), cache }) },
  { weight: 4, arbitrary: fc.record({ op: fc.constant("deliver" as const), cache }) },
  { weight: 6, arbitrary: fc.record({ op: fc.constant("end" as const), which: fc.nat(5), fails: fc.nat(4) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("time" as const), ms: fc.constantFrom(5, 60, 1_000, 9_000) }) },
  { weight: 5, arbitrary: fc.record({ op: fc.constant("turn" as const) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("silence" as const), cache }) },
);

export const steps = fc.array(step, { maxLength: 60, size: "max" });
export type Steps = typeof steps extends fc.Arbitrary<infer Value> ? Value : never;

/** Plays the steps and rejects when somebody was given what they must not be given, waits for ever, or a timer is left. */
export async function play(played: Steps, isShared: boolean, coverage: Coverage, flaw?: Flaw): Promise<void> {
  const clock = createManualClock();
  const source = new Source();
  const store = isShared ? memoryStore({ clock }) : undefined;
  const processes = Array.from({ length: isShared ? 2 : 1 }, () => {
    const ledger = new ModelLedger(source, coverage, flaw);
    return { ledger, cache: createCache({ clock, ledger, random: () => 0.5, ...(store && { store }) }) };
  });
  const running: { end(fails: boolean): void }[] = [];
  const asked: Promise<void>[] = [];

  const get = (key: string, process: { readonly ledger: ModelLedger; readonly cache: Cache }, demand: Demand | undefined) => {
    const { applied } = process.ledger;
    const isDemanded = (commit: Commit) =>
      demand !== undefined &&
      commit.number <= demand.upTo &&
      (demand.dependencies.length === 0 || commit.hashes[0] === demand.dependencies[0]);
    const least = source.least(key, (commit) => commit.number <= applied || commit.by === process.ledger || isDemanded(commit));
    const fill = () => {
      const seen = source.read(key); // at its beginning, as a database does
      const { promise, resolve, reject } = Promise.withResolvers<number>();
      running.push({ end: (fails) => (fails ? reject(new Error("failed")) : resolve(seen)) });
      return promise;
    };
    const policy = { ttl: "10s", stale: "20s", tags: key.endsWith(":1") ? ["tag"] : [] } as const;
    const answer = Promise.resolve(process.cache.read(key, policy, fill, { demand })).then(
      ({ value, state }) => {
        coverage.served++;
        if (state === "hit") coverage.hits++;
        assert.ok(value >= least, `${key}: ${value} is served (${state}) where ${least} must be seen`);
      },
      (error: unknown) => assert.match(String(error), /failed|took longer/),
    );
    answer.catch(() => {}); // awaited below
    asked.push(answer);
  };

  for (const each of played) {
    const process = processes["cache" in each ? each.cache % processes.length : 0]!;
    if (each.op === "get") {
      const last = each.token === "none" ? undefined : source.commits.at(-1);
      get(
        each.key,
        process,
        last && { upTo: last.number, dependencies: each.token === "named" ? last.hashes : new Uint32Array(0) },
      );
    } else if (each.op === "write") await process.cache.invalidate(each.name);
    else if (each.op === "deliver") process.ledger.deliver();
    else if (each.op === "silence") process.ledger.silent = !process.ledger.silent;
    else if (each.op === "end") running.splice(each.which % Math.max(1, running.length), 1)[0]?.end(each.fails === 0);
    else if (each.op === "time") clock.advance(each.ms);
    else await turn();
  }
  await allAnswered(asked, running, clock);
  for (const process of processes) await process.cache.close();
  assert.equal(clock.pendingTimers, 0, "no timer is left");
}

async function allAnswered(
  asked: readonly Promise<void>[],
  running: { end(fails: boolean): void }[],
  clock: ManualClock,
): Promise<void> {
  let isDone = false;
  const all = Promise.all(asked).finally(() => (isDone = true));
  all.catch(() => {});
  for (let i = 0; i < 2_000 && !isDone; i++) {
    for (const fill of running.splice(0)) fill.end(false);
    await turn();
    if (i % 3 === 2) clock.advance(20);
  }
  assert.ok(isDone, "nobody waits for ever");
  await all;
}
