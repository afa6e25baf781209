// `millrace cache invalidate NAME…`: makes stale what depends on these names, in all processes, through the feed's log.

import { Command } from "commander";
import { hashDependencies, nameToInvalidate } from "../cache/index.ts";
import { invalidateInLog } from "../freshness/index.ts";
import { type FreshnessCommandOptions, adminOptions, print, withFreshnessTarget, withUrl } from "./freshness-target.ts";

export function cacheInvalidate(): Command {
  return withFreshnessTarget(new Command("invalidate"))
    .description("make stale what depends on names, keys or beginnings of keys, in all processes")
    .argument("<names...>", 'such as forecast:42, or "user:42:*"; "*" is everything')
    .action(async (names: readonly string[], options: FreshnessCommandOptions) => {
      const written = names.map((name) => nameToInvalidate("cache", name));
      await withUrl(options, (url) => invalidateInLog(adminOptions(url, options), hashDependencies(written)));
      print(options.json ? JSON.stringify({ invalidated: written }) : `Invalidated ${written.join(", ")}.`);
    });
}
