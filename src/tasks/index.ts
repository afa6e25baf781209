export * from "./channels.ts";
export { createTasks } from "./create-tasks.ts";
export { tasksErrors } from "./errors.ts";
export {
  type Chain,
  type FanOut,
  type FanOutHandle,
  type FanOutOptions,
  type Step,
  type StepTaking,
  chain,
  fanOut,
} from "./flows.ts";
export type { MemberOutcome } from "./group-members.ts";
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
export type { TaskFailure, TaskStatus } from "./status.ts";
export type * from "./store.ts";
export {
  type AnyTask,
  type EnqueuePlace,
  type EnqueueTaskOptions,
  type InputOf,
  type Planned,
  type PlannedOptions,
  type ResultOfTask,
  type Task,
  type TaskBefore,
  type TaskHandle,
  type TaskNamed,
  type TaskRun,
  task,
} from "./task.ts";
export type * from "./tasks.ts";
export type { WatchOptions } from "./watching.ts";
