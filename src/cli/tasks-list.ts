// `millrace tasks list` and `dead`: tasks from the newest to the oldest. `millrace tasks queues`: what waits where.

import { Command, Option } from "commander";
import { formatDuration } from "../core/index.ts";
import type { TaskState } from "../tasks/index.ts";
import { columns, recordJson, recordLines } from "./task-lines.ts";
import { type TaskStoreOptions, count, onTaskStore, print, withTaskStore } from "./task-store-target.ts";

interface ListOptions extends TaskStoreOptions {
  readonly state?: TaskState;
  readonly queue?: string;
  readonly name?: string;
  readonly group?: string;
  readonly before?: string;
  readonly limit: number;
}

const withFilters = (command: Command): Command =>
  withTaskStore(command)
    .option("--queue <queue>", "only of this queue")
    .option("--name <name>", "only tasks of this name")
    .option("--before <id>", "only older ones than this; the last line of a page begins the next")
    .option("--limit <number>", "how many", count(1_000), 50);

const list = (options: ListOptions): Promise<void> =>
  onTaskStore(options, async (store) => {
    const { state, queue, name, group, before, limit } = options;
    const records = await store.list({ state, queue, name, group, before, limit });
    if (options.json) for (const record of records) print(recordJson(record));
    else print(records.length === 0 ? "none" : recordLines(records));
  });

export const tasksList = (): Command =>
  withFilters(new Command("list"))
    .description("tasks, from the newest to the oldest")
    .addOption(new Option("--state <state>", "only in this state").choices(["waiting", "active", "completed", "cancelled", "dead"]))
    .option("--group <id>", "only members of this group")
    .action((options: ListOptions) => list(options));

export const tasksDead = (): Command =>
  withFilters(new Command("dead"))
    .description("the dead letter: tasks that were given up, with the reason")
    .action((options: ListOptions) => list({ ...options, state: "dead" }));

export const tasksQueues = (): Command =>
  withTaskStore(new Command("queues"))
    .description("what waits, is delayed, active and dead in each queue")
    .action((options: TaskStoreOptions) =>
      onTaskStore(options, async (store) => {
        const queues = await store.queues();
        if (options.json) {
          for (const queue of queues) print(JSON.stringify(queue));
          return;
        }
        const rows = queues.map(({ queue, paused, waiting, delayed, active, dead, oldestWaitingMs }) => [
          queue,
          ...[waiting, delayed, active, dead].map(String),
          oldestWaitingMs === undefined ? "" : formatDuration(Math.round(oldestWaitingMs)),
          paused ? "paused" : "",
        ]);
        print(rows.length === 0 ? "none" : columns([["queue", "waiting", "delayed", "active", "dead", "oldest", ""], ...rows]));
      }),
    );
