// `millrace db stop`: stops the embedded server, unless it is in use.

import { Command } from "commander";
import { describeEmbedded, stopEmbedded } from "../database/index.ts";
import { type TargetOptions, targetOf, withTarget } from "./database-target.ts";

export function dbStop(): Command {
  return withTarget(new Command("stop"))
    .description("stop the embedded server; one that is in use stops when the last process leaves it")
    .action(async (options: TargetOptions) => {
      const target = targetOf(options);
      if (target.kind === "server") {
        process.stderr.write(
          `${target.from} names a server that Millrace does not stop. Name a directory with --data-dir for the embedded one.\n`,
        );
        process.exitCode = 1;
        return;
      }
      const outcome = await stopEmbedded(target.dataDir);
      if (outcome === "in use") {
        const { usedBy } = await describeEmbedded(target.dataDir, target.database);
        process.stderr.write(`The server is in use (process ${usedBy.join(", ")}). It stops when the last of them ends.\n`);
        process.exitCode = 1;
      } else if (outcome === "elsewhere") {
        process.stderr.write("The server runs in another container. Stop it there.\n");
        process.exitCode = 1;
      } else {
        process.stdout.write(outcome === "stopped" ? "Stopped.\n" : "It was not running.\n");
      }
    });
}
