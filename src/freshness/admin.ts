// What `millrace freshness` does, as functions: shows, makes and removes what the feed needs in a database. See docs/change-feed.md.

import { systemClock } from "../core/index.ts";
import { advisoryLockClass, advisoryLocks } from "../database/index.ts";
import { freshnessErrors } from "./errors.ts";
import { hasKitTables, readFeedRow, readFollowed } from "./feed/kit-tables.ts";
import { numberOfLsn, parseLsn } from "./feed/number.ts";
import type { FeedOptions } from "./feed/options.ts";
import type { Session } from "./feed/session.ts";
import { installFeed, removeFeed } from "./feed/setup.ts";
import type { SourceKind, SourceStatus } from "./feed/source.ts";
import { BatchReader } from "./feed/wire.ts";
import { chooseSource, createSources, openFeedSession, readDatabaseOid, resolveFeedOptions } from "./feed/sources.ts";

/** Which database, and how its feed is configured where that is not the usual way. */
export type FreshnessAdminOptions = Pick<FeedOptions, "url" | "source" | "slot" | "publication" | "allowUnboundedSlot" | "timeout">;

/** Everything about one database's feed. */
export interface FreshnessStatus {
  /** The source in use; before setup, the one that would be used. */
  readonly source: SourceKind;
  /** Whether the kit's tables and its row are there. */
  readonly installed: boolean;
  /** 0: no process has run the feed yet. */
  readonly generation: number | undefined;
  /** Tables, and the columns of them whose values are followed. */
  readonly followed: readonly { readonly table: string; readonly columns: readonly string[] }[];
  /** The process that reads the source. */
  readonly elected: { readonly pid: number; readonly application: string; readonly since: string } | undefined;
  /** Processes that listen. */
  readonly processes: number;
  /** From a mark to the batch that passes it, in milliseconds; undefined: none came within the wait. */
  readonly lagMs: number | undefined;
  readonly details: SourceStatus;
  /** Each in one sentence with the next step. Empty: all is well. */
  readonly problems: readonly string[];
}

/** How long the status waits for a mark to come around. */
const lagWaitMs = 3_000;

async function withSession<T>(given: FreshnessAdminOptions, work: (parts: Parts) => Promise<T>): Promise<T> {
  const options = resolveFeedOptions({ ...given, canonicalValue: () => undefined, clock: systemClock });
  const session = await openFeedSession(options, "administration");
  try {
    const sources = createSources(options, await readDatabaseOid(session));
    const row = (await hasKitTables(session)) ? await readFeedRow(session) : undefined;
    const wanted = given.source ?? "auto";
    const kind = wanted === "auto" ? (row?.source ?? (await chooseSource("auto", sources, session))) : wanted;
    return await work({ session, sources, row, kind });
  } finally {
    await session.close();
  }
}

interface Parts {
  readonly session: Session;
  readonly sources: ReturnType<typeof createSources>;
  readonly row: Awaited<ReturnType<typeof readFeedRow>>;
  readonly kind: SourceKind;
}

const electedQuery = `
  select a.pid, a.application_name as application, to_char(a.backend_start at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as since
  from pg_locks l join pg_stat_activity a on a.pid = l.pid
  where l.locktype = 'advisory' and l.granted and l.classid = $1::int::oid and l.objid = $2::int::oid and l.objsubid = 2
    and l.database = (select oid from pg_database where datname = current_database())`;

const processesQuery =
  "select count(*)::int as processes from pg_stat_activity where datname = current_database() and application_name = 'millrace listening'";

/**
 * Looks; changes nothing but a mark in the log.
 * @throws MILLRACE_FEED_UNREACHABLE
 */
export function freshnessStatus(given: FreshnessAdminOptions): Promise<FreshnessStatus> {
  return withSession(given, async ({ session, sources, row, kind }) => {
    const details = await sources(kind).status(session);
    const problems = [...details.problems];
    if (row === undefined) {
      problems.unshift("The feed is not set up: start an application that uses it, or run `millrace freshness setup`.");
      return {
        source: kind,
        installed: false,
        generation: undefined,
        followed: [],
        elected: undefined,
        processes: 0,
        lagMs: undefined,
        details,
        problems,
      };
    }
    const followed = Map.groupBy(await readFollowed(session), ({ schema, name }) => `${schema}.${name}`);
    const [elected] = await session.query<NonNullable<FreshnessStatus["elected"]>>(electedQuery, [
      advisoryLockClass,
      advisoryLocks.feed,
    ]);
    const [count] = await session.query<{ processes: number }>(processesQuery);
    const lagMs = elected && (await measureLag(session, row.channel, kind));
    if (!elected)
      problems.push("No process reads the source: nothing is served from cache until an application with the feed runs.");
    else if (lagMs === undefined) {
      problems.push(
        `The elected process (${elected.pid}) publishes nothing within ${lagWaitMs} ms: look at its log, then restart it.`,
      );
    }
    return {
      source: kind,
      installed: true,
      generation: row.generation,
      followed: [...followed].map(([table, rows]) => ({
        table,
        columns: rows.flatMap(({ column }) => (column === undefined ? [] : [column])),
      })),
      elected,
      processes: count!.processes,
      lagMs,
      details,
      problems,
    };
  });
}

