// What the feed needs in the database, made in one transaction by whichever process comes first. `millrace freshness setup` does the
// same with another role.

import { randomBytes } from "node:crypto";
import { freshnessErrors } from "../errors.ts";
import { createKitTables, enterFeedSchema, hasKitTables, readFeedRow } from "./kit-tables.ts";
import type { Session } from "./session.ts";
import type { Source } from "./source.ts";

/**
 * Makes what is missing. Safe when several processes do it at once, and cheap when nothing is missing.
 * @throws MILLRACE_FEED_NOT_SET_UP when the role may not
 */
export async function installFeed(session: Session, source: Source): Promise<void> {
  try {
    await install(session, source);
  } catch (error) {
    const { code, message } = error as { readonly code?: string; readonly message: string };
    if (code !== "42501") throw error; // insufficient_privilege
    throw freshnessErrors.create(
      "MILLRACE_FEED_NOT_SET_UP",
      { missing: `its role may not make what is missing (${message}).` },
      error,
    );
  }
}

async function install(session: Session, source: Source): Promise<void> {
  await session.transaction(async (tx) => {
    await tx.query("select set_config('millrace.quiet', 'on', true)"); // what the kit makes is not the user's DDL
    await enterFeedSchema(tx);
    await createKitTables(tx);
    await source.install(tx);
    if ((await readFeedRow(tx)) !== undefined) return;
    await tx.query("insert into millrace.feed (source, generation, channel, reason) values ($1, 0, $2, 'set up')", [
      source.kind,
      `millrace_${randomBytes(8).toString("hex")}`,
    ]);
  });
}

/**
 * Makes nothing.
 * @throws MILLRACE_FEED_NOT_SET_UP with everything that is missing
 */
export async function checkFeed(session: Session, source: Source): Promise<void> {
  const missing: string[] = [];
  if (!(await hasKitTables(session)) || (await readFeedRow(session)) === undefined) {
    missing.push("the tables in the schema millrace are not all there.");
  }
  missing.push(...(await source.status(session)).missing);
  if (missing.length > 0) throw freshnessErrors.create("MILLRACE_FEED_NOT_SET_UP", { missing: missing.join(" ") });
}

/** Removes what installFeed() made, and what the source made since. No process may use the feed meanwhile. */
export async function removeFeed(session: Session, source: Source): Promise<void> {
  await source.teardown(session);
  for (const table of ["followed", "feed", "continuity", "history"]) await session.query(`drop table if exists millrace.${table}`);
}
