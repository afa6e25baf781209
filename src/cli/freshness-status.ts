// `millrace freshness status`: how the change feed of a database does, and what to do where it does not.

import { Command } from "commander";
import { type FreshnessStatus, freshnessStatus } from "../freshness/index.ts";
import { type FreshnessCommandOptions, adminOptions, print, withFreshnessTarget, withUrl } from "./freshness-target.ts";

function describe(status: FreshnessStatus): string {
  const { elected, followed, details } = status;
  const rows: [string, string][] = [
    ["source", `${status.source}${status.installed ? "" : " (not set up)"}`],
    ["generation", String(status.generation ?? "none")],
    ["read by", elected ? `process ${elected.pid} of the server, ${elected.application}, since ${elected.since}` : "nobody"],
    ["processes", String(status.processes)],
    ["lag", status.lagMs === undefined ? "unknown" : `${status.lagMs.toFixed(1)} ms`],
    ...details.facts.map(({ name, value }): [string, string] => [name, value]),
    ["followed", followed.length === 0 ? "no table yet" : ""],
    ...followed.map(({ table, columns }): [string, string] => [
      `  ${table}`,
      columns.length === 0 ? "any write" : columns.join(", "),
    ]),
  ];
  const width = Math.max(...rows.map(([name]) => name.length)) + 2;
  const lines = rows.map(([name, value]) => `${name.padEnd(width)}${value}`.trimEnd());
  return [...lines, ...status.problems.map((problem) => `! ${problem}`)].join("\n");
}

export function freshnessStatusCommand(): Command {
  return withFreshnessTarget(new Command("status"))
    .description("show the source of changes, what is followed, who reads it, and its lag; exits with 1 when something is wrong")
    .action(async (options: FreshnessCommandOptions) => {
      const status = await withUrl(options, (url) => freshnessStatus(adminOptions(url, options)));
      print(options.json ? JSON.stringify(status) : describe(status));
      if (status.problems.length > 0) process.exitCode = 1;
    });
}
