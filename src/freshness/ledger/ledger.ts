// The ledger over PostgreSQL: why a cached answer may be served. It hears of commits from the feed, of statements from the pool, and puts
// both together: docs/freshness.md has the rule, the files beside this one its parts.

import {
  type Demand,
  type Findings,
  type Inherited,
  type Judged,
  type Ledger,
  type Reading,
  type Refusal,
  type Stamp,
} from "../../cache/index.ts";
import { type VersionsOptions, createVersions, hashDependencies } from "../../cache/index.ts";
import type { Clock } from "../../core/index.ts";
import { type Pool, unobserved } from "../../database/index.ts";
import { type ReadDependency, namesOf } from "../dependencies/index.ts";
import type { Feed, FeedCommit, FeedHistory, FeedListener, FeedState } from "../feed.ts";
import type { CatalogueKeeper } from "./catalogue-keeper.ts";
import { Collector, collect, currentCollector } from "./collector.ts";
import { Commits, type OpenSample } from "./commits.ts";
import { Marks } from "./marks.ts";
import { OwnWrites, type Written } from "./own-writes.ts";
import type { Rule } from "./rule.ts";
import { Sampler } from "./sampler.ts";

export interface LedgerOptions {
  readonly pool: Pool;
  readonly catalogue: CatalogueKeeper;
  readonly boundMs: number;
  readonly sampleShareMs: number;
  readonly sampleTimeoutMs: number;
  readonly versions: VersionsOptions;
  readonly rule: Rule;
  readonly clock: Clock;
}

/** Marks per staleness bound: an answer is bypassed when four in a row have not come back. */
const marksPerBound = 4;

/** What was written, as onWritten() of createFreshness() tells. */
export interface CommittedWrites {
  /** Low and high halves of hashes, as hashDependencies() makes them; one list for each commit. */
  readonly dependencies: readonly Uint32Array[];
  /** Anything may have been written: a change of the schema, or a gap in what was heard. */
  readonly everything: boolean;
}

export class FreshnessLedger implements Ledger, FeedListener {
  readonly #options: LedgerOptions;
  readonly #versions;
  readonly #commits: Commits;
  readonly #own = new OwnWrites();
  readonly #sampler: Sampler;
  /** From which number on a table ("public.reports") or column ("public.reports:city_id") is named by every commit that touches it. */
  readonly #followed = new Map<string, number>();
  #feed: Feed | undefined;
  #marks: Marks | undefined;
  #problem: string | undefined;
  readonly #listeners = new Set<(written: CommittedWrites) => void>();
  /** Who waits for answers to be kept. */
  readonly #waiting: (() => void)[] = [];

