// `millrace tasks show <id>`: all that is known of a task.

import { Command } from "commander";
import { recordJson, recordText } from "./task-lines.ts";
import { type TaskStoreOptions, onTaskStore, print, withTaskStore } from "./task-store-target.ts";

export const tasksShow = (): Command =>
  withTaskStore(new Command("show"))
    .description("all that is known of a task; exits with 1 when there is none")
    .argument("<id>")
    .action((id: string, options: TaskStoreOptions) =>
      onTaskStore(options, async (store) => {
        const record = await store.show(id);
        if (record) {
          print(options.json ? recordJson(record) : recordText(record));
          return;
        }
        process.stderr.write(`There is no task ${id}: it was never enqueued, or was kept long enough.\n`);
        process.exitCode = 1;
      }),
    );
