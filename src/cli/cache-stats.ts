// `millrace cache stats`: hits, misses and refusals of each cache of each running process.

import { Command } from "commander";
import { askAndPrint, fields } from "./cache-question.ts";
import { type FreshnessCommandOptions, withFreshnessTarget } from "./freshness-target.ts";

const shown = [
  "cache",
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
  "store",
];

export function cacheStats(): Command {
  return withFreshnessTarget(new Command("stats"))
    .description("a line of figures for each cache of each running process")
    .action((options: FreshnessCommandOptions) => askAndPrint({ ask: "stats" }, options, (answer) => fields(answer, shown)));
}