/** From writing a mark to the batch that passes it. */
async function measureLag(session: Session, channel: string, kind: SourceKind): Promise<number | undefined> {
  const { promise, resolve } = Promise.withResolvers<number | undefined>();
  const batches = new BatchReader();
  let mark = Number.POSITIVE_INFINITY;
  let newest = 0;
  let beganMs = 0;
  const look = (): void => {
    if (newest >= mark) resolve(performance.now() - beganMs);
  };
  session.onNotification((from, payload) => {
    if (from !== channel) return;
    try {
      newest = Math.max(newest, batches.read(payload)?.upTo ?? 0);
    } catch {
      return; // the end of a batch that began before this session listened
    }
    look();
  });
  await session.query(`listen ${channel}`);
  beganMs = performance.now();
  const [row] = await session.query<{ before: string; behind: string }>(
    `with here as materialized (select pg_current_wal_insert_lsn() as at)
     select at::text as before, pg_logical_emit_message(true, 'millrace', '')::text as behind from here`,
  );
  mark = numberOfLsn(parseLsn(kind === "triggers" ? row!.behind : row!.before));
  look();
  const timer = setTimeout(() => resolve(undefined), lagWaitMs);
  const lagMs = await promise;
  clearTimeout(timer);
  await session.query(`unlisten ${channel}`);
  return lagMs;
}

/**
 * Makes what the feed needs, or says what it would run. Idempotent.
 * @returns the source, and the statements that were run, or would be with `dryRun`.
 * @throws MILLRACE_FEED_SOURCE_UNUSABLE when the source cannot run on this server
 */
export function freshnessSetup(
  given: FreshnessAdminOptions,
  dryRun = false,
): Promise<{ readonly source: SourceKind; readonly statements: readonly string[]; readonly done: boolean }> {
  return withSession(given, async ({ session, sources, kind }) => {
    const statements: string[] = [];
    const recording = (inner: Session): Session => ({
      query: (text, values) => {
        if (!/^\s*select\s/i.test(text)) statements.push(withValues(text, values));
        return inner.query(text, values);
      },
      transaction: (run) => inner.transaction((tx) => run(recording(tx))),
      onNotification: (listener) => inner.onNotification(listener),
      lost: inner.lost,
      serverVersion: inner.serverVersion,
      close: () => inner.close(),
    });
    if (!dryRun) {
      await installFeed(recording(session), sources(kind));
      return { source: kind, statements, done: true };
    }
    // Run for real, so that what it would do is what it does, and taken back.
    const rollback = new Error("dry run");
    const inside: Session = { ...recording(session), transaction: (run) => run(inside) };
    await session
      .transaction(async () => {
        await installFeed(inside, sources(kind));
        throw rollback;
      })
      .catch((error: unknown) => {
        if (error !== rollback) throw error;
      });
    return { source: kind, statements, done: false };
  });
}

/** For people to read: the statement as it stands, and its values as a comment. */
const withValues = (text: string, values: readonly unknown[] | undefined): string => {
  const body = text.trim();
  return values && values.length > 0 ? `${body}; -- ${JSON.stringify(values)}` : `${body};`;
};

/**
 * Removes everything that the feed has made in the database.
 * @param force also while processes use it; they close their caches and, unless their feed has `setup: false`, make it anew.
 * @throws MILLRACE_FEED_IN_USE
 */
export function freshnessTeardown(given: FreshnessAdminOptions, force = false): Promise<readonly SourceKind[]> {
  return withSession(given, async ({ session, sources }) => {
    const [count] = await session.query<{ processes: number }>(processesQuery);
    if (count!.processes > 0 && !force) throw freshnessErrors.create("MILLRACE_FEED_IN_USE", { processes: count!.processes });
    const kinds = ["logical", "triggers"] as const;
    // Both: a database may have changed from one to the other.
    for (const kind of kinds) await removeFeed(session, sources(kind));
    return kinds;
  });
}

/**
 * Makes everything stale that depends on these hashes, in all processes, through the feed's log.
 * @throws MILLRACE_FEED_NOT_SET_UP
 */
export function invalidateInLog(given: FreshnessAdminOptions, dependencies: Uint32Array): Promise<void> {
  return withSession(given, async ({ session, sources, row }) => {
    if (!row)
      throw freshnessErrors.create("MILLRACE_FEED_NOT_SET_UP", { missing: "the tables in the schema millrace are not all there." });
    await sources(row.source).invalidate(session, dependencies);
  });
}

/** Runs `work` on a session of its own, for control.ts's ask(). */
export const withAdminSession = <T>(given: FreshnessAdminOptions, work: (session: Session) => Promise<T>): Promise<T> =>
  withSession(given, ({ session }) => work(session));
