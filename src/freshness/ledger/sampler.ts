// Takes snapshots for fills: one at a time, shared by the fills that ask within a few milliseconds. See docs/freshness.md, "The rule".

import { Deadline } from "../../concurrency/index.ts";
import type { Clock } from "../../core/index.ts";
import type { Pool } from "../../database/index.ts";
import type { Commits, OpenSample } from "./commits.ts";
import { numberOfLsn, parseLsn } from "../feed/number.ts";
import { type Rule, replayedQuery } from "./rule.ts";

export interface SamplerOptions {
  readonly pool: Pool;
  readonly commits: Commits;
  readonly rule: Rule;
  readonly clock: Clock;
  /** A sample may be shared by fills that begin this long after it was asked for. */
  readonly shareMs: number;
  /** How long a sample may take before the fill goes on without (and is not kept). */
  readonly timeoutMs: number;
  /** The current order among this process's writes. */
  readonly order: () => number;
}

/** How long connections to several servers count against the pool: long enough for a failover, short enough not to matter after. */
const severalServersMs = 30_000;

/** Whether `after` is `before` begun again: two servers do not listen at one address, and those behind one do not begin in turns. */
function isRestart(before: string, after: string): boolean {
  const [address, start] = before.split(" ");
  const [addressAfter, startAfter] = after.split(" ");
  return address === addressAfter && Number(startAfter) > Number(start);
}

export class Sampler {
  readonly #options: SamplerOptions;
  #current: OpenSample | undefined;
  #running: Promise<OpenSample> | undefined;
  #waiting: Promise<OpenSample> | undefined;
  #server: string | undefined;
  #standby = false;
  #severalUntilMs = 0;

  constructor(options: SamplerOptions) {
    this.#options = options;
  }

  /** Whether the pool's connections lead to several servers, so that a snapshot of one says nothing of what another shows. */
  get severalServers(): boolean {
    return this.#options.clock.monotonic() < this.#severalUntilMs;
  }

  /** A sample for a fill that begins now; release() it. Rejects when the server does not answer in time. */
  acquire(): OpenSample | Promise<OpenSample> {
    const { clock, shareMs, order, commits } = this.#options;
    const current = this.#current;
    const isGood =
      current !== undefined &&
      current.bound === undefined &&
      current.order === order() &&
      current.generation === commits.generation &&
      clock.monotonic() - current.askedAtMs <= shareMs;
    if (isGood) return this.#use(current);
    return this.#take().then((sample) => this.#use(sample));
  }

  release(sample: OpenSample): void {
    if (--sample.fills === 0 && sample !== this.#current) this.#options.commits.close(sample);
  }

  #use(sample: OpenSample): OpenSample {
    sample.fills++;
    return sample;
  }

  /** One that is asked for from now on: whoever comes while one is under way shares the next. */
  #take(): Promise<OpenSample> {
    if (!this.#running) {
      return (this.#running = this.#ask().finally(() => {
        this.#running = undefined;
      }));
    }
    return (this.#waiting ??= this.#running
      .catch(() => {})
      .then(() => {
        this.#waiting = undefined;
        return this.#take();
      }));
  }

  async #ask(): Promise<OpenSample> {
    const { pool, commits, rule, clock, timeoutMs, order } = this.#options;
    const asked = { order: order(), askedAtMs: clock.monotonic() };
    const { applied } = commits;
    using deadline = new Deadline({ timeoutMs, clock });
    const ask = async (text: string): Promise<readonly unknown[]> =>
      (await pool.run(text, [], { rowMode: "array", deadline })).rows[0];
    const replayed = this.#standby ? await ask(replayedQuery) : undefined;
    const { snapshot, server, bound } = rule.read(await ask(rule.query), commits.applied);
    this.#standby = snapshot.standby;
    // The first sample of a standby does not say what was replayed before it.
    const reached = snapshot.standby ? Math.min(applied, replayed ? numberOfLsn(parseLsn(replayed[0] as string)) - 1 : 0) : applied;
    if (this.#server !== undefined && this.#server !== server) {
      if (!isRestart(this.#server, server)) this.#severalUntilMs = clock.monotonic() + severalServersMs;
      commits.serverChanged();
    }
    this.#server = server;
    const sample = commits.open({ snapshot, reached, ...asked });
    if (bound !== undefined) sample.bound = bound;
    const before = this.#current;
    this.#current = sample;
    if (before && before.fills === 0) commits.close(before);
    return sample;
  }
}
