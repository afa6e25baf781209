// Makes the tables and functions of the store, or brings them up to date: one process at a time, and without any privilege to create when
// there is nothing to do.

import { type Database, type Transaction, advisoryLockClass, advisoryLocks, sql } from "../../database/index.ts";
import { tasksErrors } from "../errors.ts";
import { functionStatements } from "./functions.ts";
import { schemaVersion, tableStatements } from "./tables.ts";

/** What is there, by looks that need no privilege on it; 0: nothing. */
async function versionThere(on: Pick<Transaction, "one">): Promise<number> {
  const { there } = await on.one(sql<{ there: boolean }>`select to_regclass('millrace.task_schema') is not null as there`);
  if (!there) return 0;
  const { version } = await on.one(
    sql<{ version: number }>`select coalesce((select version from millrace.task_schema), 0) as version`,
  );
  return version;
}

/** insufficient_privilege */
const isRefusal = (error: unknown): boolean => (error as { code?: unknown }).code === "42501";

/**
 * Idempotent. What a newer version of the kit has made is left as it is.
 * @throws MILLRACE_TASKS_SETUP_REFUSED
 */
export async function setUpTables(database: Database): Promise<void> {
  try {
    if ((await versionThere(database)) >= schemaVersion) return;
    await database.transaction(async (tx) => {
      await tx.query(sql`select pg_advisory_xact_lock(${advisoryLockClass}::int, ${advisoryLocks.schema}::int)`);
      const { present } = await tx.one(sql<{ present: boolean }>`select to_regnamespace('millrace') is not null as present`);
      if (!present) await tx.query(sql`create schema millrace`); // IF NOT EXISTS wants the privilege even when it exists
      if ((await versionThere(tx)) >= schemaVersion) return; // another process was first
      for (const statement of [...tableStatements, ...functionStatements]) await tx.client.query(statement);
      await tx.query(sql`
        insert into millrace.task_schema (version) values (${schemaVersion}::int)
        on conflict (only_row) do update set version = excluded.version`);
    });
  } catch (error) {
    if (!isRefusal(error)) throw error;
    throw tasksErrors.create("MILLRACE_TASKS_SETUP_REFUSED", { reason: (error as Error).message }, error);
  }
}
