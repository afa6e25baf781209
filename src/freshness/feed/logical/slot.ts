// The replication slot: what must be true of the server, the role and the slot before the feed relies on it, and its making. A slot
// keeps log on the server's disk for as long as nobody reads it, so none is made where that has no bound.

import type { Session } from "../session.ts";
import { sourceUnusable } from "../source.ts";

export interface SlotOptions {
  readonly slot: string;
  readonly publication: string;
  /** Make the slot although max_slot_wal_keep_size is -1: the disk fills when all processes are gone for long. */
  readonly allowUnboundedSlot: boolean;
}

/** What the server says of itself and of our slot. */
export interface SlotFacts {
  readonly walLevel: string;
  /** In bytes; -1 without a bound. */
  readonly keepBytes: number;
  readonly mayReplicate: boolean;
  readonly inRecovery: boolean;
  readonly slot:
    | {
        readonly plugin: string | null;
        readonly database: string | null;
        readonly mine: boolean;
        readonly active: boolean;
        readonly walStatus: string | null;
        readonly confirmed: string | null;
        readonly keptBytes: string | null;
        readonly temporary: boolean;
      }
    | undefined;
}

/** The oldest release whose pgoutput sends messages of pg_logical_emit_message(). */
export const oldestServer = 140_000;

export async function readSlotFacts(session: Session, slot: string): Promise<SlotFacts> {
  const [row] = await session.query<{
    wal_level: string;
    keep: string;
    may: boolean;
    recovery: boolean;
    slot: SlotFacts["slot"] | null;
  }>(
    `select current_setting('wal_level') as wal_level,
       (select setting from pg_catalog.pg_settings where name = 'max_slot_wal_keep_size') as keep,
       (select rolsuper or rolreplication from pg_catalog.pg_roles where rolname = current_user)
         or coalesce((select pg_has_role(current_user, oid, 'member') from pg_catalog.pg_roles where rolname = 'rds_replication'), false)
         as may,
       pg_is_in_recovery() as recovery,
       (select json_build_object('plugin', plugin, 'database', database, 'mine', database is not distinct from current_database(),
          'active', active, 'walStatus', wal_status, 'confirmed', confirmed_flush_lsn::text, 'temporary', temporary, 'keptBytes',
          case when pg_is_in_recovery() then null else pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::text end)
          from pg_catalog.pg_replication_slots where slot_name = $1) as slot`,
    [slot],
  );
  const { wal_level: walLevel, keep, may, recovery, slot: found } = row!;
  return {
    walLevel,
    keepBytes: keep === "-1" ? -1 : Number(keep) * 1024 * 1024,
    mayReplicate: may,
    inRecovery: recovery,
    slot: found ?? undefined,
  };
}

/** Why the feed cannot read by logical decoding, each with the next step. Empty: it can, the slot may still have to be made. */
export function slotProblems(facts: SlotFacts, serverVersion: number, options: SlotOptions): string[] {
  const problems: string[] = [];
  const { slot } = facts;
  if (serverVersion < oldestServer) {
    problems.push(
      "the server is older than PostgreSQL 14, whose pgoutput sends no messages. Upgrade it, or use the feed by triggers.",
    );
  }
  if (facts.inRecovery) {
    problems.push("the server is a standby. Give the feed the URL of the primary.");
  }
  if (facts.walLevel !== "logical") {
    problems.push(
      `wal_level is ${facts.walLevel}. Set wal_level = logical and restart the server, or use the feed by triggers (source: "triggers").`,
    );
  }
  if (!facts.mayReplicate) {
    problems.push("the role may not use replication. Run ALTER ROLE … REPLICATION, or use the feed by triggers.");
  }
  if (facts.keepBytes === -1 && !options.allowUnboundedSlot) {
    problems.push(
      "max_slot_wal_keep_size is -1, so a forgotten slot would fill the server's disk. Set it (ALTER SYSTEM SET max_slot_wal_keep_size = '10GB'; SELECT pg_reload_conf()), or use the option allowUnboundedSlot.",
    );
  }
  if (slot !== undefined && (slot.plugin !== "pgoutput" || !slot.mine)) {
    problems.push(
      `the slot ${options.slot} belongs to ${slot.plugin === "pgoutput" ? `database ${slot.database}` : `the plugin ${slot.plugin ?? "of physical replication"}`}. Give the feed another name by the option slot.`,
    );
  }
  return problems;
}

/** Whether the server has thrown away log that the slot needed. It never recovers. */
const isLost = (facts: SlotFacts): boolean =>
  facts.slot !== undefined && (facts.slot.walStatus === "lost" || facts.slot.confirmed === null);

/**
 * Sees to it that the slot exists and can be read.
 * @returns undefined when it was there already, or why a new one had to be made
 * @throws MILLRACE_FEED_SOURCE_UNUSABLE
 */
export async function ensureSlot(session: Session, options: SlotOptions): Promise<string | undefined> {
  let facts = await readSlotFacts(session, options.slot);
  const [problem] = slotProblems(facts, session.serverVersion, options);
  if (problem !== undefined) throw sourceUnusable("logical", problem);
  let reason = `the slot ${options.slot} did not exist`;
  if (isLost(facts)) {
    reason = `the server had given up the slot ${options.slot}, because more log than max_slot_wal_keep_size was unread`;
    await session.query("select pg_drop_replication_slot($1)", [options.slot]);
    facts = { ...facts, slot: undefined };
  }
  if (facts.slot !== undefined) return undefined;
  try {
    await session.query("select pg_create_logical_replication_slot($1, 'pgoutput')", [options.slot]);
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    if (code === "42710") return reason; // another process has just made it
    if (code === "53400") {
      throw sourceUnusable("logical", `there is no room for another slot (${message}). Raise max_replication_slots.`, error);
    }
    throw error;
  }
  return reason;
}
