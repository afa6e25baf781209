// createFreshness(): puts the change feed, the ledger and the pool's observer together. See docs/freshness.md.

import { currentContext } from "../concurrency/index.ts";
import type { WorkContext } from "../concurrency/index.ts";
import type { Cache, Demand, Ledger } from "../cache/index.ts";
import { type Closeable, createLifecycle, resolveOptions } from "../core/index.ts";
import { createControl } from "./control.ts";
import { canonicalValue } from "./dependencies/index.ts";
import { createFeed } from "./feed/create-feed.ts";
import { freshnessErrors } from "./errors.ts";
import type { FeedState } from "./feed.ts";
import { CatalogueKeeper } from "./ledger/catalogue-keeper.ts";
import { type CommittedWrites, FreshnessLedger } from "./ledger/ledger.ts";
import { hashesOf } from "./ledger/own-writes.ts";
import { type Rule, snapshotRule } from "./ledger/rule.ts";
import { Statements } from "./ledger/statements.ts";
import { type FreshnessOptions, freshnessChecks, freshnessDefaults } from "./options.ts";
import { readToken, tokenKey, writeToken } from "./token.ts";

/** A snapshot that takes longer is not waited for: the fill goes on, and is not kept. */
const sampleTimeoutMs = 1_000;

/** Read-your-writes across processes: what createApp() takes as `cacheTokens`. */
export interface FreshnessTokens {
  /** The token for what `context` (default: the running work) has written; undefined when it wrote nothing. One round trip when it did. */
  issue(context?: WorkContext): Promise<string | undefined> | undefined;
  /** What a token demands; undefined for anything that no process with the same secret has issued. */
  read(token: string): Demand | undefined;
}

/** What can be asked about from outside. */
export type ExposedCache = Pick<Cache, "name" | "stats" | "why">;

export interface Freshness extends Closeable {
  /** For createCache({ ledger }). */
  readonly ledger: Ledger;
  readonly tokens: FreshnessTokens;
  /** Lets `millrace cache stats` and `millrace cache why` ask this process about `caches`, until the result is disposed. */
  expose(...caches: readonly ExposedCache[]): Disposable;
  /**
   * Calls `listener` with what is written by anybody, in order, after it has been applied here, until the result is disposed: for
   * caches elsewhere, such as a CDN. It must be quick and must not throw.
   */
  onWritten(listener: (written: CommittedWrites) => void): Disposable;
  /** Whether the feed runs, and what stands in the way. */
  readonly state: FeedState;
  /** Resolves when answers can be kept: the feed runs and the catalogue is known. Never, when they cannot; see `state`. */
  ready(): Promise<void>;
}

/**
 * Follows what is written to a database, so that answers which were read from it can be cached. Returns as soon as the shared secret is
 * known; the feed begins in the background, and until it runs nothing is served from cache.
 * @throws MILLRACE_OPTION_INVALID, MILLRACE_OPTION_UNKNOWN
 */
export const createFreshness = (options: FreshnessOptions): Promise<Freshness> => createFreshnessWith(options, snapshotRule);

/** For tests: with another rule than the right one. */
export async function createFreshnessWith(given: FreshnessOptions, rule: Rule): Promise<Freshness> {
  const options = resolveOptions<FreshnessOptions, typeof freshnessChecks>(
    "createFreshness",
    given,
    freshnessDefaults,
    freshnessChecks,
  );
  const { database, clock } = options;
  const { pool } = database;
  const lifecycle = createLifecycle("freshness", clock);
  const catalogue = new CatalogueKeeper({ pool, url: database.url, clock });
  lifecycle.add("the catalogue", () => catalogue.close());
  const ledger = new FreshnessLedger({
    pool,
    catalogue,
    rule,
    clock,
    boundMs: options.bound,
    sampleShareMs: options.sampleShareMs,
    sampleTimeoutMs,
    versions: options.versions,
  });
  const statements = new Statements({
    planOf: (text) => catalogue.planOf(text),
    onWritten: (written) => ledger.onWritten(written),
  });
  for (const { pool: observed } of [database, ...options.writers]) {
    const subscription = observed.observe(statements);
    lifecycle.add("the pool's observer", () => subscription[Symbol.dispose]());
  }
  try {
    catalogue.changed(undefined);
    const exposed = new Set<ExposedCache>();
    const asked = (): readonly ExposedCache[] => {
      if (exposed.size === 0) throw freshnessErrors.create("MILLRACE_CONTROL_NO_CACHE", {});
      return [...exposed];
    };
    const handlers = {
      stats: () => asked().map((cache) => ({ cache: cache.name, ...cache.stats() })),
      why: (key: string) => Promise.all(asked().map(async (cache) => ({ cache: cache.name, ...(await cache.why(key)) }))),
    };
    const key = tokenKey(await database.cursorSecret());
    const feed = createFeed(
      {
        url: options.url ?? (pool.options.connectionString as string), // createDatabase() always has one
        source: options.source,
        setup: options.setup,
        bound: given.bound ?? freshnessDefaults.bound,
        allowUnboundedSlot: options.allowUnboundedSlot,
        history: options.history,
        canonicalValue,
        onSession: async (session) => void (await createControl(session, options.name, handlers)),
        clock,
      },
      ledger,
    );
    lifecycle.add("the change feed", () => feed.close());
    ledger.start(feed);
    lifecycle.add("the ledger", () => ledger.stop());

    const issueFor = async (written: NonNullable<ReturnType<typeof statements.writtenBy>>): Promise<string> =>
      writeToken({ upTo: await ledger.mark(), dependencies: hashesOf(written) }, key);
    const close = (): Promise<void> => lifecycle.close();
    return {
      ledger,
      tokens: {
        issue(context = currentContext()) {
          const written = context && statements.writtenBy(context);
          return written && issueFor(written);
        },
        read: (token) => readToken(token, key),
      },
      expose(...caches) {
        for (const cache of caches) exposed.add(cache);
        return {
          [Symbol.dispose]() {
            for (const cache of caches) exposed.delete(cache);
          },
        };
      },
      get state() {
        return feed.state;
      },
      onWritten: (listener) => ledger.listen(listener),
      ready: () => ledger.ready(),
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await lifecycle.close();
    throw error;
  }
}
