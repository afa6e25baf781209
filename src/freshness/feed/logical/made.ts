// What the source by logical decoding has made or changed outside of the kit's schema, written down so that teardown finds it again
// whatever the options of then were: the slot, the publication, and the replica identity that a table had before.

import { quoteIdentifier, quoteTable } from "../quote.ts";
import type { Session } from "../session.ts";

/** `name` is the slot's, the publication's, or a table's oid; `earlier` is the table's identity as pg_class has it, then its index. */
export const madeTable = `
create table if not exists millrace.made (
  kind text not null check (kind in ('slot', 'publication', 'identity')),
  name text not null,
  earlier text,
  primary key (kind, name)
)`;

export async function hasMadeTable(session: Session): Promise<boolean> {
  const [row] = await session.query<{ present: boolean }>("select to_regclass('millrace.made') is not null as present");
  return row!.present;
}

export const noteMade = (session: Session, kind: "slot" | "publication", name: string): Promise<unknown> =>
  session.query("insert into millrace.made (kind, name) values ($1, $2) on conflict do nothing", [kind, name]);

/** Before a table's identity becomes FULL. What was noted first stays: that is how it was before the feed. */
export async function noteIdentity(tx: Session, table: { readonly oid: string }): Promise<void> {
  await tx.query(
    `insert into millrace.made (kind, name, earlier)
     select 'identity', c.oid::text, c.relreplident::text || coalesce(
       (select ' ' || i.indexrelid from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisreplident and c.relreplident = 'i'), '')
       from pg_catalog.pg_class c where c.oid = $1::oid
     on conflict do nothing`,
    [table.oid],
  );
}

/** Names that were noted. */
export async function namesMade(session: Session, kind: "slot" | "publication"): Promise<string[]> {
  if (!(await hasMadeTable(session))) return [];
  const rows = await session.query<{ name: string }>("select name from millrace.made where kind = $1 order by name", [kind]);
  return rows.map(({ name }) => name);
}

/** Gives tables the identity back that they had, unless somebody has changed it since. */
export async function restoreIdentities(session: Session): Promise<void> {
  if (!(await hasMadeTable(session))) return;
  const changed = await session.query<{ schema: string; name: string; earlier: string; index: string | null }>(
    `select n.nspname as schema, c.relname as name, left(m.earlier, 1) as earlier, i.relname as index
       from millrace.made m
       join pg_catalog.pg_class c on c.oid = m.name::oid and c.relreplident = 'f'
       join pg_catalog.pg_namespace n on n.oid = c.relnamespace
       left join pg_catalog.pg_class i on i.oid = nullif(split_part(m.earlier, ' ', 2), '')::oid
      where m.kind = 'identity' order by m.name`,
  );
  for (const { schema, name, earlier, index } of changed) {
    let identity = earlier === "n" ? "nothing" : "default";
    if (earlier === "i" && index !== null) identity = `using index ${quoteIdentifier(index)}`;
    await session.query(`alter table only ${quoteTable({ schema, name })} replica identity ${identity}`);
  }
}

const identityNames: Readonly<Record<string, string>> = { d: "primary key", n: "nothing", f: "full", i: "an index" };

/** The replica identity of every table that is published, for people. */
export async function describeIdentities(session: Session, publication: string): Promise<{ name: string; value: string }[]> {
  const noted = await hasMadeTable(session);
  const rows = await session.query<{ name: string; identity: string; earlier: string | null }>(
    `select format('%s.%s', n.nspname, c.relname) as name, c.relreplident::text as identity,
       ${noted ? "(select left(m.earlier, 1) from millrace.made m where m.kind = 'identity' and m.name = c.oid::text)" : "null"} as earlier
       from pg_catalog.pg_publication p
       join pg_catalog.pg_publication_rel r on r.prpubid = p.oid
       join pg_catalog.pg_class c on c.relkind = 'r' and (c.oid = r.prrelid or c.oid in (select t.relid from pg_partition_tree(r.prrelid) t))
       join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where p.pubname = $1 and n.nspname <> 'millrace' order by 1`,
    [publication],
  );
  return rows.map(({ name, identity, earlier }) => ({
    name: `replica identity of ${name}`,
    value: `${identityNames[identity] ?? identity}${
      earlier !== null && identity === "f" ? `, made by the feed (before: ${identityNames[earlier] ?? earlier})` : ""
    }`,
  }));
}
