// What `millrace freshness status` says about the log table and its triggers.

import type { Session } from "../session.ts";
import type { SourceStatus } from "../source.ts";
import { unwatchedQuery } from "./schema.ts";

interface Facts {
  readonly standby: boolean;
  readonly installed: boolean;
  readonly ddl: boolean;
  readonly disabled: boolean;
}

const factsQuery = `
  select pg_is_in_recovery() as standby,
    to_regclass('millrace.changes') is not null and to_regclass('millrace.relay') is not null
      and to_regclass('millrace.watched') is not null and to_regprocedure('millrace.watch(oid, text[])') is not null as installed,
    (select count(*) = 2 from pg_event_trigger where evtname in ('millrace_log_ddl', 'millrace_log_drop') and evtenabled = 'A') as ddl,
    exists (select from pg_event_trigger where evtname in ('millrace_log_ddl', 'millrace_log_drop') and evtenabled <> 'A') as disabled`;

/** Counting stops here, so that the question costs the same however long the log has become. */
const countedRows = 100_000;

const logQuery = `
  select (select count(*) from (select from millrace.changes limit ${countedRows}) c)::text as rows,
    pg_size_pretty(pg_total_relation_size('millrace.changes')) as size,
    (select coalesce(round(extract(epoch from clock_timestamp() - saved))::text, '') from millrace.relay) as "savedAgo",
    (select position::text from millrace.relay) as position,
    (select count(*)::text from millrace.watched w where exists (select from pg_class c where c.oid = w.relation)) as watched`;

interface Log {
  readonly rows: string;
  readonly size: string;
  readonly savedAgo: string | null;
  readonly position: string | null;
  readonly watched: string;
}

export async function statusOfTriggers(session: Session): Promise<SourceStatus> {
  const [facts] = await session.query<Facts>(factsQuery);
  const { standby, installed, ddl, disabled } = facts!;
  const problems: string[] = [];
  if (standby) problems.push("This server is a standby; name the primary.");
  if (!installed) {
    problems.push("The log table is not installed: run `millrace freshness setup --source triggers`.");
    return { kind: "triggers", problems, missing: problems, facts: [{ name: "log table", value: "missing" }] };
  }
  const missing = [...problems];
  if (disabled) {
    problems.push(
      "The event triggers for DDL are disabled: `alter event trigger millrace_log_ddl enable always`, and millrace_log_drop.",
    );
  }
  const [log] = await session.query<Log>(logQuery);
  const { rows, size, savedAgo, position, watched } = log!;
  const unwatched = await session.query<{ name: string }>(
    `select m.relation::oid::regclass::text as name from (${unwatchedQuery}) m`,
  );
  if (unwatched.length > 0) {
    const names = unwatched.map(({ name }) => name).join(", ");
    problems.push(
      `Triggers are missing or disabled on ${names}: the elected process makes them anew within a second if its role owns the table.`,
    );
  }
  if (Number(rows) >= countedRows) {
    problems.push(
      "The log table grows because no process reads it: start one with the feed, or run `millrace freshness teardown`.",
    );
  }
  return {
    kind: "triggers",
    problems,
    missing,
    facts: [
      {
        name: "log table",
        value: `millrace.changes, ${Number(rows) >= countedRows ? `${rows} rows or more` : `${rows} rows`}, ${size}`,
      },
      { name: "triggers", value: `on ${watched} tables${unwatched.length > 0 ? `, missing on ${unwatched.length}` : ""}` },
      { name: "ddl", value: ddl ? "noticed at once (event triggers)" : "noticed by polling" },
      { name: "read up to", value: position === null ? "never read" : `${position}, saved ${savedAgo} s ago` },
    ],
  };
}
