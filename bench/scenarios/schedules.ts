// Seeded schedules of the freshness protocol over three processes, long: every served answer compared with what the database truly held.
// Not a measurement: it fails when one answer is older than promised. docs/freshness-proof.md tells what happens in it.

import { type RuleName, ruleNames } from "../../test/freshness/schedules/messages.ts";
import { type ScheduleOptions, runSchedule } from "../../test/freshness/schedules/run.ts";
import type { BenchOptions } from "../harness/options.ts";
import { printTable } from "../harness/rounds.ts";

const worlds = {
  "logical, primary": { source: "logical", readsFrom: "primary" },
  "logical, standby": { source: "logical", readsFrom: "standby" },
  "triggers, primary": { source: "triggers", readsFrom: "primary" },
  "triggers, standby": { source: "triggers", readsFrom: "standby" },
} as const satisfies Record<string, Pick<ScheduleOptions, "source" | "readsFrom">>;

const defaultOperations = 1_000_000;

export async function run({
  operations = defaultOperations,
  writes: writesPerThousand = 10,
  seed = 1,
  only,
  rule,
}: BenchOptions): Promise<unknown> {
  if (rule !== undefined && !ruleNames.includes(rule as RuleName)) {
    throw new Error(`--rule is "${rule}", expected one of: ${ruleNames.join(", ")}.`);
  }
  const chosen = Object.entries(worlds).filter(([name]) => !only || only.includes(name.replace(", ", "-")));
  if (chosen.length === 0)
    throw new Error(
      `--only names none of: ${Object.keys(worlds)
        .map((name) => name.replace(", ", "-"))
        .join(", ")}.`,
    );
  const results: Record<string, unknown> = {};
  const table: string[][] = [];
  let violated = 0;
  for (const [name, world] of chosen) {
    const result = await runSchedule({
      ...world,
      operations: Math.ceil(operations / chosen.length),
      seed,
      writesPerThousand,
      ...(rule !== undefined && { rule: rule as RuleName }),
      log: (line) => process.stderr.write(`\r\x1b[K${name}: ${line}`),
    });
    process.stderr.write("\r\x1b[K");
    const { answers, fromCache, writes, seconds, violations, faults } = result;
    violated += violations.length;
    const faultsTotal = Object.values(faults).reduce((sum, times) => sum + times, 0);
    table.push([
      name,
      String(answers),
      String(fromCache),
      String(writes),
      String(faultsTotal),
      seconds.toFixed(0),
      String(violations.length),
    ]);
    for (const { why, answer } of violations.slice(0, 3)) console.log(`${name}: ${why}\n  ${JSON.stringify(answer)}`);
    results[name] = { ...result, violations: violations.length };
  }
  printTable([`seed ${seed}`, "answers", "from cache", "writes", "faults", "seconds", "older than promised"], table);
  if (violated > 0) process.exitCode = 1;
  return results;
}
