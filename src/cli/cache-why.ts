// `millrace cache why KEY`: what each running process holds under a key, and why it would or would not serve it.

import { Command } from "commander";
import { askAndPrint, fields } from "./cache-question.ts";
import { type FreshnessCommandOptions, withFreshnessTarget } from "./freshness-target.ts";

const shown = ["cache", "verdict", "reason", "tiers", "generation", "upTo", "bytes", "ageMs", "remainingMs", "dependencies"];

export function cacheWhy(): Command {
  return withFreshnessTarget(new Command("why"))
    .description("what each running process holds under a key, and why it would or would not serve it")
    .argument("<key>")
    .action((key: string, options: FreshnessCommandOptions) =>
      askAndPrint({ ask: "why", key }, options, (answer) => fields(answer, shown)),
    );
}
