// `millrace db url`: the address of the database, for other tools.

import { Command } from "commander";
import { describeEmbedded } from "../database/index.ts";
import { type TargetOptions, targetOf, withTarget } from "./database-target.ts";

export function dbUrl(): Command {
  return withTarget(new Command("url"))
    .description("print the database's URL, as psql, pg_dump and libraries take it")
    .action(async (options: TargetOptions) => {
      const target = targetOf(options);
      if (target.kind === "server") {
        process.stdout.write(`${target.url}\n`);
        return;
      }
      const state = await describeEmbedded(target.dataDir, target.database);
      if (state.url === undefined) {
        process.stderr.write(
          `There is no database in ${state.dataDir} yet. It is made when the application starts, or by: millrace db start\n`,
        );
        process.exitCode = 1;
        return;
      }
      process.stdout.write(`${state.url}\n`);
      // To stderr, so that $(millrace db url) is only the URL.
      if (!state.server) process.stderr.write("The server does not run now. Start it: millrace db start\n");
    });
}
