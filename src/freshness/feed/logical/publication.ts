// The publication: the tables whose changes the slot decodes. Tables come one by one, when they are first used: PostgreSQL refuses
// UPDATE and DELETE on a published table without a replica identity, so each one gets what it needs in the transaction that adds it.

import type { TableName } from "../../feed.ts";
import { followedRelation } from "../kit-tables.ts";
import { quoteIdentifier, quoteTable } from "../quote.ts";
import type { Session } from "../session.ts";
import { hasMadeTable, madeTable, noteIdentity } from "./made.ts";

/** What makes the publication, in order; nothing when it exists. */
export async function publicationSql(session: Session, publication: string): Promise<string[]> {
  const [row] = await session.query<{ publication: boolean; followed: boolean }>(
    `select exists (select from pg_catalog.pg_publication where pubname = $1) as publication,
       exists (select from pg_catalog.pg_publication_rel r join pg_catalog.pg_publication p on p.oid = r.prpubid
                where p.pubname = $1 and r.prrelid = to_regclass($2)) as followed`,
    [publication, `${followedRelation.schema}.${followedRelation.name}`],
  );
  const followed = quoteTable(followedRelation);
  if (!row!.publication) return [`create publication ${quoteIdentifier(publication)} for table ${followed}`];
  return row!.followed ? [] : [`alter publication ${quoteIdentifier(publication)} add table ${followed}`];
}

/** What is missing of it, in one sentence with the next step. */
export async function missingPublication(session: Session, publication: string): Promise<string | undefined> {
  const statements = await publicationSql(session, publication);
  if (!(await hasMadeTable(session))) statements.push(madeTable);
  return statements.length === 0 ? undefined : `the publication ${publication} is incomplete. Run \`millrace freshness setup\`.`;
}

interface Leaf {
  readonly oid: string;
  readonly schema: string;
  readonly name: string;
  /** d: primary key, n: nothing, f: full, i: index */
  readonly identity: "d" | "n" | "f" | "i";
  readonly identityColumns: readonly string[] | null;
  readonly mine: boolean;
}

/** The tables that hold the rows of a table: itself, or its partitions, with their replica identities. */
const leavesQuery = `
select c.oid::text as oid, n.nspname as schema, c.relname as name, c.relreplident as identity,
  pg_has_role(current_user, c.relowner, 'usage') as mine,
  (select array_agg(a.attname::text) from pg_catalog.pg_index i join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
    where i.indrelid = c.oid and case c.relreplident when 'd' then i.indisprimary and i.indimmediate when 'i' then i.indisreplident else false end) as "identityColumns"
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and c.oid in (select $1::oid union select relid from pg_partition_tree($1::oid::regclass))`;

/**
 * Publishes `table`, so that later commits carry its changes, and old values of `columns` where that can be had.
 * @returns why it cannot be published, or undefined
 */
export async function followPublished(
  tx: Session,
  table: TableName,
  columns: readonly string[],
  publication: string,
  mayChangeIdentity: boolean,
): Promise<string | undefined> {
  const [facts] = await tx.query<{ partitioned: boolean; primaryKey: boolean; mine: boolean; owner: string; published: boolean }>(
    `select c.relkind = 'p' as partitioned, pg_has_role(current_user, c.relowner, 'usage') as mine,
       pg_get_userbyid(c.relowner)::text as owner,
       exists (select from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisprimary and i.indimmediate) as "primaryKey",
       exists (select from pg_catalog.pg_publication_rel r join pg_catalog.pg_publication p on p.oid = r.prpubid
                where p.pubname = $2 and r.prrelid = c.oid) as published
       from pg_catalog.pg_class c where c.oid = $1`,
    [table.oid, publication],
  );
  const shown = `${table.schema}.${table.name}`;
  if (facts === undefined) return `${shown} does not exist any more.`;
  if (!facts.published && !facts.mine) {
    return `${shown} belongs to ${facts.owner}, and only its owner may publish it. Run GRANT ${quoteIdentifier(facts.owner)} TO the role of the feed's URL.`;
  }
  if (facts.partitioned && !facts.primaryKey) {
    return `${shown} is partitioned and has no primary key, so its future partitions would refuse UPDATE and DELETE. Give it one.`;
  }
  const leaves = await tx.query<Leaf>(leavesQuery, [table.oid]);
  for (const leaf of leaves) {
    const known = leaf.identity === "f" ? undefined : (leaf.identityColumns ?? []);
    if (known === undefined) continue;
    const mustChange = known.length === 0;
    if (!mustChange && columns.every((column) => known.includes(column))) continue;
    if (mayChangeIdentity && leaf.mine) {
      await noteIdentity(tx, leaf);
      await tx.query(`alter table only ${quoteTable(leaf)} replica identity full`);
    } else if (mustChange) {
      return (
        `${leaf.schema}.${leaf.name} has no primary key and no replica identity, so it would refuse UPDATE and DELETE once it is published. ` +
        `Run ALTER TABLE ${quoteTable(leaf)} REPLICA IDENTITY FULL.`
      );
    }
  }
  if (!facts.published) {
    // Children by inheritance are tables of their own here; a partitioned table stands for its partitions.
    const only = facts.partitioned ? "" : "only ";
    await tx.query(`alter publication ${quoteIdentifier(publication)} add table ${only}${quoteTable(table)}`);
  }
  return undefined;
}
