// `millrace db start`: the embedded server, running until `millrace db stop`.

import { Command } from "commander";
import { startAndKeepRunning } from "../database/index.ts";
import { type TargetOptions, targetOf, withTarget } from "./database-target.ts";

export function dbStart(): Command {
  return withTarget(new Command("start"))
    .description("start the embedded server and leave it running (an application starts it by itself, and stops it)")
    .action(async (options: TargetOptions) => {
      const target = targetOf(options);
      if (target.kind === "server") {
        process.stderr.write(
          `${target.from} names a server that Millrace does not start. Name a directory with --data-dir for the embedded one.\n`,
        );
        process.exitCode = 1;
        return;
      }
      const { dataDir, database } = target;
      const state = await startAndKeepRunning({ dataDir, database, log: (message) => process.stderr.write(`${message}\n`) });
      process.stdout.write(`${state.url}\n`);
    });
}
