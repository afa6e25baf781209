export * from "./channels.ts";
export { createTasks } from "./create-tasks.ts";
export { tasksErrors } from "./errors.ts";
export {
  type ConcurrencyOptions,
  type Priority,
  type QueueOptions,
  type RateOptions,
  type RetryOptions,
  type ScheduleOptions,
  type TaskLogger,
  type TaskPolicy,
  type TasksOptions,
  type UniqueOptions,
  retryDefaults,
  taskDefaults,
  tasksDefaults,
  uniqueDefaults,
} from "./options.ts";
export { type PostgresTaskStoreOptions, postgresTaskStore, postgresTaskStoreDefaults } from "./postgres/store.ts";
export { type RedisTaskStoreOptions, redisTaskStoreDefaults } from "./redis/options.ts";
export { redisTaskStore } from "./redis/store.ts";
export type * from "./store.ts";
export {
  type AnyTask,
  type EnqueuePlace,
  type EnqueueTaskOptions,
  type InputOf,
  type ResultOfTask,
  type Task,
  type TaskRun,
  task,
} from "./task.ts";
export type * from "./tasks.ts";
