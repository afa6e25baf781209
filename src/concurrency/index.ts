export { type Ending, type WaitOptions, type Waiter, endingOf, onEnding, startWaiting } from "./abortable.ts";
export * from "./channel.ts";
export * from "./channels.ts";
export {
  type PortableContext,
  type WorkContext,
  contextOfPart,
  currentContext,
  portableContext,
  runInContext,
  wholeOf,
} from "./context.ts";
export * from "./deadline.ts";
export * from "./errors.ts";
export { type ChildWork, type Group, type GroupOptions, createGroup, group } from "./group.ts";
export * from "./lru-map.ts";
export * from "./map-concurrent.ts";
export * from "./semaphore.ts";
export * from "./single-flight.ts";
export { type TimeoutOptions, deadline, timeout } from "./timeout.ts";
export * from "./trace.ts";
export { transfer } from "./transfer.ts";
export * from "./weak-value-map.ts";
export * from "./work-id.ts";
export {
  type RunTaskOptions,
  type TaskInput,
  type TaskName,
  type TaskResult,
  type WorkerModule,
  type WorkerPool,
  type WorkerPoolOptions,
  type WorkerPoolStats,
  createWorkerPool,
  workerModule,
} from "./worker-pool.ts";
