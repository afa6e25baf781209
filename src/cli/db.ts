// `millrace db`: the group of commands about the database.

import { Command } from "commander";
import { dbMigrate } from "./db-migrate.ts";
import { dbPsql } from "./db-psql.ts";
import { dbStart } from "./db-start.ts";
import { dbStatus } from "./db-status.ts";
import { dbStop } from "./db-stop.ts";
import { dbUrl } from "./db-url.ts";

export function db(): Command {
  const group = new Command("db")
    .description("the database: the server that DATABASE_URL names, or else the embedded one")
    .addHelpText(
      "after",
      `
Examples:
  $ millrace db status                       what runs, and who uses it
  $ millrace db psql                         an interactive session
  $ millrace db psql -- -c "select now()"    one statement
  $ pg_dump "$(millrace db url)" > dump.sql  any tool of PostgreSQL's`,
    );
  for (const command of [dbUrl(), dbPsql(), dbStatus(), dbStart(), dbStop(), dbMigrate()]) group.addCommand(command);
  return group;
}
