// Putting tables under watch, and finding those that a write could escape from. See millrace.watch() in schema.ts.

import { freshnessErrors } from "../../errors.ts";
import type { TableName } from "../../feed.ts";
import { quoteIdentifier } from "../quote.ts";
import type { Session } from "../session.ts";
import { changeKinds, membersQuery, unwatchedQuery } from "./schema.ts";

/** A lock for a trigger waits for the table's writers, and writers wait for it: rather try again later than hold them up for long. */
const lockTimeoutMs = 1_000;

interface Member {
  readonly relation: string;
  readonly name: string;
  readonly kind: string;
  readonly persistence: string;
  readonly system: boolean;
  readonly owned: boolean;
  readonly owner: string;
  readonly subscribed: boolean;
}

const memberFactsQuery = `
  select c.oid::text as relation, format('%I.%I', n.nspname, c.relname) as name, c.relkind as kind, c.relpersistence as persistence,
    n.nspname in ('pg_catalog', 'information_schema') or n.nspname like 'pg\\_toast%' or n.nspname = 'millrace' as system,
    pg_has_role(current_user, c.relowner, 'USAGE') as owned, pg_get_userbyid(c.relowner)::text as owner,
    exists (select from pg_subscription_rel s where s.srrelid = c.oid) as subscribed
  from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = any ($1::oid[]) order by c.oid`;

/** One sentence with the next step, when triggers cannot be had on this table. */
function refusal(member: Member): string | undefined {
  const { name } = member;
  if (member.system) return `${name} belongs to the system and cannot have triggers.`;
  if (member.persistence === "t") return `${name} is a temporary table.`;
  if (member.kind === "f")
    return `${name} is a foreign table, whose changes this server does not see; name its dependencies by hand.`;
  if (member.kind !== "r" && member.kind !== "p") return `${name} is not a table.`;
  if (member.subscribed) {
    return `${name} is written by logical replication, which fires no statement triggers; use the logical source, or name its dependencies by hand.`;
  }
  if (!member.owned) {
    return `${name} belongs to ${member.owner}, and only its owner may put triggers on it. Run GRANT ${quoteIdentifier(member.owner)} TO the role of the feed's URL.`;
  }
  return undefined;
}

/** Inside of a transaction: triggers on the table and on everything that a write to its rows may name. Returns why not. */
export async function watchTable(tx: Session, table: TableName, columns: readonly string[]): Promise<string | undefined> {
  const members = await tx.query<{ relation: string }>(membersQuery, [String(table.oid)]);
  const oids = members.map(({ relation }) => relation);
  const facts = await tx.query<Member>(memberFactsQuery, [oids]);
  if (facts.length === 0) return `There is no table ${table.schema}.${table.name} any more.`;
  for (const member of facts) {
    const reason = refusal(member);
    if (reason !== undefined) return reason;
  }
  for (const { relation } of facts) await tx.query("select millrace.watch($1::oid, $2::text[])", [relation, columns]);
  await tx.query("insert into millrace.changes (kind, relation, touched) values ($1, $2::oid, $3::json)", [
    changeKinds.followed,
    String(table.oid),
    JSON.stringify(Object.fromEntries(columns.map((column) => [column, []]))),
  ]);
  return undefined;
}

/**
 * Puts triggers back where they are missing: new partitions, tables whose triggers were disabled or dropped. What was written there
 * meanwhile counts as everything. Resolves with whether there was something to do.
 * @throws MILLRACE_FEED_SOURCE_UNUSABLE when it cannot be done: until then writes could be missed, so nothing may be served.
 */
export async function watchAgain(session: Session): Promise<boolean> {
  const missing = await session.query<{ relation: string; columns: readonly string[] | null }>(unwatchedQuery);
  if (missing.length === 0) return false;
  const facts = await session.query<Member>(memberFactsQuery, [missing.map(({ relation }) => relation)]);
  const problem = facts.map(refusal).find((reason) => reason !== undefined);
  const unusable = (reason: string, cause?: unknown) =>
    freshnessErrors.create("MILLRACE_FEED_SOURCE_UNUSABLE", { source: "triggers", problem: reason }, cause);
  if (problem !== undefined) throw unusable(problem);
  try {
    await session.transaction(async (tx) => {
      await tx.query("select set_config('lock_timeout', $1, true)", [`${lockTimeoutMs}ms`]);
      for (const { relation, columns } of missing) {
        await tx.query("select millrace.watch($1::oid, $2::text[])", [relation, columns ?? []]);
      }
      await logDdl(tx);
    });
  } catch (error) {
    const names = facts.map(({ name }) => name).join(", ");
    const reason = error instanceof Error ? error.message : String(error);
    throw unusable(`triggers are missing on ${names} and could not be made (${reason}). It is tried again.`, error);
  }
  return true;
}

/** Writes what the event triggers write: anything may be different. */
export const logDdl = (session: Session): Promise<unknown> =>
  session.query("insert into millrace.changes (kind, relation) values ($1, 0)", [changeKinds.ddl]);

/** Whether the event triggers are there and fire. */
export async function hasDdlTriggers(session: Session): Promise<boolean> {
  const [row] = await session.query<{ present: boolean }>(
    `select count(*) = 2 as present from pg_event_trigger
     where evtname in ('millrace_log_ddl', 'millrace_log_drop') and evtenabled in ('O', 'A')`,
  );
  return row!.present;
}

/** Forgets tables that were dropped. */
export async function forgetDropped(session: Session): Promise<void> {
  const gone = await session.query<{ place: string }>(
    `delete from millrace.watched w where not exists (select from pg_class c where c.oid = w.relation)
     returning format('millrace.%I()', 'log_' || w.relation) as place`,
  );
  // The name is quoted by PostgreSQL, and comes from a number.
  for (const { place } of gone) await session.query(`drop function if exists ${place}`);
}
