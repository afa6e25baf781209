// The schema `millrace`, where the kit keeps what is its own, and the advisory locks that keep several processes from making
// or changing it at once.

import { sql } from "./sql.ts";
import type { Transaction } from "./queryable.ts";

/** First key of the kit's advisory locks ("mill" in ASCII); the second says what for. Locks are per database. */
export const advisoryLockClass = 0x6d_69_6c_6c;

/** Second keys. */
export const advisoryLocks = { schema: 1, migrations: 2, feed: 3, following: 4 } as const;

/**
 * Lets `tx` alone make things in the schema until it ends, and creates the schema when it is missing. CREATE … IF NOT EXISTS is
 * not enough: two at once still collide in the catalogue.
 */
export async function enterKitSchema(tx: Pick<Transaction, "query">): Promise<void> {
  await tx.query(sql`select pg_advisory_xact_lock(${advisoryLockClass}::int, ${advisoryLocks.schema}::int)`);
  await tx.query(sql`create schema if not exists millrace`);
}
