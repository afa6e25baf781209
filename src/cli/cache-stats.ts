// `millrace cache stats`: hits, misses and refusals of each running process.

import { Command } from "commander";
import { askAndPrint, fields } from "./cache-question.ts";
import { type FreshnessCommandOptions, withFreshnessTarget } from "./freshness-target.ts";

const shown = [
  "hits",
  "storeHits",
  "staleHits",
  "misses",
  "joined",
  "bypasses",
  "fills",
  "fillErrors",
  "checked",
  "mismatches",
  "refusals",
];

export function cacheStats(): Command {
  return withFreshnessTarget(new Command("stats"))
    .description("a line of figures for each running process")
    .action((options: FreshnessCommandOptions) => askAndPrint({ ask: "stats" }, options, (answer) => fields(answer, shown)));
}
