// `millrace freshness setup`: makes in the database what the change feed needs, with a role that may.

import { Command } from "commander";
import { freshnessSetup } from "../freshness/index.ts";
import { type FreshnessCommandOptions, adminOptions, print, withFreshnessTarget, withUrl } from "./freshness-target.ts";

interface SetupOptions extends FreshnessCommandOptions {
  readonly dryRun?: true;
}

export function freshnessSetupCommand(): Command {
  return withFreshnessTarget(new Command("setup"))
    .description("make what the feed needs in the database; applications do it by themselves where their role may")
    .option("--dry-run", "run it in a transaction, roll it back and print the SQL")
    .action(async (options: SetupOptions) => {
      const { source, statements, done } = await withUrl(options, (url) =>
        freshnessSetup(adminOptions(url, options), options.dryRun === true),
      );
      if (options.json) print(JSON.stringify({ source, done, statements }));
      else print(done ? `The feed by ${source} is set up.` : statements.join("\n"));
    });
}
