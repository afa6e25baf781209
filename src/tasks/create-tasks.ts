// createTasks(): the tasks of a service over a store, to enqueue, and, after start(), to work on. See docs/tasks.md.

import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { destination, pino } from "pino";
import { MillraceError, type ResolvedOptions, createLifecycle, parseDuration, resolveOptions } from "../core/index.ts";
import type { Database } from "../database/index.ts";
import { bindTasks } from "./bound-tasks.ts";
import { taskEnqueueChannel } from "./channels.ts";
import { tasksErrors } from "./errors.ts";
import { newTask } from "./new-task.ts";
import {
  type QueueOptions,
  type Rate,
  type TaskLogger,
  type TasksOptions,
  queueChecks,
  taskDefaults,
  tasksChecks,
  tasksDefaults,
} from "./options.ts";
import { setUpTables } from "./postgres/setup.ts";
import { postgresTaskStore } from "./postgres/store.ts";
import { ProgressKeeper } from "./progress.ts";
import { type Scheduler, createScheduler } from "./schedules.ts";
import { type TaskStatus, statusOf } from "./status.ts";
import { storeUnavailable } from "./store-failure.ts";
import type { CancelOutcome, EnqueueBatch, EnqueueOutcome, EnqueueTransaction, TaskStore } from "./store.ts";
import type { AnyTask, EnqueueTaskOptions, Task, TaskHandle } from "./task.ts";
import type { ResultOptions, Tasks, TasksStats } from "./tasks.ts";
import { type WatchOptions, Watching } from "./watching.ts";
import { WorkQueue } from "./work-queue.ts";
import { Worker } from "./worker.ts";

type Resolved = ResolvedOptions<typeof tasksChecks>;

const newWorkerName = (): string => `${hostname()}:${process.pid}:${randomBytes(3).toString("hex")}`;

const loggerOf = (given: Resolved["logger"]): TaskLogger =>
  given && "child" in given ? given : pino({ level: given?.level ?? "info" }, destination({ fd: 1, sync: false }));

/** Tasks by name. @throws MILLRACE_TASKS_DEFINITION_INVALID */
function byName(tasks: readonly AnyTask[]): ReadonlyMap<string, AnyTask> {
  const named = new Map<string, AnyTask>();
  for (const task of tasks) {
    if (named.has(task.name)) {
      throw tasksErrors.create("MILLRACE_TASKS_DEFINITION_INVALID", {
        task: task.name,
        reason: "there are two tasks of this name.",
      });
    }
    named.set(task.name, task);
  }
  return named;
}

/** The queues of the tasks, with what createTasks() says about them. @throws MILLRACE_TASKS_DEFINITION_INVALID, MILLRACE_OPTION_* */
function queuesOf({ tasks, queues, concurrency }: Resolved): readonly WorkQueue[] {
  const rates = new Map<string, Rate | undefined>();
  for (const task of tasks) {
    const before = rates.get(task.queue);
    if (before && task.rate && (before.max !== task.rate.max || before.perMs !== task.rate.perMs)) {
      const reason = `its queue "${task.queue}" has another rate from another task. A rate holds for a queue: give one of them its own.`;
      throw tasksErrors.create("MILLRACE_TASKS_DEFINITION_INVALID", { task: task.name, reason });
    }
    rates.set(task.queue, before ?? task.rate);
  }
  for (const queue of Object.keys(queues)) {
    if (!rates.has(queue)) {
      const reason = `\`queues\` names it, but no task has this queue. The tasks have: ${[...rates.keys()].join(", ")}.`;
      throw tasksErrors.create("MILLRACE_TASKS_DEFINITION_INVALID", { task: queue, reason });
    }
  }
  return [...rates].map(([name, rate]) => {
    const own = resolveOptions<QueueOptions, typeof queueChecks>(
      `createTasks.queues[${JSON.stringify(name)}]`,
      queues[name] ?? {},
      { concurrency },
      queueChecks,
    );
    return new WorkQueue(name, own.concurrency, own.rate ?? rate);
  });
}

