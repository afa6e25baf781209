// `millrace db migrate`: applies a folder's numbered SQL files that the database does not have yet. See docs/migrations.md.

import { Command } from "commander";
import { createDatabase, migrate, startEmbeddedPostgres } from "../database/index.ts";
import { type TargetOptions, targetOf, withTarget } from "./database-target.ts";

interface MigrateCommandOptions extends TargetOptions {
  readonly dir: string;
  readonly dryRun?: true;
}

export function dbMigrate(): Command {
  return withTarget(new Command("migrate"))
    .description("apply the numbered SQL files that the database does not have yet")
    .requiredOption("--dir <folder>", "the folder with 0001_create_cities.sql, 0002_…")
    .option("--dry-run", "apply them in a transaction and roll it back")
    .addHelpText(
      "after",
      `
Examples:
  $ millrace db migrate --dir migrations --dry-run   what would happen
  $ millrace db migrate --dir migrations             do it`,
    )
    .action(async ({ dir, dryRun, ...options }: MigrateCommandOptions) => {
      const target = targetOf(options);
      if (target.kind === "server") return migrateAt(target.url, dir, dryRun === true);
      await using server = await startEmbeddedPostgres({ dataDir: target.dataDir, database: target.database });
      await migrateAt(server.url, dir, dryRun === true);
    });
}

async function migrateAt(url: string, directory: string, dryRun: boolean): Promise<void> {
  await using database = await createDatabase({ url });
  await migrate(database, { directory, dryRun, log: (message) => void process.stdout.write(`${message}\n`) });
}
