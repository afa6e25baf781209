// A database of one test's own with tasks on it, quiet and quick.

import type { TasksOptions, Tasks } from "millrace/tasks";
import { createTasks, taskEndChannel } from "millrace/tasks";
import { type Database, createDatabase } from "millrace/database";
import { pino } from "pino";
import { testDatabase } from "../harness/postgres.ts";

export const silent = pino({ level: "silent" });

export interface TaskService extends AsyncDisposable {
  readonly db: Database;
  readonly url: string;
  readonly tasks: Tasks;
}

/** Not started. */
export async function taskService(options: TasksOptions): Promise<TaskService> {
  const scratch = await testDatabase();
  const db = await createDatabase({ url: scratch.url, applicationName: "tasks under test" });
  const tasks = await createTasks({ database: db, logger: silent, ...options });
  return {
    db,
    url: scratch.url,
    tasks,
    async [Symbol.asyncDispose]() {
      await tasks.close();
      await db.close();
      await scratch[Symbol.asyncDispose]();
    },
  };
}

/** The end of the next attempt of the named task; call it before what leads to it. */
export const nextEnd = (name: string) => taskEndChannel.next((message) => message.name === name, AbortSignal.timeout(20_000));
