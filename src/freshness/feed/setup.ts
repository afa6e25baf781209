// What the feed needs in the database, made in one transaction by whichever process comes first. `millrace freshness setup` does the
// same with another role.

import { randomBytes } from "node:crypto";
import { freshnessErrors } from "../errors.ts";
import { createKitTables, enterFeedSchema, hasKitTables, readFeedRow } from "./kit-tables.ts";
import type { Session } from "./session.ts";
import type { Source } from "./source.ts";

/** Makes what is missing. Safe when several processes do it at once, and cheap when nothing is missing. */
export async function installFeed(session: Session, source: Source): Promise<void> {
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

/** @throws MILLRACE_FEED_NOT_SET_UP */
export async function checkFeed(session: Session): Promise<void> {
  if ((await hasKitTables(session)) && (await readFeedRow(session)) !== undefined) return;
  throw freshnessErrors.create("MILLRACE_FEED_NOT_SET_UP", { missing: "the tables in the schema millrace are not all there." });
}

/** Removes what installFeed() made, and what the source made since. No process may use the feed meanwhile. */
export async function removeFeed(session: Session, source: Source): Promise<void> {
  await source.teardown(session);
  for (const table of ["followed", "feed", "continuity", "history"]) await session.query(`drop table if exists millrace.${table}`);
}
