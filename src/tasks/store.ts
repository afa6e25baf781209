// The contract of a task store: where tasks wait, who runs them, and what became of them. docs/task-stores.md explains it;
// millrace/testing has the suite that every store must pass (taskStoreContract).
//
// | state     | left by                                                                  | for                         |
// | --------- | ------------------------------------------------------------------------ | --------------------------- |
// | waiting   | fetch(), when it is due and no limit holds it back                        | active                      |
// |           | cancel()                                                                  | cancelled                   |
// | active    | settle(): complete, retry, release, dead, cancelled, by its holder only   | completed, waiting, dead, … |
// |           | recover(), when the lease has run out                                     | waiting, or cancelled       |
// | dead      | redrive()                                                                 | waiting                     |
// | completed, cancelled, dead | cleanUp(), when they were kept long enough               | gone                        |
//
// Who calls what. The runtime (worker.ts and what it consists of): fetch, settle, extend, recover, nextDue, saveProgress, subscribe,
// cleanUp. Whoever enqueues (enqueue.ts): enqueue. Schedules (schedules.ts): scheduleState, claimSchedule. Chains and groups
// (flows.ts): enqueue with groups, settle's `next`, groupResults. People, by the command line and the tasks' handle: show, list,
// queues, cancel, makeDue, redrive, discard, pause, resume.
//
// A store judges nothing: how often a task is tried, how long it waits between, when it is given up is decided by the runtime, from
// the task's definition in the code that runs. Texts that are called JSON are kept byte for byte and not looked into.

import type { Closeable } from "../core/index.ts";
import type { Transaction } from "../database/index.ts";

/** What a task is at. `waiting` includes those whose time has not come; their `dueAtMs` says so. */
export type TaskState = "waiting" | "active" | "completed" | "cancelled" | "dead";

/** 0 is taken first: urgent, high, normal, low. */
export type PriorityRank = 0 | 1 | 2 | 3;

/** A limit on how many tasks that share a key are active at once, in all processes together. */
export interface ConcurrencyLimit {
  /** At most 200 characters. The runtime puts the task's name before it. */
  readonly key: string;
  /** At least 1. Among tasks of one key the one that would be taken next decides. */
  readonly max: number;
}

/** Of the tasks with one key only one is accepted until the key is free again. */
export interface Uniqueness {
  /** At most 200 characters. The runtime puts the task's name before it. */
  readonly key: string;
  /**
   * When the key is free again: "finished" (completed, cancelled or dead), "started" (first fetched), or this many milliseconds after it
   * was accepted, whatever became of it.
   */
  readonly until: "finished" | "started" | number;
}

/** A task as it is handed in. */
export interface NewTask {
  /** A UUID, made by whoever enqueues: version 7, so that ids sort by time. An id that exists is not enqueued again: see EnqueueOutcome. */
  readonly id: string;
  /** At most 100 characters: letters, digits, ".", "_", "-". */
  readonly queue: string;
  /** The task's name, at most 100 characters of the same kind. */
  readonly name: string;
  /** JSON. */
  readonly input: string;
  /** JSON of the runtime's own: trace, tenant, what to do next in a chain. Default: none. */
  readonly meta?: string | undefined;
  readonly priority: PriorityRank;
  /** Not before this many milliseconds from now, on the store's clock. Default 0: at once. Up to ten years. */
  readonly delayMs?: number | undefined;
  /** Not before this moment, in milliseconds since the epoch. Given instead of delayMs. */
  readonly atMs?: number | undefined;
  readonly concurrency?: ConcurrencyLimit | undefined;
  readonly unique?: Uniqueness | undefined;
  /** The group whose member it is. It is accepted together with the group. */
  readonly group?: string | undefined;
}

/** Tasks that belong together, and one that follows once they are through. */
export interface NewGroup {
  /** A UUID. */
  readonly id: string;
  /** How many members there are; all of them are in the same batch. At least 1. */
  readonly size: number;
  /**
   * What the callback waits for. "completed": every member has completed or was cancelled; one that is dead is waited for until it is
   * redriven or discarded. "settled": every member is through, dead ones included.
   */
  readonly when: "completed" | "settled";
  /** Enqueued exactly once, in the transaction that settles the last member. Undefined: nothing follows. */
  readonly callback?: NewTask | undefined;
  /** How long the results of members are kept after the group has ended. */
  readonly keepMs: number;
}

