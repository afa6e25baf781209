// The command line: its commands, and how a failure looks to whoever typed one. See docs/command-line.md.

import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { MillraceError } from "../core/index.ts";
import { cache } from "./cache.ts";
import { db } from "./db.ts";
import { freshness } from "./freshness.ts";
import { proxy } from "./proxy.ts";
import { tasks } from "./tasks.ts";
import { worker } from "./worker.ts";

const packageVersion = (): string => {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { readonly version: string }).version;
};

/** A failure that the user can act on is one sentence; any other is a defect and shows where it happened. */
function explain(error: unknown): string {
  if (error instanceof MillraceError) return `${error.message}\n(${error.code})`;
  if (error instanceof Error) return error.stack ?? error.message;
  return String(error);
}

/** Runs one command line (without node and script) and resolves with the exit code. */
export async function run(args: readonly string[]): Promise<number> {
  const program = new Command("millrace")
    .description("Tools for an API that runs on Millrace.")
    .version(packageVersion(), "-V, --version", "print the version")
    .showHelpAfterError("(add --help for the possibilities)")
    .enablePositionalOptions()
    .addCommand(db())
    .addCommand(freshness())
    .addCommand(cache())
    .addCommand(proxy())
    .addCommand(tasks())
    .addCommand(worker());
  for (const command of [program, ...program.commands, ...program.commands.flatMap(({ commands }) => commands)]) {
    command.exitOverride().helpOption("-h, --help", "print this help").helpCommand(false);
  }
  try {
    await program.parseAsync(args, { from: "user" });
    return typeof process.exitCode === "number" ? process.exitCode : 0;
  } catch (error) {
    // Commander has printed its message already: help (0) or a mistake in the command line (1).
    if (error instanceof CommanderError) return error.exitCode;
    process.stderr.write(`${explain(error)}\n`);
    return 1;
  }
}