  constructor(options: LedgerOptions) {
    this.#options = options;
    this.#versions = createVersions(0, options.versions);
    this.#commits = new Commits(options.rule.sees);
    this.#sampler = new Sampler({
      pool: options.pool,
      commits: this.#commits,
      rule: options.rule,
      clock: options.clock,
      shareMs: options.sampleShareMs,
      timeoutMs: options.sampleTimeoutMs,
      order: () => this.#own.order,
    });
  }

  /** Begins to send marks. The feed tells this ledger what it hears. */
  start(feed: Feed): void {
    this.#feed = feed;
    this.#marks = new Marks({
      feed,
      everyMs: this.#options.boundMs / marksPerBound,
      order: () => this.#own.order,
      onPassed: (order) => {
        this.#own.delivered(order);
        for (const go of this.#waiting.splice(0)) go();
      },
      clock: this.#options.clock,
    });
  }

  /** Resolves when answers can be kept. */
  async ready(): Promise<void> {
    do {
      while (this.#silence() !== undefined) await new Promise<void>((resolve) => this.#waiting.push(resolve));
      await this.#options.catalogue.settled();
    } while (this.#silence() !== undefined);
  }

  stop(): void {
    this.#marks?.close();
    this.#commits.generation = 0;
  }

  // What the cache asks.

  get namespace(): string {
    return this.#options.catalogue.namespace;
  }

  get generation(): number {
    return this.#commits.generation;
  }

  begin(): Reading | Promise<Reading> {
    const collector = new Collector(currentCollector());
    const refusal = this.#silence();
    if (refusal !== undefined)
      return new LedgerReading(this, collector, undefined, this.#own.order, this.#problem ?? sentences[refusal]);
    const withSample = (sample: OpenSample) =>
      new LedgerReading(this, collector, sample, sample.snapshot.standby ? -sample.order : sample.order, undefined);
    const sample = unobserved(() => this.#sampler.acquire());
    if (!(sample instanceof Promise)) return withSample(sample);
    return sample.then(
      withSample,
      () => new LedgerReading(this, collector, undefined, this.#own.order, "the database gave no snapshot in time"),
    );
  }

  judge(stamp: Stamp, order: number, dependencies: Uint32Array, demand?: Demand, judged?: Judged): Refusal | undefined {
    const silence = this.#silence();
    if (silence !== undefined) return silence;
    if (judged === undefined || !this.#versions.isUntouched(judged)) {
      if (stamp.generation !== this.#commits.generation) return "generation";
      if (!this.#versions.mayServe(stamp.generation, stamp.upTo, dependencies, judged)) return "written";
    }
    if (this.#own.any && this.#own.refuses(order, dependencies)) return "own-write";
    if (demand !== undefined && !this.#meets(demand, stamp, dependencies)) return "token";
    return undefined;
  }

  inherit(stamp: Stamp | undefined, dependencies: Uint32Array, reason: string | undefined, answer?: Inherited): void {
    currentCollector()?.inherit(stamp, dependencies, reason, answer);
  }

  mayJoin(order: number): boolean {
    return Math.abs(order) >= this.#own.order;
  }

  async settled(): Promise<void> {
    await this.#marks?.settled();
  }

  async invalidate(names: readonly string[]): Promise<void> {
    const dependencies = hashDependencies(names);
    const number = await this.#started.invalidate(dependencies);
    // Here at once; the feed brings it again, to everybody.
    this.#touch(dependencies, number);
    this.#commits.apply([{ number, xid: undefined, dependencies, everything: false }], this.#commits.applied);
    this.#own.order++;
  }

  // What the pool's observer says.

  /** A write was acknowledged: whatever may miss it is refused until the feed has brought it. */
  onWritten(written: Written): void {
    this.#own.acknowledged(written);
    this.#marks?.request();
  }

  /** A number behind everything that was acknowledged before the call. */
  async mark(): Promise<number> {
    return (await this.#startedMarks.send()).number;
  }

  /** Tells of what is written, in order, after it has been applied here. A listener must be quick and must not throw. */
  listen(listener: (written: CommittedWrites) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  #tell(written: CommittedWrites): void {
    for (const listener of this.#listeners) listener(written);
  }

  // What the feed says.

  onCommits(commits: readonly FeedCommit[], upTo: number): void {
    for (const { number, xid, dependencies, everything } of commits) {
      if (everything) {
        this.#versions.bumpAll(number);
        this.#followed.clear(); // what is still followed is said again
        this.#options.catalogue.changed(xid === undefined ? undefined : Number(xid));
      }
      this.#touch(dependencies, number);
    }
    this.#commits.apply(commits, upTo);
    this.#marks?.advance(upTo);
    if (this.#listeners.size === 0 || commits.length === 0) return;
    const everything = commits.some((commit) => commit.everything);
    this.#tell({ everything, dependencies: commits.map(({ dependencies }) => dependencies) });
  }

  onRestart({
    generation,
    floor,
    horizon,
  }: {
    readonly generation: number;
    readonly floor: number;
    readonly horizon: bigint;
  }): void {
    if (generation !== this.#commits.generation) this.#versions.startGeneration(generation);
    this.#followed.clear();
    this.#versions.bumpAll(floor);
    this.#commits.restart(generation, floor, Number(horizon));
    this.#options.catalogue.changed(undefined);
    this.#marks?.restart();
    this.#tell({ everything: true, dependencies: [] }); // what was written meanwhile nobody has heard
  }

  async onHistory({ generation, dump }: { readonly generation: number; readonly dump: Uint8Array }): Promise<boolean> {
    return generation === this.#commits.generation && (await this.#versions.merge(dump));
  }

  /** Also after stop(): what is left behind for the next process. */
  async history(): Promise<FeedHistory> {
    const { generation } = this.#versions;
    const upTo = this.#commits.applied;
    return { generation, upTo, dump: await this.#versions.dump(upTo) }; // dump() copies before it waits
  }

  onFollowed({
    table,
    column,
    number,
  }: {
    readonly table: string;
    readonly column: string | undefined;
    readonly number: number;
  }): void {
    this.#followed.set(column === undefined ? table : `${table}:${column}`, number);
  }

  onState({ state, problem }: FeedState): void {
    this.#problem = state === "running" ? undefined : problem;
  }

  // What readings ask.

  release(sample: OpenSample): void {
    this.#sampler.release(sample);
  }

  /** What becomes of a fill that has ended. */
  findingsOf(collector: Collector, sample: OpenSample | undefined, problem: string | undefined): Findings {
    collector.end();
    const dependencies = new Set<string>();
    const inherited = collector.inherited;
    const findings = (stamp: Stamp | undefined, reason: string | undefined): Findings => ({
      stamp,
      reason,
      dependencies: [...dependencies],
      inherited,
      timeDependent: collector.timeDependent,
      // What was read is known to be anybody's; only how old it is cannot be told. Those who asked before it was read see in it all that
      // they would see if they read for themselves, their own writes included; the cache gives it to nobody else.
      shareable: !collector.alone,
      freshUntilMs: collector.freshUntilMs,
    });
    const refusal = collector.reason ?? problem ?? this.#unusable(sample!);
    if (refusal !== undefined) {
      for (const read of collector.reads) for (const name of namesOf(read, false)) dependencies.add(name);
      return findings(undefined, refusal);
    }
    const { inheritedStamp } = collector;
    const { generation } = sample!;
    if (inheritedStamp && inheritedStamp.generation !== generation) return findings(undefined, sentences.generation);
    const upTo = Math.min(this.#commits.boundOf(sample!), inheritedStamp?.upTo ?? Infinity);
    let reason: string | undefined;
    for (const read of collector.reads) {
      const missing = this.#nameRead(read, Math.min(upTo, sample!.reached), dependencies);
      reason ??= missing;
    }
    if (reason === undefined) return findings({ generation, upTo }, undefined);
    for (const read of collector.reads) for (const name of namesOf(read, false)) dependencies.add(name);
    return findings(undefined, reason);
  }

  /**
   * Adds the names of one read; says why there are none that mean anything yet. What is followed since a later number than `reached`
   * may have been written before without being named.
   */
  #nameRead(read: ReadDependency, reached: number, into: Set<string>): string | undefined {
    const { table, rows } = read;
    const name = `${table.schema}.${table.name}`;
    const isFollowed = (what: string) => (this.#followed.get(what) ?? Infinity) <= reached;
    const byValue = rows !== undefined && isFollowed(`${name}:${rows.column}`);
    if (rows !== undefined && !byValue) this.#started.follow(table, [rows.column]);
    if (!isFollowed(name)) {
      if (rows === undefined) this.#started.follow(table, []);
      return this.#started.refusalOf(table) ?? `the feed begins to follow ${name}`;
    }
    for (const one of namesOf(read, byValue)) into.add(one);
    return undefined;
  }

  #unusable(sample: OpenSample): string | undefined {
    if (sample.generation !== this.#commits.generation) return sentences.generation;
    if (!sample.beyondHorizon) return "a transaction is open that began before the feed did";
    if (this.#sampler.severalServers) return "the pool's connections lead to several servers";
    return undefined;
  }

  get #started(): Feed {
    return this.#feed!;
  }

  get #startedMarks(): Marks {
    return this.#marks!;
  }

  #silence(): "feed-starting" | "feed-silent" | undefined {
    if (this.#commits.generation === 0 || this.#marks === undefined) return "feed-starting";
    return this.#options.clock.monotonic() - this.#marks.asOfMs <= this.#options.boundMs ? undefined : "feed-silent";
  }

  /** Whether the entry reflects what the reader has been promised, or everything promised has been applied here. */
  #meets(demand: Demand, stamp: Stamp, dependencies: Uint32Array): boolean {
    if (this.#commits.applied >= demand.upTo || stamp.upTo >= demand.upTo) return true;
    const asked = demand.dependencies;
    if (asked.length === 0) return false;
    for (let i = 0; i < asked.length; i += 2) {
      for (let j = 0; j < dependencies.length; j += 2) {
        if (asked[i] === dependencies[j] && asked[i + 1] === dependencies[j + 1]) return false;
      }
    }
    return true;
  }

  #touch(dependencies: Uint32Array, number: number): void {
    for (let i = 0; i < dependencies.length; i += 2) this.#versions.bump(dependencies[i]!, dependencies[i + 1]!, number);
  }
}

const sentences = {
  "feed-starting": "the change feed has not begun",
  "feed-silent": "the change feed is silent",
  generation: "the change feed began anew meanwhile",
} as const;

/** One fill. */
class LedgerReading implements Reading {
  readonly order: number;
  readonly #ledger: FreshnessLedger;
  readonly #collector: Collector;
  readonly #problem: string | undefined;
  #sample: OpenSample | undefined;

  constructor(
    ledger: FreshnessLedger,
    collector: Collector,
    sample: OpenSample | undefined,
    order: number,
    problem: string | undefined,
  ) {
    this.#ledger = ledger;
    this.#collector = collector;
    this.#sample = sample;
    this.order = order;
    this.#problem = problem;
  }

  run<Result>(fill: () => Result): Result {
    return collect(this.#collector, fill);
  }

  finish(): Findings {
    const findings = this.#ledger.findingsOf(this.#collector, this.#sample, this.#problem);
    this[Symbol.dispose]();
    return findings;
  }

  [Symbol.dispose](): void {
    this.#collector.end();
    const sample = this.#sample;
    this.#sample = undefined;
    if (sample) this.#ledger.release(sample);
  }
}