/** What is accepted together: all of it or nothing. */
export interface EnqueueBatch {
  readonly tasks: readonly NewTask[];
  readonly groups?: readonly NewGroup[] | undefined;
}

/**
 * A transaction that the tasks belong to: they exist if and only if it commits. Ours, or whatever has the query method of a pg client
 * that is inside of a transaction (an ORM's).
 */
export type EnqueueTransaction = Transaction | PgQueryable;

/** The query method of a pg client. A store cannot know when its transaction commits: workers hear of such tasks when they look next. */
export interface PgQueryable {
  query(config: {
    readonly text: string;
    readonly values: unknown[];
    readonly name?: string;
  }): Promise<{ readonly rows: unknown[] }>;
}

export interface EnqueueOptions {
  /** Default: none, the batch is a transaction of its own. Never more than one round trip for one task. */
  readonly in?: EnqueueTransaction | undefined;
}

/** What became of one task that was handed in. */
export interface EnqueueOutcome {
  /** The task that exists now: the new one, or the earlier one whose unique key holds. */
  readonly id: string;
  /** False: an earlier one was there, by its unique key or by the same id. */
  readonly accepted: boolean;
}

/** How many tasks of a queue are wanted. */
export interface FetchDemand {
  readonly queue: string;
  /** At least 1. */
  readonly limit: number;
  /** At most `max` starts of the queue in any window of `perMs`, in all processes that say so together. Released tasks count. */
  readonly rate?: { readonly max: number; readonly perMs: number } | undefined;
}

export interface FetchOptions {
  /** Names the process in lists. */
  readonly worker: string;
  /** How long the tasks belong to the caller unless it extends: 1 s to 1 day. */
  readonly leaseMs: number;
}

/** A right to settle: void as soon as the task was fetched again, recovered or settled. */
export interface TaskLease {
  readonly id: string;
  /** How often it was fetched and not released, this time included. From 1. */
  readonly attempt: number;
  /** Opaque; different for every fetch. */
  readonly lease: string;
}

/** A task that the caller holds. */
export interface ClaimedTask extends TaskLease {
  readonly queue: string;
  readonly name: string;
  readonly input: string;
  readonly meta: string | undefined;
  readonly priority: PriorityRank;
  readonly enqueuedAtMs: number;
  /** Since when it could have been taken. */
  readonly dueAtMs: number;
  /** What saveProgress() has kept, in an earlier attempt too. */
  readonly progress: string | undefined;
  readonly group: string | undefined;
}

/** Why a task is in the dead letter. "crashed": its workers died or fell silent with it until no attempt was left. */
export type DeadReason = "attempts" | "fatal" | "input" | "crashed";

/**
 * How an attempt ended, from who holds the lease. A task that was asked to stop meanwhile and would be waiting again (retry, release)
 * becomes cancelled instead.
 */
export type Settlement =
  | {
      readonly kind: "complete";
      readonly task: TaskLease;
      /** JSON; undefined: none. */
      readonly result?: string | undefined;
      /** How long it is kept. 0: it is gone at once, unless a group waits for it. */
      readonly keepMs: number;
      /** Enqueued in the same transaction: what comes next in a chain. Uniqueness is not asked for here. */
      readonly next?: EnqueueBatch | undefined;
    }
  /** It failed and is tried again. */
  | { readonly kind: "retry"; readonly task: TaskLease; readonly delayMs: number; readonly error: string }
  /** It is handed back untried, and the attempt does not count: a drain, a task that this process does not know. */
  | { readonly kind: "release"; readonly task: TaskLease; readonly delayMs: number }
  /** It is given up. */
  | {
      readonly kind: "dead";
      readonly task: TaskLease;
      readonly reason: DeadReason;
      readonly error: string;
      readonly keepMs: number;
    }
  /** It was stopped as cancel() asked. */
  | { readonly kind: "cancelled"; readonly task: TaskLease; readonly keepMs: number };

/** "fenced": the lease was void, and nothing was changed. */
export type SettleOutcome = "settled" | "fenced";

