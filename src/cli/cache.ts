// `millrace cache`: the group of commands about the caches of running processes. See docs/cache.md.

import { Command } from "commander";
import { cacheInvalidate } from "./cache-invalidate.ts";
import { cacheStats } from "./cache-stats.ts";
import { cacheWhy } from "./cache-why.ts";

export function cache(): Command {
  const group = new Command("cache").description("the caches of the processes that run on a database");
  for (const command of [cacheStats(), cacheWhy(), cacheInvalidate()]) group.addCommand(command);
  return group;
}
