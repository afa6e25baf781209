// createCdn(): answers get their keys, and what is written is purged. See docs/cdn.md.

import { hashDependencies } from "../cache/index.ts";
import { type Closeable, resolveOptions } from "../core/index.ts";
import type { CdnAdapter, CdnDialect } from "./adapter.ts";
import { type SharedLifetime, answerFields, formatKeys, groupsDialect, withheldFields } from "./answer-fields.ts";
import { cdnOverflowChannel } from "./channels.ts";
import { keyOfAll, keysOf } from "./keys.ts";
import { type CdnOptions, cdnChecks, cdnDefaults } from "./options.ts";
import { Purger, type PurgerStats } from "./purger.ts";

/** What has been written: hashes as hashDependencies() makes them, or anything at all. */
export interface Written {
  readonly dependencies: readonly Uint32Array[];
  readonly everything: boolean;
}

/** Says what is written, such as what createFreshness() gives. */
export interface WrittenSource {
  onWritten(listener: (written: Written) => void): Disposable;
}

export interface Cdn extends Closeable {
  /**
   * The fields of an answer that depends on these (hashes, or names) and is fresh at the CDN for this long. `cacheControl`: what it says
   * to everybody. Empty for an answer that is for one alone. An answer with more keys than a CDN reads is not cached there.
   */
  answerFields(
    dependencies: Uint32Array | readonly string[],
    lifetime: SharedLifetime,
    cacheControl?: string,
  ): Record<string, string>;
  /** The fields of an answer that no CDN may store, because it is not known what it depends on, or a CDN would mix it up with others. */
  withheldFields(cacheControl?: string): Record<string, string>;
  /**
   * Cache-Group-Invalidation for the answer to a request that changed what depends on these. More than every cache reads: the
   * group of everything.
   */
  groupInvalidation(dependencies: Uint32Array | readonly string[]): string;
  /** Purges what `source` says from now on, until the result is disposed. */
  follow(source: WrittenSource): Disposable;
  /** Purges every answer that depends on one of these: hashes, or names. */
  purge(dependencies: Uint32Array | readonly string[]): void;
  /** Purges every answer. */
  purgeAll(): void;
  /** Resolves when every purge has been taken, the second ones included. */
  idle(): Promise<void>;
  stats(): readonly PurgerStats[];
}

/**
 * Creates the connection to one or more CDNs. It closes their adapters.
 * @throws MILLRACE_OPTION_UNKNOWN, MILLRACE_OPTION_INVALID
 */
export function createCdn(given: CdnOptions): Cdn {
  const options = resolveOptions<CdnOptions, typeof cdnChecks>("createCdn", given, cdnDefaults, cdnChecks);
  const { adapters, prefix } = options;
  const all = keyOfAll(prefix);
  const purgers = adapters.map(
    (adapter) =>
      new Purger({
        adapter,
        all,
        boundMs: options.bound,
        gatherMs: options.gather,
        maxRetryMs: options.maxRetryDelay,
        maxWaiting: options.maxWaiting,
        timeoutMs: options.timeout,
        clock: options.clock,
        random: options.random,
      }),
  );
  return new CdnFront(adapters, purgers, prefix, all, options.groups);
}

const hashesOf = (dependencies: Uint32Array | readonly string[]): Uint32Array =>
  dependencies instanceof Uint32Array ? dependencies : hashDependencies(dependencies);

class CdnFront implements Cdn {
  readonly #adapters: readonly CdnAdapter[];
  readonly #dialects: readonly CdnDialect[];
  readonly #purgers: readonly Purger[];
  readonly #prefix: string;
  readonly #all: string;
  readonly #followed = new Set<Disposable>();
  #closed: Promise<void> | undefined;

  constructor(adapters: readonly CdnAdapter[], purgers: readonly Purger[], prefix: string, all: string, groups: boolean) {
    this.#adapters = adapters;
    this.#dialects = [...adapters.map(({ dialect }) => dialect), ...(groups ? [groupsDialect] : [])];
    this.#purgers = purgers;
    this.#prefix = prefix;
    this.#all = all;
  }

  answerFields(dependencies: Uint32Array | readonly string[], lifetime: SharedLifetime, cacheControl = ""): Record<string, string> {
    const keys = [this.#all, ...keysOf(this.#prefix, hashesOf(dependencies))];
    return answerFields(this.#dialects, keys, lifetime, cacheControl, (dialect) => {
      if (!cdnOverflowChannel.hasSubscribers) return;
      const name = this.#adapters.find((adapter) => adapter.dialect === dialect)?.name;
      cdnOverflowChannel.publish({ cdn: name ?? dialect.field, keys: keys.length, mostKeys: dialect.mostKeys });
    });
  }

  withheldFields(cacheControl = ""): Record<string, string> {
    return withheldFields(this.#dialects, cacheControl);
  }

  groupInvalidation(dependencies: Uint32Array | readonly string[]): string {
    return formatKeys(groupsDialect, keysOf(this.#prefix, hashesOf(dependencies))) ?? formatKeys(groupsDialect, [this.#all])!;
  }

  follow(source: WrittenSource): Disposable {
    const subscription = source.onWritten(({ dependencies, everything }) => {
      if (everything) this.purgeAll();
      else for (const hashes of dependencies) this.purge(hashes);
    });
    this.#followed.add(subscription);
    return {
      [Symbol.dispose]: () => {
        this.#followed.delete(subscription);
        subscription[Symbol.dispose]();
      },
    };
  }

  purge(dependencies: Uint32Array | readonly string[]): void {
    const keys = keysOf(this.#prefix, hashesOf(dependencies));
    if (keys.length > 0) for (const purger of this.#purgers) purger.add(keys);
  }

  purgeAll(): void {
    for (const purger of this.#purgers) purger.add([this.#all]);
  }

  async idle(): Promise<void> {
    await Promise.all(this.#purgers.map((purger) => purger.idle()));
  }

  stats(): readonly PurgerStats[] {
    return this.#purgers.map((purger) => purger.stats());
  }

  /** Sends what waits, as far as that succeeds at the first attempt, and closes the adapters. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    for (const subscription of this.#followed) subscription[Symbol.dispose]();
    await Promise.all(this.#purgers.map((purger) => purger.close()));
    await Promise.all(this.#adapters.map((adapter) => adapter.close()));
  }
}
