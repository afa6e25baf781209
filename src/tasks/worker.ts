// The worker of one process: poller, slots, leases, settler and housekeeping put together. See docs/tasks.md.
//
// | state    | left by | what then happens                                                        |
// | -------- | ------- | ------------------------------------------------------------------------ |
// | idle     | start() | it fetches, runs, settles                                                  |
// | working  | close() | nothing more is fetched, what was fetched ahead goes back                  |
// | draining | the last attempt has ended, or the drain time is over: those are aborted and go back | stopped |
// | stopped  |         |                                                                          |

import { Deadline } from "../concurrency/index.ts";
import { type Clock, type Closeable, formatDuration } from "../core/index.ts";
import { type AttemptEnd, type AttemptHost, runAttempt, unknownPauseMs } from "./attempt.ts";
import { taskEndChannel, taskStartChannel, taskWorkerChannel } from "./channels.ts";
import { tasksErrors } from "./errors.ts";
import { Housekeeping } from "./housekeeping.ts";
import { Leases } from "./leases.ts";
import type { TaskLogger } from "./options.ts";
import { Poller } from "./poller.ts";
import type { ProgressKeeper } from "./progress.ts";
import { type SettledAs, Settler } from "./settler.ts";
import type { ClaimedTask, Settlement, StoreEvent, TaskStore } from "./store.ts";
import type { AnyTask } from "./task.ts";
import type { TasksStats } from "./tasks.ts";
import type { WorkQueue } from "./work-queue.ts";

/** How long the last settlements may take after everything else has ended. */
const lastSettlementsMs = 5_000;

export interface WorkerOptions {
  readonly store: TaskStore;
  readonly name: string;
  readonly tasks: ReadonlyMap<string, AnyTask>;
  readonly queues: readonly WorkQueue[];
  readonly host: AttemptHost;
  readonly progress: ProgressKeeper;
  readonly logger: TaskLogger;
  readonly clock: Clock;
  readonly random: () => number;
  readonly leaseMs: number;
  readonly graceMs: number;
  readonly drainMs: number;
  readonly pollIntervalMs: number;
  /** Makes the store ready, or rejects. */
  readonly ready: () => Promise<void>;
}

type Outcome = keyof TasksStats["ended"];

const outcomeOf: Readonly<Record<Settlement["kind"], Outcome>> = {
  complete: "completed",
  retry: "retried",
  release: "released",
  dead: "dead",
  cancelled: "cancelled",
};

export class Worker {
  readonly #options: WorkerOptions;
  readonly #queues: ReadonlyMap<string, WorkQueue>;
  readonly #poller: Poller;
  readonly #leases: Leases;
  readonly #settler: Settler;
  readonly #housekeeping: Housekeeping;
  readonly #running = new Map<ClaimedTask, Deadline>();
  readonly #ended: Record<Outcome, number> = { completed: 0, retried: 0, dead: 0, cancelled: 0, released: 0, fenced: 0 };
  readonly #warnedOf = new Set<string>();
  #subscription: Promise<Closeable | undefined> | undefined;
  #working = false;
  #closed: Promise<void> | undefined;
  #storeIsLost = false;
  /** Told when the last attempt ends. */
  #whenEmpty: (() => void) | undefined;

