// `millrace db status`: which database, whether it answers, and who uses it.

import { Command } from "commander";
import { createDatabase, describeEmbedded, sql } from "../database/index.ts";
import { type TargetOptions, targetOf, withTarget } from "./database-target.ts";

/** The pool's error says that it waited in vain; why stands in its cause. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message;
}

async function serverStatus(url: string, from: string): Promise<void> {
  await using database = await createDatabase({ url });
  const lines = [`server    ${database.url} (${from})`];
  try {
    const { version } = await database.one<{ version: string }>(sql`select current_setting('server_version') as version`);
    lines.push(`state     answers, PostgreSQL ${version}`);
  } catch (error) {
    lines.push(`state     does not answer: ${reasonOf(error)}`);
    process.exitCode = 1;
  }
  process.stdout.write(`${lines.join("\n")}\n`);
}

async function embeddedStatus(dataDir: string, name: string): Promise<void> {
  const state = await describeEmbedded(dataDir, name);
  const lines = [`directory ${state.dataDir}`];
  if (state.major === undefined) {
    lines.push("state     no database yet; it is made when the application starts, or by: millrace db start");
  } else if (state.server) {
    lines.push(`state     runs, PostgreSQL ${state.server.version}, process ${state.server.pid}`);
    lines.push(`used by   ${state.usedBy.length === 0 ? "nobody" : `process ${state.usedBy.join(", ")}`}`);
    lines.push(`stops     ${state.keptRunning ? "by millrace db stop" : "when the last process leaves it"}`);
  } else {
    lines.push(`state     does not run (PostgreSQL ${state.major})`);
  }
  if (state.url) lines.push(`url       ${state.url}`, `log       ${state.logFile}`);
  process.stdout.write(`${lines.join("\n")}\n`);
}

export function dbStatus(): Command {
  return withTarget(new Command("status"))
    .description("say which database it is, whether it runs and who uses it")
    .action(async (options: TargetOptions) => {
      const target = targetOf(options);
      await (target.kind === "server" ? serverStatus(target.url, target.from) : embeddedStatus(target.dataDir, target.database));
    });
}
