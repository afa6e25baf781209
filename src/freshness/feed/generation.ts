// Generations: as long as one lasts, no commit that a reader may have seen is missing from the feed. docs/change-feed.md has the table of
// what begins a new one.

import type { Session } from "./session.ts";
import type { Continuity, SourceKind } from "./source.ts";
import { type FeedRow, enterFeedSchema, readFeedRow } from "./kit-tables.ts";

/** What the elected process found when it began. */
export interface Generation {
  readonly number: number;
  readonly channel: string;
  /** Why it is a new one; undefined when the one of before goes on. */
  readonly reason: string | undefined;
}

/**
 * Keeps the generation, or starts the next one: when the source lost its place or is another one, and after a crash (the unlogged table
 * is empty then, and commits that readers saw may be gone).
 */
export async function enterGeneration(session: Session, source: SourceKind, continuity: Continuity): Promise<Generation> {
  return await session.transaction(async (tx) => {
    await enterFeedSchema(tx);
    const row = (await readFeedRow(tx)) as FeedRow;
    const [kept] = await tx.query<{ kept: boolean }>(
      "select exists (select from millrace.continuity where generation = $1) as kept",
      [row.generation],
    );
    const reason = reasonToRestart(row, source, continuity, kept!.kept);
    if (reason === undefined) return { number: row.generation, channel: row.channel, reason };
    // Seconds since 1970, so that a database restored from an older copy does not count again what a shared store holds of another history.
    const [now] = await tx.query<{ seconds: number }>("select extract(epoch from clock_timestamp())::int as seconds");
    const number = Math.max(row.generation + 1, now!.seconds);
    await tx.query("update millrace.feed set generation = $1, source = $2, reason = $3, started = clock_timestamp()", [
      number,
      source,
      reason,
    ]);
    // Another source has nothing in place for the tables that were followed: processes ask for them again.
    if (row.source !== source) await tx.query("delete from millrace.followed");
    await tx.query("delete from millrace.continuity");
    await tx.query("delete from millrace.history");
    await tx.query("insert into millrace.continuity (generation) values ($1)", [number]);
    return { number, channel: row.channel, reason };
  });
}

function reasonToRestart(row: FeedRow, source: SourceKind, continuity: Continuity, uncrashed: boolean): string | undefined {
  if (row.generation === 0) return "the feed has begun in this database";
  if (row.source !== source) return `the source was ${row.source} and is ${source} now`;
  if (!uncrashed) return "the server had crashed, or is a copy: commits that were seen may be gone";
  return continuity.kept ? undefined : continuity.reason;
}
