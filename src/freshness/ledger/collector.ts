// What one fill has read, gathered from the statements that it runs. Collectors nest: a fill inside a fill hands what it found to the one
// around it.

import { AsyncLocalStorage } from "node:async_hooks";
import type { Inherited, Stamp } from "../../cache/index.ts";
import type { ReadDependency } from "../dependencies/index.ts";

/** More places than any statement of an API reads from; beyond it an answer would be invalidated all the time. */
const maxDependencies = 1_000;

export class Collector {
  readonly #around: Collector | undefined;
  readonly #reads = new Map<string, ReadDependency>();
  readonly #inherited = new Map<string, readonly [low: number, high: number]>();
  /** The earliest that an answer reflects which this fill has used. */
  inheritedStamp: Stamp | undefined;
  /** Why the answer may not be kept: the first reason counts. */
  reason: string | undefined;
  /** Whether the answer is for its caller alone: what was refused is more than that the ledger cannot judge now. */
  alone = false;
  timeDependent = false;
  /** When the time of the first of the answers is over that this fill has used. */
  freshUntilMs = Infinity;
  /** Statements that have not ended. */
  running = 0;
  ended = false;

  constructor(around: Collector | undefined) {
    this.#around = around;
  }

  get reads(): Iterable<ReadDependency> {
    return this.#reads.values();
  }

  get inherited(): Uint32Array {
    return Uint32Array.from([...this.#inherited.values()].flat());
  }

  read(dependency: ReadDependency): void {
    const { table, rows } = dependency;
    this.#reads.set(`${table.oid}:${rows === undefined ? "" : `${rows.column}=${rows.values.join("\0")}`}`, dependency);
    if (this.#reads.size > maxDependencies) this.refuse("it reads from more places than can be followed");
  }

  refuse(reason: string, shareable = false): void {
    this.reason ??= reason;
    if (!shareable) this.alone = true;
  }

  inherit(stamp: Stamp | undefined, dependencies: Uint32Array, reason: string | undefined, answer?: Inherited): void {
    if (answer !== undefined && answer.freshUntilMs < this.freshUntilMs) this.freshUntilMs = answer.freshUntilMs;
    if (stamp === undefined) return this.refuse(reason ?? "it uses an answer that is not kept", answer?.shareable);
    const before = this.inheritedStamp;
    if (before && before.generation !== stamp.generation) this.refuse("it uses answers of two generations");
    else if (!before || stamp.upTo < before.upTo) this.inheritedStamp = stamp;
    for (let i = 0; i < dependencies.length; i += 2) {
      const [low, high] = [dependencies[i]!, dependencies[i + 1]!];
      this.#inherited.set(`${low},${high}`, [low, high]);
    }
    if (this.#inherited.size > maxDependencies) this.refuse("it uses answers that were read from more places than can be followed");
  }

  /** No statement counts any more; what was found is the surrounding fill's too. */
  end(): void {
    if (this.ended) return;
    if (this.running > 0) this.refuse("it ended before its statements did");
    this.ended = true;
    const around = this.#around;
    if (!around || around.ended) return;
    for (const dependency of this.reads) around.read(dependency);
    if (this.reason !== undefined) around.refuse(this.reason, !this.alone);
    around.freshUntilMs = Math.min(around.freshUntilMs, this.freshUntilMs);
    if (this.timeDependent) around.timeDependent = true;
    if (this.inheritedStamp) around.inherit(this.inheritedStamp, this.inherited, undefined);
  }
}

/** Whose statements run. */
const running = new AsyncLocalStorage<Collector>();

/** The collector of the fill that runs; undefined outside of fills. */
export function currentCollector(): Collector | undefined {
  const collector = running.getStore();
  return collector === undefined || collector.ended ? undefined : collector;
}

/** Runs `work` so that what it reads is collected. */
export const collect = <Result>(collector: Collector, work: () => Result): Result => running.run(collector, work);