/** "cancelled": it is still the caller's, who should stop it and settle it as cancelled. "lost": it is not any more. */
export type LeaseState = "held" | "cancelled" | "lost";

/** A task whose lease had run out. */
export interface RecoveredTask {
  readonly id: string;
  readonly queue: string;
  readonly name: string;
  /** The attempt that was cut short; it counts. */
  readonly attempt: number;
  /** Who had it. */
  readonly worker: string;
  readonly became: "waiting" | "cancelled";
}

/** What can be known about a task. */
export interface TaskRecord {
  readonly id: string;
  readonly queue: string;
  readonly name: string;
  readonly state: TaskState;
  readonly priority: PriorityRank;
  readonly attempt: number;
  readonly input: string;
  readonly meta: string | undefined;
  readonly progress: string | undefined;
  /** JSON; only of completed ones. */
  readonly result: string | undefined;
  /** JSON: what the last attempt failed with, if one has failed. */
  readonly error: string | undefined;
  readonly deadReason: DeadReason | undefined;
  /** Whether cancel() was called while it was active. */
  readonly cancelRequested: boolean;
  readonly concurrencyKey: string | undefined;
  readonly uniqueKey: string | undefined;
  readonly group: string | undefined;
  /** Who has it; only of active ones. */
  readonly worker: string | undefined;
  readonly enqueuedAtMs: number;
  /** When it may be or could have been taken. */
  readonly dueAtMs: number;
  /** When the last attempt began. */
  readonly startedAtMs: number | undefined;
  readonly finishedAtMs: number | undefined;
}

export interface TaskFilter {
  /** Default: any. */
  readonly state?: TaskState | undefined;
  readonly queue?: string | undefined;
  readonly name?: string | undefined;
  readonly group?: string | undefined;
  /** Only ids before this one: pages go from the newest to the oldest. */
  readonly before?: string | undefined;
  /** 1 to 1,000. */
  readonly limit: number;
}

/** A queue that has tasks, or is paused. Completed and cancelled tasks are not counted. */
export interface QueueState {
  readonly queue: string;
  readonly paused: boolean;
  /** Due now. */
  readonly waiting: number;
  /** Not due yet. */
  readonly delayed: number;
  readonly active: number;
  readonly dead: number;
  /** For how long the oldest that is due has been. */
  readonly oldestWaitingMs: number | undefined;
}

/** "requested": it is active; who has it hears of it, and it ends when that one settles. "finished": it had ended already. */
export type CancelOutcome = "cancelled" | "requested" | "finished" | "unknown";

/** One member of a group that is through. */
export interface GroupResult {
  readonly id: string;
  readonly name: string;
  readonly state: "completed" | "cancelled" | "dead";
  readonly result: string | undefined;
  readonly error: string | undefined;
}

/** Who is dead and shall be tried again or forgotten. At least one of `ids`, `queue`, `name`. */
export interface DeadFilter {
  readonly ids?: readonly string[] | undefined;
  readonly queue?: string | undefined;
  readonly name?: string | undefined;
  /** At most so many, the oldest first. */
  readonly limit: number;
}

/** What a store tells those who listen. Hints: they may come twice, late or never, and workers look by themselves now and then. */
export type StoreEvent =
  /** Something of the queue may have become due, or the queue was resumed. */
  | { readonly kind: "ready"; readonly queue: string }
  /** An active task shall stop. */
  | { readonly kind: "cancel"; readonly id: string }
  /** Events may have been missed: look at everything. */
  | { readonly kind: "missed" };

/**
 * A store. Every method rejects with MILLRACE_TASKS_STORE_UNAVAILABLE when the server cannot be reached or answers in no bounded time;
 * then what was asked for may have happened or not, and asking again is safe: enqueue by the ids, settle by the leases. Times are
 * the server's, so that the clocks of workers do not matter.
 */
export interface TaskStore extends Closeable {
  /** "postgresql", "redis": for messages and metrics. */
  readonly name: string;

  /**
   * Makes what it needs on its server, or finds it there. Idempotent, and safe in many processes at once.
   * @throws MILLRACE_TASKS_SETUP_REFUSED when the role may not
   */
  setup(): Promise<void>;

