// The tables that every feed keeps in the kit's schema, whatever its source: what is followed, and which generation it is.

import { advisoryLockClass, advisoryLocks } from "../../database/index.ts";
import type { Session } from "./session.ts";
import type { Followed, SourceKind } from "./source.ts";

/** Which tables and columns are followed, by whichever process asked first. Sources read it in the order of the log. */
export const followedRelation = { schema: "millrace", name: "followed" } as const;

/**
 * - followed: `column_name` is empty in the table's own row, because a key has no NULLs.
 * - feed: one row. `channel` cannot be guessed, so that only who may read this table can speak on the bus.
 * - continuity: one row while nothing was lost. It is unlogged: PostgreSQL empties it after a crash and on a server restored or promoted
 *   from a copy, which is exactly when commits that readers have seen may be gone.
 * - history: what processes that join ask for.
 */
const tables = `
create table if not exists millrace.followed (
  table_oid oid not null,
  column_name text not null default '',
  schema_name text not null,
  table_name text not null,
  since timestamptz not null default clock_timestamp(),
  primary key (table_oid, column_name)
);
create table if not exists millrace.feed (
  only_row boolean primary key default true check (only_row),
  source text not null,
  generation integer not null,
  channel text not null,
  started timestamptz not null default clock_timestamp(),
  reason text not null
);
create unlogged table if not exists millrace.continuity (
  generation integer primary key
);
create unlogged table if not exists millrace.history (
  generation integer primary key,
  upto bigint not null,
  dump bytea not null
);`;

/** Which of the tables exist, in one look-up. */
const presence = `select to_regclass('millrace.followed') is not null and to_regclass('millrace.feed') is not null
  and to_regclass('millrace.continuity') is not null and to_regclass('millrace.history') is not null as present`;

export async function hasKitTables(session: Session): Promise<boolean> {
  const [row] = await session.query<{ present: boolean }>(presence);
  return row!.present;
}

/** Lets `tx` alone make things in the kit's schema until it ends; creates the schema when it is missing, as enterKitSchema() does. */
export async function enterFeedSchema(tx: Session): Promise<void> {
  await tx.query("select pg_advisory_xact_lock($1::int, $2::int)", [advisoryLockClass, advisoryLocks.schema]);
  const [row] = await tx.query<{ present: boolean }>("select to_regnamespace('millrace') is not null as present");
  if (!row!.present) await tx.query("create schema millrace"); // IF NOT EXISTS wants the privilege even when it exists
}

export async function createKitTables(tx: Session): Promise<void> {
  if (!(await hasKitTables(tx))) for (const statement of tables.split(";\n")) await tx.query(statement);
}

export interface FeedRow {
  readonly source: SourceKind;
  readonly generation: number;
  readonly channel: string;
}

export async function readFeedRow(session: Session): Promise<FeedRow | undefined> {
  const [row] = await session.query<FeedRow>("select source, generation, channel from millrace.feed");
  return row;
}

/** What is followed and still exists under the name it was followed by. */
export interface FollowedRow {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** Undefined in the table's own row. */
  readonly column: string | undefined;
}

export async function readFollowed(session: Session): Promise<FollowedRow[]> {
  const rows = await session.query<{ oid: string; schema: string; name: string; column: string }>(
    `select f.table_oid::text as oid, f.schema_name as schema, f.table_name as name, f.column_name as "column"
       from millrace.followed f
       join pg_catalog.pg_class c on c.oid = f.table_oid and c.relname = f.table_name
       join pg_catalog.pg_namespace n on n.oid = c.relnamespace and n.nspname = f.schema_name
      order by f.table_oid, f.column_name`,
  );
  return rows.map((row) => ({ ...row, oid: Number(row.oid), column: row.column === "" ? undefined : row.column }));
}

export const followedOf = (row: FollowedRow, number: number): Followed => ({
  table: `${row.schema}.${row.name}`,
  column: row.column,
  number,
});

/** Forgets tables that were dropped. Those that were renamed are told to the log anew when they are asked for. */
export const forgetDropped = (session: Session): Promise<unknown> =>
  session.query("delete from millrace.followed f where not exists (select from pg_catalog.pg_class c where c.oid = f.table_oid)");
