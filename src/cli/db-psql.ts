// `millrace db psql`: PostgreSQL's own client on the database, whether the application runs or not.

import { spawn } from "node:child_process";
import { access, constants, readdir } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { Command } from "commander";
import { startEmbeddedPostgres } from "../database/index.ts";
import { type DatabaseTarget, type TargetOptions, targetOf, withTarget } from "./database-target.ts";

/** Where Debian puts the clients of its versions, newest last. */
const debianVersions = "/usr/lib/postgresql";

async function findPsql(): Promise<string | undefined> {
  const versions = (await readdir(debianVersions).catch((): string[] => [])).toSorted((a, b) => Number(b) - Number(a));
  const directories = [
    ...(process.env["PATH"] ?? "").split(delimiter),
    ...versions.map((version) => join(debianVersions, version, "bin")),
  ];
  for (const directory of directories) {
    if (directory === "") continue;
    const path = join(directory, "psql");
    const runnable = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (runnable) return path;
  }
  return undefined;
}

/** The URL without its password, which goes through the environment: command lines can be read by every user of the machine. */
function hidePassword(url: string): { readonly url: string; readonly environment: Record<string, string> } {
  if (!URL.canParse(url)) return { url, environment: {} };
  const parsed = new URL(url);
  if (parsed.password === "") return { url, environment: {} };
  const password = decodeURIComponent(parsed.password);
  parsed.password = "";
  return { url: parsed.href, environment: { PGPASSWORD: password } };
}

function runPsql(psql: string, url: string, args: readonly string[]): Promise<number> {
  const hidden = hidePassword(url);
  // Ctrl-C in the terminal reaches both; it is psql's, which cancels the statement with it.
  const ignore = (): void => {};
  process.on("SIGINT", ignore);
  return new Promise<number>((resolve, reject) => {
    const child = spawn(psql, [hidden.url, ...args], { stdio: "inherit", env: { ...process.env, ...hidden.environment } });
    child.once("error", reject);
    child.once("close", (code) => resolve(code ?? 1));
  }).finally(() => process.off("SIGINT", ignore));
}

async function psqlOn(target: DatabaseTarget, psql: string, args: readonly string[]): Promise<number> {
  if (target.kind === "server") return runPsql(psql, target.url, args);
  await using server = await startEmbeddedPostgres({ dataDir: target.dataDir, database: target.database });
  // Awaited here: the server is let go when this function ends, not before psql does.
  return await runPsql(psql, server.url, args);
}

export function dbPsql(): Command {
  return withTarget(new Command("psql"))
    .description("open psql on the database; the embedded server is started for it when it does not run")
    .argument("[args...]", "arguments for psql, after --")
    .action(async (args: readonly string[], options: TargetOptions) => {
      const psql = await findPsql();
      if (psql === undefined) {
        process.stderr.write(
          "There is no psql on this machine (the embedded server comes without it). Install it:\n" +
            "  Debian, Ubuntu   apt-get install postgresql-client\n" +
            "  Fedora           dnf install postgresql\n" +
            "  macOS            brew install libpq && brew link --force libpq\n" +
            "Any other client takes the URL that `millrace db url` prints.\n",
        );
        process.exitCode = 1;
        return;
      }
      process.exitCode = await psqlOn(targetOf(options), psql, args);
    });
}
