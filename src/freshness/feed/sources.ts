// The two sources, and which of them a database is read by. Used by the feed and by `millrace freshness`.

import { resolveOptions } from "../../core/index.ts";
import { readFeedRow } from "./kit-tables.ts";
import { createLogicalSource } from "./logical/source.ts";
import { type FeedOptions, feedChecks, feedDefaults } from "./options.ts";
import { type Session, openSession } from "./session.ts";
import type { Source, SourceKind } from "./source.ts";
import { createTriggersSource } from "./triggers/index.ts";

export type ResolvedFeedOptions = ReturnType<typeof resolveFeedOptions>;

export const resolveFeedOptions = (given: FeedOptions) => resolveOptions("createFeed", given, feedDefaults, feedChecks);

export type Sources = (kind: SourceKind) => Source;

/** Both sources over one way to connect; neither opens anything before it is asked to. For the feed and for the command line. */
export function createSources(options: ResolvedFeedOptions, databaseOid: number): Sources {
  const setup = {
    connect: (purpose: string) => openFeedSession(options, purpose),
    clock: options.clock,
    canonicalValue: options.canonicalValue,
    intervalMs: options.bound / 4,
    maxDependenciesPerCommit: options.maxDependenciesPerCommit,
  };
  const logical = createLogicalSource(setup, {
    url: options.url,
    timeoutMs: options.timeout,
    slot: options.slot ?? `millrace_${databaseOid}`,
    publication: options.publication,
    allowUnboundedSlot: options.allowUnboundedSlot,
    replicaIdentity: options.replicaIdentity,
  });
  const triggers = createTriggersSource(setup);
  return (kind) => (kind === "logical" ? logical : triggers);
}

export const readDatabaseOid = async (session: Session): Promise<number> => {
  const [row] = await session.query<{ oid: string }>(
    "select oid::text from pg_catalog.pg_database where datname = current_database()",
  );
  return Number(row!.oid);
};

/** A session as every part of the feed wants it: nothing it writes waits for a standby. */
export const openFeedSession = (
  options: ResolvedFeedOptions,
  purpose: string,
  settings: Record<string, string> = {},
): Promise<Session> =>
  openSession({
    url: options.url,
    purpose,
    clock: options.clock,
    timeoutMs: options.timeout,
    settings: { synchronous_commit: "local", ...settings },
  });

/**
 * The source to use: the one that was asked for; with "auto" the one in use while it can run, then logical decoding if that can, then
 * triggers.
 */
export async function chooseSource(wanted: "auto" | SourceKind, sources: Sources, session: Session): Promise<SourceKind> {
  if (wanted !== "auto") return wanted;
  const present = await session.query<{ present: boolean }>("select to_regclass('millrace.feed') is not null as present");
  const row = present[0]!.present ? await readFeedRow(session) : undefined;
  if (row?.source === "triggers") return "triggers";
  const { problems } = await sources("logical").status(session);
  // What setup makes is not there before the first time; that is no reason against it.
  return row?.source === "logical" || problems.every((problem) => problem.startsWith("the publication")) ? "logical" : "triggers";
}
