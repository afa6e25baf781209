// The options of concurrency: their checks, and every default in one literal with its reason.

import { availableParallelism } from "node:os";
import { type Clock, type OptionChecks, boolean, duration, given, integer, string } from "../core/index.ts";
import type { Ending } from "./abortable.ts";
import type { ChannelOptions } from "./channel.ts";
import type { GroupOptions } from "./group.ts";
import type { LruMapOptions } from "./lru-map.ts";
import type { MapConcurrentOptions } from "./map-concurrent.ts";
import type { SemaphoreOptions } from "./semaphore.ts";
import type { SingleFlightOptions } from "./single-flight.ts";
import type { WorkerPoolOptions } from "./worker-pool.ts";

const limit = {
  expected: "a whole number of at least 1, or Infinity",
  read: (value: number) => ((Number.isSafeInteger(value) && value >= 1) || value === Infinity ? value : undefined),
};
const ending = given<Ending>("an AbortSignal or a Deadline");
const clock = given<Clock>("a clock");

export const groupDefaults = {
  limit: Infinity, // who starts children one by one knows how many; mapConcurrent, which does not, has a limit
} as const satisfies GroupOptions;

export const groupChecks = { limit, deadline: duration(), signal: ending, clock } as const satisfies OptionChecks<GroupOptions>;

export const mapDefaults = {
  limit: 10, // as many as a database pool has connections by default: more would only wait there
} as const satisfies MapConcurrentOptions;

export const mapChecks = groupChecks;

export const semaphoreDefaults = {
  maxWaiting: 1_000, // as the database pool: a longer queue only waits to fail
} as const satisfies Omit<SemaphoreOptions, "permits">;

export const semaphoreChecks = {
  permits: integer(1),
  maxWaiting: integer(0),
} as const satisfies OptionChecks<SemaphoreOptions>;

export const channelDefaults = {
  capacity: 16, // enough that neither side waits for the other's every step, too few to hide a consumer that is too slow
  maxWaiting: 1_000, // a producer that does not await send() is noticed before it fills the memory
} as const satisfies ChannelOptions;

export const channelChecks = { capacity: integer(0), maxWaiting: integer(0) } as const satisfies OptionChecks<ChannelOptions>;

export const singleFlightDefaults = {} as const satisfies SingleFlightOptions;

export const singleFlightChecks = { deadline: duration("1ms"), clock } as const satisfies OptionChecks<SingleFlightOptions>;

export const lruMapChecks = {
  maxEntries: integer(1),
  maxBytes: integer(1),
  sizeOf: given<(value: never, key: never) => number>("a function from a value and its key to its bytes"),
  ttl: duration("1ms"),
  onRemove: given<(value: never, key: never) => void>("a function"),
  clock,
} as const satisfies OptionChecks<LruMapOptions<never, never>>;

export const workerPoolDefaults = {
  name: "the worker pool",
  threads: Math.max(1, availableParallelism() - 1), // one core stays with the event loop, which serves everybody
  maxQueue: 100, // at 10 ms a task and one thread the last one waits a second
  deadline: "30s", // longer than anybody waits for an answer; a task that hangs must not hold a thread for ever
  idleTimeout: "30s", // a thread costs some MB and 30 to 50 ms to start: not worth keeping for a burst an hour ago
  maxHeapMb: 512, // what a container of 2 GB can lose to four threads; a task that needs more says so
  closeTimeout: "10s", // as every other part of a service: see core/lifecycle.ts
} as const satisfies WorkerPoolOptions;

export const workerPoolChecks = {
  name: string,
  threads: integer(1, 1_024),
  maxQueue: integer(0),
  deadline: duration("1ms"),
  idleTimeout: duration(),
  maxHeapMb: integer(4),
  closeTimeout: duration(),
  keepWarm: boolean,
  execArgv: given<readonly string[]>("an array of strings"),
  clock,
} as const satisfies OptionChecks<WorkerPoolOptions>;