  /** All or nothing. Outcomes are in the order of `batch.tasks`. One task is one round trip, in a transaction too. */
  enqueue(batch: EnqueueBatch, options?: EnqueueOptions): Promise<readonly EnqueueOutcome[]>;

  /**
   * Takes tasks that are due, of queues that are not paused: lower rank first, then the longer due. Tasks with a concurrency key are
   * taken in turn among the keys, so that a key with many tasks does not starve the others, and by rank within each. Nothing
   * is taken twice: a task belongs to one lease at a time.
   */
  fetch(demands: readonly FetchDemand[], options: FetchOptions): Promise<readonly ClaimedTask[]>;

  /**
   * Outcomes are in the order of `settlements`. Each is judged by its own lease; one that is fenced does not hold up the others. Of a lease
   * that is named twice the first settlement counts.
   */
  settle(settlements: readonly Settlement[]): Promise<readonly SettleOutcome[]>;

  /** Prolongs leases to `leaseMs` from now. One that has run out but that nobody has recovered yet is still held. */
  extend(leases: readonly TaskLease[], leaseMs: number): Promise<readonly LeaseState[]>;

  /** Keeps the latest progress of tasks that the caller holds; others are ignored. `progress` is JSON. */
  saveProgress(updates: readonly { readonly task: TaskLease; readonly progress: string }[]): Promise<void>;

  /**
   * Makes tasks whose lease has run out waiting again, due after `delayMs`; those that were to be cancelled become cancelled, kept for
   * `keepMs`. At most `limit` a call. Any number of processes may call it at once.
   */
  recover(options: {
    readonly limit: number;
    readonly delayMs: number;
    readonly keepMs: number;
  }): Promise<readonly RecoveredTask[]>;

  /**
   * Milliseconds until something of these queues may be taken, by its time or by the rate; 0: now; undefined: nothing is waiting, or
   * the queue is paused. May be too early, never later than right. What concurrency keys hold back does not count.
   */
  nextDue(demands: readonly FetchDemand[]): Promise<number | undefined>;

  /** Calls `listener` with events of any process, from when the store has begun to listen. A listener must not throw. */
  subscribe(listener: (event: StoreEvent) => void): Promise<Closeable>;

  show(id: string): Promise<TaskRecord | undefined>;
  /** From the newest id to the oldest. */
  list(filter: TaskFilter): Promise<readonly TaskRecord[]>;
  queues(): Promise<readonly QueueState[]>;

  /** A waiting task is cancelled and kept for `keepMs`; an active one is asked to stop. */
  cancel(id: string, keepMs: number): Promise<CancelOutcome>;
  /** Makes a waiting task due now. False: it is not waiting. */
  makeDue(id: string): Promise<boolean>;
  /** Makes dead tasks waiting again, as new: attempt 0, due now. Their unique keys are not claimed again. Returns their ids. */
  redrive(filter: DeadFilter): Promise<readonly string[]>;
  /** Forgets dead tasks. A group that waited for one no longer does. Returns their ids. */
  discard(filter: DeadFilter): Promise<readonly string[]>;
  /** Nothing of the queue is taken any more; what is active goes on. Pausing twice is pausing once. */
  pause(queue: string): Promise<void>;
  resume(queue: string): Promise<void>;

  /** Members that are through, ordered by id, after `after`. `limit` is 1 to 1,000. */
  groupResults(
    group: string,
    options: { readonly after?: string | undefined; readonly limit: number },
  ): Promise<readonly GroupResult[]>;

  /**
   * When the schedule last had its task enqueued, in milliseconds since the epoch. The first call for a name keeps `sinceMs` as the answer,
   * so that a schedule that is new does not run for the past.
   */
  scheduleState(name: string, sinceMs: number): Promise<number>;
  /**
   * Enqueues the task of the occurrence `dueAtMs`, unless this or a later occurrence was claimed before: of any number of processes one
   * gets true. One transaction.
   */
  claimSchedule(name: string, dueAtMs: number, task: NewTask): Promise<boolean>;

  /**
   * Removes what was kept long enough, at most `limit` of each kind; a dead task that goes counts as discarded. Returns how many went; call
   * again while that is `limit` or more.
   */
  cleanUp(options: { readonly limit: number }): Promise<number>;
}