const handleOf = <Result>(task: TaskHandle<Result> | string): TaskHandle<Result> =>
  typeof task === "string" ? { id: task, accepted: true } : task;

class TasksHandle implements Tasks {
  readonly store: TaskStore;
  readonly worker: string;
  readonly #options: Resolved;
  readonly #named: ReadonlyMap<string, AnyTask>;
  readonly #database: Database | undefined;
  readonly #work: Worker;
  readonly #scheduler: Scheduler;
  readonly #watching: Watching;
  readonly #lifecycle = createLifecycle("the tasks");
  #ready: Promise<void> | undefined;

  constructor(options: Resolved) {
    const {
      database,
      tasks,
      clock,
      random,
      lease: leaseMs,
      grace: graceMs,
      drain: drainMs,
      pollInterval: pollIntervalMs,
    } = options;
    if (!options.store && !database) {
      throw tasksErrors.create("MILLRACE_TASKS_DEFINITION_INVALID", {
        task: "createTasks",
        reason: "it needs a `database` or a `store` to keep tasks in.",
      });
    }
    const named = byName(tasks);
    const queues = queuesOf(options);
    this.#options = options;
    this.#named = named;
    this.#database = database;
    this.worker = options.worker ?? newWorkerName();
    const logger = loggerOf(options.logger);
    this.store = options.store ?? postgresTaskStore({ database, clock });
    if (!options.store) this.#lifecycle.add("the task store", () => this.store.close());

    const progress = new ProgressKeeper({ store: this.store, clock, onFailure: () => {} });
    this.#lifecycle.add("progress", () => progress.close());
    this.#work = new Worker({
      store: this.store,
      name: this.worker,
      tasks: named,
      queues,
      progress,
      host: {
        database,
        logger,
        clock,
        random,
        graceMs,
        saveProgress: (claimed, value) => progress.save(claimed, value),
        tasks: named,
        store: this.store,
      },
      logger,
      clock,
      random,
      leaseMs,
      graceMs,
      drainMs,
      pollIntervalMs,
      ready: () => this.ready(),
    });
    if (database) {
      const binding = bindTasks(database, this, tasks);
      this.#lifecycle.add("the binding", () => binding[Symbol.dispose]());
    }
    this.#lifecycle.add("the workers", () => this.#work.close(), drainMs + graceMs + 40_000);
    this.#scheduler = createScheduler({ store: this.store, tasks, clock, log: logger });
    this.#lifecycle.add("the schedules", () => this.#scheduler.close());
    this.#watching = new Watching(this.store, clock);
  }

  /** Sets up what is kept where; once it has succeeded it costs nothing. */
  ready(): Promise<void> {
    return (this.#ready ??= this.#setUp().catch((error: unknown) => {
      this.#ready = undefined;
      throw error;
    }));
  }

  async #setUp(): Promise<void> {
    // Claims of idempotency keys are in the database, wherever the tasks are.
    if (this.#database && this.#options.store) {
      const database = this.#database;
      try {
        await database.outsideTransaction(() => setUpTables(database));
      } catch (error) {
        throw error instanceof MillraceError && error.retryable ? storeUnavailable("postgresql", "setup", error) : error;
      }
    }
    await this.store.setup();
  }

  async enqueue<Input, Result>(
    task: Task<Input, Result>,
    input: Input,
    options: EnqueueTaskOptions & { readonly in?: EnqueueTransaction } = {},
  ): Promise<TaskHandle<Result>> {
    const { in: transaction, ...rest } = options;
    this.#lifecycle.assertOpen();
    const made = newTask(task, input, { ...rest, clock: this.#options.clock });
    return (await this.put(task, { tasks: [made] }, transaction))[0]!;
  }

  async enqueueMany<Input, Result>(
    task: Task<Input, Result>,
    inputs: readonly Input[],
    options: Omit<EnqueueTaskOptions, "id"> & { readonly in?: EnqueueTransaction } = {},
  ): Promise<readonly TaskHandle<Result>[]> {
    const { in: transaction, ...rest } = options;
    this.#lifecycle.assertOpen();
    const made = inputs.map((input) => newTask(task, input, { ...rest, clock: this.#options.clock }));
    return await this.put(task, { tasks: made }, transaction);
  }

  async put(
    task: Pick<AnyTask, "name" | "queue">,
    batch: EnqueueBatch,
    transaction?: EnqueueTransaction,
  ): Promise<readonly EnqueueOutcome[]> {
    const { clock } = this.#options;
    const watched = taskEnqueueChannel.hasSubscribers ? clock.monotonic() : undefined;
    let outcomes: readonly EnqueueOutcome[] = [];
    let failure: unknown;
    try {
      outcomes = await this.store.enqueue(batch, transaction ? { in: transaction } : undefined);
      return outcomes;
    } catch (error) {
      failure = error;
      throw error;
    } finally {
      if (watched !== undefined) {
        taskEnqueueChannel.publish({
          store: this.store.name,
          name: task.name,
          queue: task.queue,
          tasks: batch.tasks.length,
          duplicates: outcomes.filter(({ accepted }) => !accepted).length,
          durationMs: clock.monotonic() - watched,
          inTransaction: transaction !== undefined,
          error: failure,
        });
      }
    }
  }

  async status<Result>(id: string): Promise<TaskStatus<Result> | undefined> {
    const record = await this.store.show(id);
    return record && statusOf<Result>(record);
  }

  watch<Result>(task: TaskHandle<Result> | string, options: WatchOptions = {}): AsyncIterable<TaskStatus<Result>> {
    return this.#watching.watch(handleOf(task), options);
  }

  result<Result>(task: TaskHandle<Result> | string, { timeout, ...options }: ResultOptions = {}): Promise<Result> {
    const timeoutMs = timeout === undefined ? undefined : parseDuration(timeout);
    return this.#watching.result(handleOf(task), { ...options, timeoutMs });
  }

  async cancel(task: TaskHandle<unknown> | string): Promise<CancelOutcome> {
    const { id, before = [] } = handleOf(task);
    let said: CancelOutcome = "unknown";
    // In their order: a step that completes meanwhile has put the next one there by the time that it is asked for.
    for (const each of [...before.map((step) => step.id), id]) {
      const record = await this.store.show(each);
      const keepMs = (record && this.#named.get(record.name)?.keepMs) ?? parseDuration(taskDefaults.keep);
      const outcome = await this.store.cancel(each, keepMs);
      if (outcome === "cancelled" || outcome === "requested") said = outcome;
      else if (said === "unknown") said = outcome;
    }
    return said;
  }

  async start(): Promise<void> {
    this.#lifecycle.assertOpen();
    this.#work.start();
    this.#scheduler.start();
  }

  stats(): TasksStats {
    return this.#work.stats();
  }

  close(): Promise<void> {
    return this.#lifecycle.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * Makes the tasks of a service ready: to be enqueued at once, to be worked on after start(). When the store cannot be reached it does not
 * wait: workers begin as soon as it answers, and whoever enqueues until then is told.
 * @throws MILLRACE_OPTION_INVALID, MILLRACE_OPTION_UNKNOWN, MILLRACE_TASKS_DEFINITION_INVALID, MILLRACE_TASKS_SETUP_REFUSED
 */
export async function createTasks(options: TasksOptions): Promise<Tasks> {
  const resolved = resolveOptions<TasksOptions, typeof tasksChecks>("createTasks", options, tasksDefaults, tasksChecks);
  const tasks = new TasksHandle(resolved);
  try {
    await tasks.ready();
  } catch (error) {
    if (tasksErrors.is(error, "MILLRACE_TASKS_STORE_UNAVAILABLE")) return tasks;
    await tasks.close();
    throw error;
  }
  return tasks;
}
