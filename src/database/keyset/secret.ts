// The secret that signs cursors when none is given: made once, kept in the database, shared by every process that uses it.

import { randomBytes } from "node:crypto";
import { databaseErrors } from "../errors.ts";
import { enterKitSchema } from "../kit-schema.ts";
import type { Queryable, Transaction } from "../queryable.ts";
import { sql } from "../sql.ts";

const secretName = "keyset cursors";

/** As long as the output of the hash that it keys (RFC 2104, 3). */
const secretBytes = 32;

/** Insufficient privilege; a read-only transaction or standby. */
const mayNotCreate: ReadonlySet<unknown> = new Set(["42501", "25006"]);

/**
 * The secret kept in table `millrace.secret`, made by the first process that asks.
 * @throws MILLRACE_CURSOR_SECRET_UNAVAILABLE when the role may not read or create it
 */
export async function ensureCursorSecret(queryable: Queryable): Promise<Buffer> {
  try {
    return await queryable.transaction(async (tx) => (await readSecret(tx)) ?? (await makeSecret(tx)));
  } catch (error) {
    if (!mayNotCreate.has((error as { readonly code?: unknown }).code)) throw error;
    throw databaseErrors.create("MILLRACE_CURSOR_SECRET_UNAVAILABLE", { reason: (error as Error).message }, error);
  }
}

async function readSecret(tx: Transaction): Promise<Buffer | undefined> {
  // Asked first: selecting from a missing table would abort the transaction.
  const { exists } = await tx.one<{ exists: boolean }>(sql`select to_regclass('millrace.secret') is not null as "exists"`);
  if (!exists) return undefined;
  return (await tx.maybeOne<{ value: Buffer }>(sql`select value from millrace.secret where name = ${secretName}`))?.value;
}

async function makeSecret(tx: Transaction): Promise<Buffer> {
  await enterKitSchema(tx);
  await tx.query(sql`
    create table if not exists millrace.secret (
      name text primary key,
      value bytea not null,
      created_at timestamptz not null default now()
    )`);
  // Whatever the schema's default privileges say: a secret is for its owner and for whom the owner grants it.
  await tx.query(sql`revoke all on millrace.secret from public`);
  await tx.query(
    sql`insert into millrace.secret (name, value) values (${secretName}, ${randomBytes(secretBytes)}) on conflict do nothing`,
  );
  return (await tx.one<{ value: Buffer }>(sql`select value from millrace.secret where name = ${secretName}`)).value;
}
