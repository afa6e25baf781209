// The database of a command about the feed, with the options that say which source of changes is meant.

import { type Command, Option } from "commander";
import { startEmbeddedPostgres } from "../database/index.ts";
import type { FreshnessAdminOptions } from "../freshness/index.ts";
import { type TargetOptions, targetOf, withTarget } from "./database-target.ts";

export interface FreshnessCommandOptions extends TargetOptions {
  readonly source?: "logical" | "triggers";
  readonly slot?: string;
  readonly json?: true;
}

/** Adds the options to a command. */
export function withFreshnessTarget(command: Command): Command {
  return withTarget(command)
    .addOption(new Option("--source <source>", "the source of changes (default: the one in use)").choices(["logical", "triggers"]))
    .option("--slot <name>", "replication slot, where the application names its own")
    .option("--json", "for programs: one line of JSON");
}

/** Runs `work` with a URL that reaches the database; the embedded server is started for it when it does not run. */
export async function withUrl<T>(options: TargetOptions, work: (url: string) => Promise<T>): Promise<T> {
  const target = targetOf(options);
  if (target.kind === "server") return await work(target.url);
  await using server = await startEmbeddedPostgres({ dataDir: target.dataDir, database: target.database });
  return await work(server.url);
}

/** What the functions of freshness take. */
export const adminOptions = (url: string, { source, slot }: FreshnessCommandOptions): FreshnessAdminOptions => ({
  url,
  ...(source === undefined ? {} : { source }),
  ...(slot === undefined ? {} : { slot }),
});

export const print = (text: string): void => void process.stdout.write(`${text}\n`);
