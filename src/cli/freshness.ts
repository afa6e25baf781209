// `millrace freshness`: the group of commands about the change feed. See docs/change-feed.md.

import { Command } from "commander";
import { freshnessSetupCommand } from "./freshness-setup.ts";
import { freshnessStatusCommand } from "./freshness-status.ts";
import { freshnessTeardownCommand } from "./freshness-teardown.ts";

export function freshness(): Command {
  const group = new Command("freshness").description("the change feed that keeps caches fresh");
  for (const command of [freshnessStatusCommand(), freshnessSetupCommand(), freshnessTeardownCommand()]) group.addCommand(command);
  return group;
}
