// A database of one test's own with tasks on it, quiet and quick.

import type { AnyTask, TasksOptions, Tasks } from "millrace/tasks";
import { createTasks, redisTaskStore, taskEndChannel } from "millrace/tasks";
import { type Database, createDatabase } from "millrace/database";
import { pino } from "pino";
import { testDatabase } from "../harness/postgres.ts";
import { testRedis } from "../harness/redis.ts";
import { passTime } from "./pass-time.ts";
import { passRedisTime } from "./redis-pass-time.ts";

export const silent = pino({ level: "silent" });

/** Where the tasks are kept: each of the kit's stores gives a service the same. */
export const storeKinds = ["postgresql", "redis"] as const;
export type StoreKind = (typeof storeKinds)[number];

export interface TaskService extends AsyncDisposable {
  readonly db: Database;
  readonly url: string;
  readonly tasks: Tasks;
  /** The tasks of another process over the same store. Not started; the caller closes it. */
  another(tasks: readonly AnyTask[], database?: Database): Promise<Tasks>;
  /** Every moment that the store has kept moves so far into the past. */
  passTime(ms: number): Promise<void>;
}

/** Not started. */
export async function taskService(options: TasksOptions, kind: StoreKind = "postgresql"): Promise<TaskService> {
  const stack = new AsyncDisposableStack();
  const scratch = stack.use(await testDatabase());
  const redis = kind === "redis" ? stack.use(await testRedis({ settings: { appendonly: "yes" } })) : undefined;
  const db = stack.use(await createDatabase({ url: scratch.url, applicationName: "tasks under test" }));
  const open = (database: Database, more: TasksOptions): Promise<Tasks> => {
    const store = redis && stack.use(redisTaskStore({ url: redis.url, outbox: database, timeout: "20s" }));
    return createTasks({ database, logger: silent, ...(store && { store }), ...more });
  };
  const tasks = stack.use(await open(db, options));
  return {
    db,
    url: scratch.url,
    tasks,
    another: (known, database = db) => open(database, { tasks: known }),
    passTime: (ms) => (redis ? passRedisTime(redis, "millrace:{tasks}", ms) : passTime(db, ms)),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** The end of the next attempt of the named task; call it before what leads to it. */
export const nextEnd = (name: string) => taskEndChannel.next((message) => message.name === name, AbortSignal.timeout(20_000));
