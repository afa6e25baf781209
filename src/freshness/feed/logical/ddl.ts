// Changes of the schema, told to the log: by event triggers where the role may make them (superusers, and what managed services give
// instead), otherwise by the elected process, which looks at the catalogue.

import type { Session } from "../session.ts";
import { messagePrefixes } from "./changes.ts";

const functionName = "millrace.tell_ddl";
const eventTriggers = { millrace_tell_ddl: "ddl_command_end", millrace_tell_drop: "sql_drop" } as const;

/**
 * Says nothing of temporary tables, of what changes no answer, and of what the kit itself does. SECURITY DEFINER, so that it works for
 * every role whatever its rights on the schema are.
 */
const tellFunction = `
create or replace function ${functionName}() returns event_trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $tell$
begin
  if current_setting('millrace.quiet', true) = 'on' then return; end if;
  if TG_EVENT = 'ddl_command_end' then
    if not exists (
      select from pg_event_trigger_ddl_commands() c
       where c.schema_name is distinct from 'pg_temp' and c.command_tag not in ('COMMENT', 'REFRESH MATERIALIZED VIEW')
    ) then return; end if;
  elsif not exists (select from pg_event_trigger_dropped_objects() d where not d.is_temporary) then return;
  end if;
  perform pg_logical_emit_message(true, '${messagePrefixes.ddl}', '');
end
$tell$`;

/** Makes the event triggers; false where the role may not. Runs in a transaction, which survives. */
export async function installDdlTriggers(tx: Session): Promise<boolean> {
  if (await hasDdlTriggers(tx)) return true;
  await tx.query("savepoint millrace_ddl");
  try {
    await tx.query(tellFunction);
    await tx.query(`revoke all on function ${functionName}() from public`);
    for (const [name, event] of Object.entries(eventTriggers)) {
      await tx.query(`drop event trigger if exists ${name}`);
      await tx.query(`create event trigger ${name} on ${event} execute function ${functionName}()`);
      await tx.query(`alter event trigger ${name} enable always`);
    }
    await tx.query("release savepoint millrace_ddl");
    return true;
  } catch (error) {
    if ((error as { code?: string }).code !== "42501") throw error; // insufficient_privilege
    await tx.query("rollback to savepoint millrace_ddl");
    return false;
  }
}

export async function hasDdlTriggers(session: Session): Promise<boolean> {
  const names = Object.keys(eventTriggers);
  const [row] = await session.query<{ count: number }>(
    "select count(*)::int as count from pg_catalog.pg_event_trigger where evtname = any ($1) and evtenabled in ('O', 'A')",
    [names],
  );
  return row!.count === names.length;
}

export async function removeDdlTriggers(session: Session): Promise<void> {
  const [row] = await session.query<{ names: string[] | null }>(
    "select array_agg(evtname::text) as names from pg_catalog.pg_event_trigger where evtname = any ($1)",
    [Object.keys(eventTriggers)],
  );
  for (const name of row!.names ?? []) await session.query(`drop event trigger ${name}`);
  await session.query(`drop function if exists ${functionName}()`);
}

/**
 * Changes with every change of the schema that may change an answer: the transactions that wrote the catalogue's rows. VACUUM and
 * ANALYZE write in place, and temporary tables are left out. Only rows of the database's own objects are read, by index.
 */
const fingerprintQuery = `
with own as (select oid, xmin from pg_catalog.pg_class where oid >= 16384 and relpersistence <> 't')
select md5(concat_ws('/',
  (select sum(xmin::text::bigint) || ',' || count(*) from own),
  (select sum(a.xmin::text::bigint) || ',' || count(*) from pg_catalog.pg_attribute a join own on own.oid = a.attrelid),
  (select sum(xmin::text::bigint) || ',' || count(*) from pg_catalog.pg_proc where oid >= 16384),
  (select sum(xmin::text::bigint) || ',' || count(*) from pg_catalog.pg_type where oid >= 16384 and typtype not in ('c', 'b')),
  (select sum(xmin::text::bigint) || ',' || count(*) from pg_catalog.pg_constraint where oid >= 16384),
  (select sum(xmin::text::bigint) || ',' || count(*) from pg_catalog.pg_rewrite where oid >= 16384),
  (select sum(xmin::text::bigint) || ',' || count(*) from pg_catalog.pg_trigger where oid >= 16384),
  (select sum(xmin::text::bigint) || ',' || count(*) from pg_catalog.pg_policy),
  (select sum(xmin::text::bigint) || ',' || count(*) from pg_catalog.pg_inherits i join own on own.oid = i.inhrelid),
  (select sum(xmin::text::bigint) || ',' || count(*) from pg_catalog.pg_namespace where nspname !~ '^pg_(toast_)?temp_'))) as fingerprint`;

/** As the event triggers do it. */
export const tellDdl = (session: Session): Promise<unknown> =>
  session.query("select pg_logical_emit_message(true, $1::text, ''::text)", [messagePrefixes.ddl]);

/** For the elected process where there are no event triggers: tells the log when the catalogue is not as it was at the last look. */
export class CatalogueWatch {
  readonly #tell: (session: Session) => Promise<unknown>;
  #seen: string | undefined;

  /** @param tell writes into the source's log that anything may be different */
  constructor(tell: (session: Session) => Promise<unknown>) {
    this.#tell = tell;
  }

  /** Looks once. The first look tells too: what happened while nobody looked is unknown. */
  async look(session: Session): Promise<void> {
    const [row] = await session.query<{ fingerprint: string }>(fingerprintQuery);
    if (row!.fingerprint === this.#seen) return;
    await this.#tell(session);
    this.#seen = row!.fingerprint;
  }
}