  constructor(options: WorkerOptions) {
    this.#options = options;
    const { store, clock, random, queues, leaseMs } = options;
    this.#queues = new Map(queues.map((queue) => [queue.name, queue]));
    const onFailure = (error: unknown): void => this.#failed(error);
    const onSuccess = (): void => this.#succeeded();
    this.#leases = new Leases({ store, clock, leaseMs, onFailure });
    this.#settler = new Settler({ store, clock, random, onFailure, onSuccess });
    this.#housekeeping = new Housekeeping({ store, clock, random, leaseMs, onFailure, onRecovered: () => this.#poller.heardOf() });
    this.#poller = new Poller({
      store,
      clock,
      random,
      queues,
      fetch: { worker: options.name, leaseMs },
      pollIntervalMs: options.pollIntervalMs,
      ready: options.ready,
      onTasks: (claimed, beforeMs) => this.#take(claimed, beforeMs),
      onFailure,
      onSuccess,
    });
  }

  start(): void {
    if (this.#working || this.#closed) return;
    this.#working = true;
    this.#tell("started");
    this.#poller.start();
    this.#leases.start();
    this.#housekeeping.start();
    this.#subscription = this.#options
      .ready()
      .then(
        () => this.#options.store.subscribe((event) => this.#hear(event)),
        () => undefined, // the poller says so, and looks without being told
      )
      .catch(() => undefined);
  }

  stats(): TasksStats {
    return {
      working: this.#working && !this.#closed,
      running: this.#running.size,
      buffered: [...this.#queues.values()].reduce((sum, { buffer }) => sum + buffer.length, 0),
      ended: { ...this.#ended },
    };
  }

  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #close(): Promise<void> {
    if (!this.#working) return;
    const { drainMs, graceMs } = this.#options;
    this.#tell("draining");
    const housekeeping = this.#housekeeping.stop();
    await this.#poller.stop();
    for (const queue of this.#queues.values()) {
      for (const claimed of queue.buffer.splice(0)) this.#handBack(claimed, 0);
    }
    if (!(await this.#empty(drainMs))) {
      for (const [{ name }, deadline] of this.#running) {
        deadline.abort(tasksErrors.create("MILLRACE_TASKS_DRAINED", { task: name }));
      }
      await this.#empty(graceMs + 1_000);
    }
    await housekeeping;
    await this.#settler.close(lastSettlementsMs);
    await this.#leases.stop();
    await (await this.#subscription)?.close().catch(() => {});
    this.#tell("stopped");
  }

  /** Whether all attempts have ended within `ms`. */
  async #empty(ms: number): Promise<boolean> {
    if (this.#running.size === 0) return true;
    const { promise, resolve } = Promise.withResolvers<void>();
    using _timer = this.#options.clock.timer(ms, resolve, true);
    this.#whenEmpty = resolve;
    await promise;
    this.#whenEmpty = undefined;
    return this.#running.size === 0;
  }

  #hear(event: StoreEvent): void {
    if (event.kind === "cancel") this.#leases.cancel(event.id);
    else this.#poller.heardOf(event.kind === "ready" ? event.queue : undefined);
  }

  #take(claimed: readonly ClaimedTask[], beforeMs: number): void {
    for (const task of claimed) {
      this.#leases.hold(task, beforeMs, (why) => this.#stop(task, why));
      this.#queues.get(task.queue)!.buffer.push(task);
    }
    for (const queue of this.#queues.values()) this.#pump(queue);
  }

  /** Fills the slots. */
  #pump(queue: WorkQueue): void {
    if (this.#closed) return;
    for (let claimed = queue.next(); claimed; claimed = queue.next()) {
      const task = this.#options.tasks.get(claimed.name);
      if (task) void this.#run(task, claimed, queue);
      else {
        queue.end();
        this.#unknown(claimed);
      }
    }
  }

  async #run(task: AnyTask, claimed: ClaimedTask, queue: WorkQueue): Promise<void> {
    const { clock, host } = this.#options;
    const startedMs = clock.monotonic();
    const deadline = new Deadline({ timeoutMs: task.timeoutMs === Infinity ? undefined : task.timeoutMs, clock });
    this.#running.set(claimed, deadline);
    const { id, name, attempt } = claimed;
    if (taskStartChannel.hasSubscribers) {
      taskStartChannel.publish({ id, name, queue: queue.name, attempt, waitedMs: Math.max(0, clock.now() - claimed.dueAtMs) });
    }
    const end = await runAttempt(host, task, claimed, deadline);
    const lastProgress = this.#options.progress.flush(claimed);
    if (lastProgress) await lastProgress;
    deadline[Symbol.dispose]();
    this.#running.delete(claimed);
    queue.end();
    void this.#settle(claimed, end, clock.monotonic() - startedMs, task.concurrencyPer !== undefined);
    this.#pump(queue);
    this.#poller.poke();
    if (this.#running.size === 0) this.#whenEmpty?.();
  }

  async #settle(claimed: ClaimedTask, { settlement, error }: AttemptEnd, durationMs: number, keyed: boolean): Promise<void> {
    const answer: SettledAs = settlement ? await this.#settler.settle(settlement) : "fenced";
    this.#leases.drop(claimed);
    const outcome = settlement && answer === "settled" ? outcomeOf[settlement.kind] : "fenced";
    this.#ended[outcome]++;
    const delayMs = settlement?.kind === "retry" ? settlement.delayMs : undefined;
    if (answer === "settled" && delayMs !== undefined) this.#poller.dueIn(delayMs);
    if (keyed) this.#poller.heardOf(claimed.queue); // a place of its key is free
    const { id, name, queue, attempt } = claimed;
    if (taskEndChannel.hasSubscribers) {
      const deadReason = settlement?.kind === "dead" ? settlement.reason : undefined;
      taskEndChannel.publish({ id, name, queue, attempt, outcome, durationMs, delayMs, deadReason, error });
    }
    this.#log(claimed, outcome, durationMs, delayMs, error);
  }

  #log(
    { id, name, queue, attempt }: ClaimedTask,
    outcome: Outcome,
    durationMs: number,
    delayMs: number | undefined,
    err: unknown,
  ): void {
    const { logger } = this.#options;
    const line = { taskId: id, task: name, queue, attempt, outcome, ms: Math.round(durationMs * 100) / 100 };
    switch (outcome) {
      case "dead":
        return logger.error({ ...line, err }, "task");
      case "retried":
        return logger.warn({ ...line, retryInMs: delayMs, err }, "task");
      case "fenced":
        return logger.warn({ ...line, err }, "The task had been taken from this worker; what it did here does not count.");
      default:
        return logger.info(line, "task");
    }
  }

  #stop(claimed: ClaimedTask, why: "cancelled" | "lost"): void {
    const { name } = claimed;
    const deadline = this.#running.get(claimed);
    if (why === "lost") {
      deadline?.abort(tasksErrors.create("MILLRACE_TASKS_LEASE_LOST", { task: name }));
      if (!deadline && this.#unbuffer(claimed)) this.#leases.drop(claimed);
      return;
    }
    const error = tasksErrors.create("MILLRACE_TASKS_CANCELLED", { task: name });
    if (deadline) deadline.abort(error);
    else if (this.#unbuffer(claimed)) {
      const keepMs = this.#options.tasks.get(name)?.keepMs ?? 0;
      void this.#settle(claimed, { settlement: { kind: "cancelled", task: claimed, keepMs }, error }, 0, true);
    }
  }

  /** Takes it from what was fetched ahead. */
  #unbuffer(claimed: ClaimedTask): boolean {
    const buffer = this.#queues.get(claimed.queue)!.buffer;
    const at = buffer.indexOf(claimed);
    if (at === -1) return false;
    buffer.splice(at, 1);
    return true;
  }

  /** It was enqueued by a version that knows it. */
  #unknown(claimed: ClaimedTask): void {
    const { name, queue } = claimed;
    if (!this.#warnedOf.has(name) && this.#warnedOf.size < 1_000) {
      this.#warnedOf.add(name);
      this.#options.logger.warn(
        { task: name, queue },
        `This worker does not know the task; it is left to others for ${formatDuration(unknownPauseMs)} at a time.`,
      );
    }
    this.#handBack(claimed, unknownPauseMs);
  }

  #handBack(claimed: ClaimedTask, delayMs: number): void {
    void this.#settle(claimed, { settlement: { kind: "release", task: claimed, delayMs }, error: undefined }, 0, false);
  }

  #failed(error: unknown): void {
    if (this.#storeIsLost) return;
    this.#storeIsLost = true;
    this.#tell("store-lost", error instanceof Error ? error.message : String(error));
    this.#options.logger.error({ err: error }, "The tasks' store does not answer; it is tried again.");
  }

  #succeeded(): void {
    if (!this.#storeIsLost) return;
    this.#storeIsLost = false;
    this.#tell("store-back");
    this.#options.logger.info("The tasks' store answers again.");
    // Its events may have been missed.
    this.#poller.heardOf();
  }

  #tell(state: "started" | "store-lost" | "store-back" | "draining" | "stopped", reason?: string): void {
    if (taskWorkerChannel.hasSubscribers) taskWorkerChannel.publish({ worker: this.#options.name, state, reason });
  }
}
