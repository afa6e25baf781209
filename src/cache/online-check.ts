// The online check: a share of hits is made again behind the scenes and compared with what was served. What differs is a mistake of
// the cache only if nothing was written that explains it, also when everything that was acknowledged before is applied here.

import { Deadline } from "../concurrency/index.ts";
import type { Clock } from "../core/index.ts";
import type { Codec, Fill } from "./cache.ts";
import { type CacheCheckMessage, cacheCheckChannel } from "./channels.ts";
import type { Entry } from "./entry.ts";
import { cacheErrors } from "./errors.ts";
import { runFill } from "./fill-run.ts";
import type { Ledger } from "./ledger.ts";
import { encodeValue } from "./value-codec.ts";

/** Checks at one time: they are work that nobody has asked for. */
const mostAtOnce = 2;

export interface CheckedHit {
  readonly key: string;
  readonly entry: Entry;
  readonly fill: Fill<unknown>;
  readonly codec: Codec<unknown> | undefined;
  readonly timeoutMs: number;
}

export class OnlineCheck {
  checked = 0;
  mismatches = 0;
  readonly #name: string;
  readonly #ledger: Ledger;
  readonly #clock: Clock;
  readonly #running = new Map<Deadline, string>();

  constructor(name: string, ledger: Ledger, clock: Clock) {
    this.#name = name;
    this.#ledger = ledger;
    this.#clock = clock;
  }

  /** Makes the hit again, unless others are being made, or a difference would say nothing. */
  begin(hit: CheckedHit): void {
    if (this.#running.size >= mostAtOnce || hit.entry.timeDependent) return;
    void this.#run(hit);
  }

  /** Ends what is under way. */
  close(): void {
    for (const [deadline, key] of this.#running) {
      deadline.abort(cacheErrors.create("MILLRACE_CACHE_FILL_ABANDONED", { cache: this.#name, key }));
    }
  }

  async #run(hit: CheckedHit): Promise<void> {
    using deadline = new Deadline({ timeoutMs: hit.timeoutMs, clock: this.#clock });
    this.#running.set(deadline, hit.key);
    const { promise: ended, resolve: end } = Promise.withResolvers<"failed">();
    deadline.onAbort(() => end("failed"));
    // Whatever goes wrong here is no mistake of the cache's.
    const result = await Promise.race([this.#compare(hit, deadline).catch(() => "failed" as const), ended]);
    this.#running.delete(deadline);
    this.checked++;
    if (result === "mismatch") this.mismatches++;
    if (cacheCheckChannel.hasSubscribers) cacheCheckChannel.publish({ cache: this.#name, key: hit.key, result });
  }

  async #compare({ entry, fill, codec }: CheckedHit, deadline: Deadline): Promise<CacheCheckMessage["result"]> {
    const run = await runFill(fill, { ledger: this.#ledger, clock: this.#clock, deadline });
    if (run.failure || run.dontKeep !== undefined || run.findings.stamp === undefined) return "failed";
    if (isSame(entry.value, run.value, codec)) return "same";
    const isOvertaken = () => this.#ledger.judge(entry.stamp, entry.order, entry.dependencies) !== undefined;
    if (isOvertaken()) return "overtaken";
    await this.#ledger.settled();
    return isOvertaken() ? "overtaken" : "mismatch";
  }
}

function isSame(one: unknown, other: unknown, codec: Codec<unknown> | undefined): boolean {
  if (one === undefined || one === null || other === undefined || other === null) return one === other;
  const [a, b] = [encodeValue(one, codec), encodeValue(other, codec)];
  return a.codecId === b.codecId && Buffer.compare(a.bytes, b.bytes) === 0;
}
