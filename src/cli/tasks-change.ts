// `millrace tasks retry`, `discard`, `cancel`, `pause` and `resume`: what people do to tasks.

import { Command } from "commander";
import { type Duration, parseDuration } from "../core/index.ts";
import { type DeadFilter, type TaskStore, taskDefaults } from "../tasks/index.ts";
import { type TaskStoreOptions, count, onTaskStore, print, withTaskStore } from "./task-store-target.ts";

interface DeadOptions extends TaskStoreOptions {
  readonly queue?: string;
  readonly name?: string;
  readonly limit: number;
}

/** Prints what happened to each, and ends with 1 when something did not. */
function tell(options: TaskStoreOptions, id: string, became: string, good: boolean): void {
  print(options.json ? JSON.stringify({ id, became }) : `${id}  ${became}`);
  if (!good) process.exitCode = 1;
}

/** Dead tasks by their ids, or by queue and name. */
function deadCommand(
  name: string,
  description: string,
  act: (store: TaskStore, filter: DeadFilter) => Promise<readonly string[]>,
  became: string,
): Command {
  return withTaskStore(new Command(name))
    .description(description)
    .argument("[ids...]")
    .option("--queue <queue>", "all of this queue")
    .option("--name <name>", "all of this name")
    .option("--limit <number>", "at most so many, the oldest first", count(10_000), 1_000)
    .action((ids: readonly string[], options: DeadOptions, command: Command) => {
      const { queue, name: taskName, limit } = options;
      if (ids.length === 0 && queue === undefined && taskName === undefined)
        command.error("error: say which: ids, --queue or --name");
      return onTaskStore(options, async (store) => {
        const filter: DeadFilter = { ...(ids.length > 0 && { ids }), queue, name: taskName, limit };
        const done = new Set(await act(store, filter));
        for (const id of done) tell(options, id, became, true);
        for (const id of ids) {
          if (done.has(id)) continue;
          // One that waits for its next attempt can be hurried; that is what is meant.
          const hurried = became === "waiting" && (await store.makeDue(id));
          tell(options, id, hurried ? "due now" : "not dead", hurried);
        }
        if (ids.length === 0 && done.size === 0 && !options.json) print("none");
      });
    });
}

export const tasksRetry = (): Command =>
  deadCommand(
    "retry",
    "try dead tasks again, as new; a task that waits for its next attempt is begun now",
    (store, filter) => store.redrive(filter),
    "waiting",
  );

export const tasksDiscard = (): Command =>
  deadCommand("discard", "forget dead tasks for good", (store, filter) => store.discard(filter), "forgotten");

export const tasksCancel = (): Command =>
  withTaskStore(new Command("cancel"))
    .description("cancel tasks that wait, and ask those that run to stop")
    .argument("<ids...>")
    .option("--keep <duration>", "how long they can be looked at", taskDefaults.keep)
    .action((ids: readonly string[], options: TaskStoreOptions & { readonly keep: string }) => {
      const keepMs = parseDuration(options.keep as Duration);
      return onTaskStore(options, async (store) => {
        for (const id of ids) {
          const outcome = await store.cancel(id, keepMs);
          tell(
            options,
            id,
            outcome === "requested" ? "asked to stop" : outcome,
            outcome === "cancelled" || outcome === "requested",
          );
        }
      });
    });

const queueCommand = (
  name: string,
  description: string,
  act: (store: TaskStore, queue: string) => Promise<void>,
  became: string,
): Command =>
  withTaskStore(new Command(name))
    .description(description)
    .argument("<queues...>")
    .action((queues: readonly string[], options: TaskStoreOptions) =>
      onTaskStore(options, async (store) => {
        for (const queue of queues) {
          await act(store, queue);
          print(options.json ? JSON.stringify({ queue, became }) : `${queue}  ${became}`);
        }
      }),
    );

export const tasksPause = (): Command =>
  queueCommand("pause", "begin nothing more of these queues; what runs goes on", (store, queue) => store.pause(queue), "paused");

export const tasksResume = (): Command =>
  queueCommand("resume", "go on with these queues", (store, queue) => store.resume(queue), "resumed");
