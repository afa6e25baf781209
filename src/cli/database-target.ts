// Which database a command is about: --database-url, else DATABASE_URL, else the embedded server of --data-dir.

import { Command, Option } from "commander";
import { databaseDefaults } from "../database/index.ts";

/** The options that say which database. */
export interface TargetOptions {
  readonly dataDir?: string;
  readonly databaseUrl?: string;
  readonly database: string;
}

/** A database server somewhere, or a directory of the embedded one. */
export type DatabaseTarget =
  | { readonly kind: "server"; readonly url: string; readonly from: string }
  | { readonly kind: "embedded"; readonly dataDir: string; readonly database: string };

/** Adds the options to a command. */
export function withTarget(command: Command): Command {
  return command
    .addOption(
      new Option("--data-dir <directory>", `directory of the embedded server (default: ${databaseDefaults.embedded.dataDir})`),
    )
    .addOption(new Option("--database <name>", "database on the embedded server").default("millrace"))
    .addOption(new Option("--database-url <url>", "another server (default: DATABASE_URL, when it is set)").conflicts("dataDir"));
}

/** A directory that was named counts more than the environment; what was not named at all is the embedded server's usual place. */
export function targetOf(options: TargetOptions): DatabaseTarget {
  if (options.databaseUrl) return { kind: "server", url: options.databaseUrl, from: "--database-url" };
  const fromEnvironment = process.env["DATABASE_URL"];
  if (options.dataDir === undefined && fromEnvironment) return { kind: "server", url: fromEnvironment, from: "DATABASE_URL" };
  return { kind: "embedded", dataDir: options.dataDir ?? databaseDefaults.embedded.dataDir, database: options.database };
}
