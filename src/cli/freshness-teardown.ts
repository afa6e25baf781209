// `millrace freshness teardown`: removes from the database everything that the change feed has made.

import { Command } from "commander";
import { freshnessTeardown } from "../freshness/index.ts";
import { type FreshnessCommandOptions, adminOptions, print, withFreshnessTarget, withUrl } from "./freshness-target.ts";

interface TeardownOptions extends FreshnessCommandOptions {
  readonly yes?: true;
}

export function freshnessTeardownCommand(): Command {
  return withFreshnessTarget(new Command("teardown"))
    .description("remove slot, publication, triggers, log table and the feed's tables")
    .option("--yes", "also while processes use the feed")
    .action(async (options: TeardownOptions) => {
      const removed = await withUrl(options, (url) => freshnessTeardown(adminOptions(url, options), options.yes === true));
      print(options.json ? JSON.stringify({ removed }) : "Removed.");
    });
}
