// One attempt of one task: input, context, handler, and how it has ended as a settlement for the store.
//
// | the handler                              | and the signal was aborted by | becomes                            |
// | ---------------------------------------- | ----------------------------- | ---------------------------------- |
// | returns                                  | anything or nothing           | complete                           |
// | returns, and a chain goes on behind it   | cancel()                      | cancelled: the chain ends          |
// | throws                                   | nothing                       | retry or dead, as retry.ts decides |
// | throws, or does not end within the grace | the timeout                   | retry or dead, by the timeout      |
// |                                          | cancel()                      | cancelled                          |
// |                                          | the end of a drain            | release                            |
// |                                          | a lost lease                  | nothing: it is somebody else's     |

import { Deadline, type WorkContext, runInContext } from "../concurrency/index.ts";
import { type Clock, MillraceError } from "../core/index.ts";
import { type Database, type Transaction, sql, unobserved } from "../database/index.ts";
import { taskAbandonedChannel } from "./channels.ts";
import { tasksErrors } from "./errors.ts";
import { failureJson } from "./failure-json.ts";
import { knowsNext, nextBatch } from "./flows.ts";
import { type MemberOutcome, groupMembers } from "./group-members.ts";
import { type TaskMeta, readMeta } from "./meta.ts";
import type { TaskLogger } from "./options.ts";
import { afterFailure } from "./retry.ts";
import type { ClaimedTask, Settlement, TaskStore } from "./store.ts";
import type { AnyTask, TaskNamed, TaskRun } from "./task.ts";

/** What all attempts of a process share. */
export interface AttemptHost {
  readonly database: Database | undefined;
  readonly logger: TaskLogger;
  readonly clock: Clock;
  readonly random: () => number;
  readonly graceMs: number;
  /** Keeps progress, some time soon. */
  saveProgress(claimed: ClaimedTask, value: unknown): void;
  /** Every task of this process. */
  readonly tasks: ReadonlyMap<string, AnyTask>;
  readonly store: TaskStore;
}

/** How long what this process does not know waits for one that does: deploys of the next version are a matter of seconds. */
export const unknownPauseMs = 10_000;

/** How an attempt has ended. */
export interface AttemptEnd {
  /** Undefined: the lease is lost, and there is nothing to tell. */
  readonly settlement: Settlement | undefined;
  readonly error: unknown;
}

/** A result is for whoever asks, not a file. */
const maxResultLength = 1_000_000;

/** The handler's argument. What not every handler needs is made when it is asked for. */
class Run implements TaskRun<unknown>, WorkContext {
  readonly input: unknown;
  readonly deadline: Deadline;
  readonly requestId: string;
  tenant: string | undefined;
  principalId: string | undefined;
  readonly trace: WorkContext["trace"];
  readonly #host: AttemptHost;
  readonly #claimed: ClaimedTask;
  readonly #group: string | undefined;
  #log: TaskLogger | undefined;

  constructor(host: AttemptHost, claimed: ClaimedTask, input: unknown, deadline: Deadline, { context, group }: TaskMeta) {
    this.#group = group;
    this.#host = host;
    this.#claimed = claimed;
    this.input = input;
    this.deadline = deadline;
    this.requestId = claimed.id;
    this.tenant = context?.tenant;
    this.principalId = context?.principalId;
    this.trace = context?.trace;
  }

  get id(): string {
    return this.#claimed.id;
  }

  get attempt(): number {
    return this.#claimed.attempt;
  }

  get signal(): AbortSignal {
    return this.deadline.signal;
  }

  get log(): TaskLogger {
    const { id, name, attempt } = this.#claimed;
    return (this.#log ??= this.#host.logger.child({ taskId: id, task: name, attempt }));
  }

  get db(): Database {
    const { database } = this.#host;
    if (!database) throw tasksErrors.create("MILLRACE_TASKS_NO_DATABASE", { task: this.#claimed.name });
    return database;
  }

  readonly progress = (value: unknown): void => this.#host.saveProgress(this.#claimed, value);

  readonly claim = async (tx: Transaction, key?: string): Promise<boolean> => {
    const claimed = key === undefined ? this.#claimed.id : `${this.#claimed.name}:${key}`;
    const rows = await unobserved(() =>
      tx.many(sql`insert into millrace.task_claims (key) values (${claimed}) on conflict (key) do nothing returning 1`),
    );
    return rows.length > 0;
  };

  readonly members = <Result>(of?: TaskNamed<Result>): AsyncIterable<MemberOutcome<Awaited<Result>>> =>
    groupMembers<Result>(this.#host.store, this.#group, of);
}

/**
 * Runs `claimed` under `deadline`, whose abort ends it. Never rejects. When it resolves the slot is free, even if a handler that ignores its
 * signal goes on: then nobody waits for it any more.
 */
export async function runAttempt(host: AttemptHost, task: AnyTask, claimed: ClaimedTask, deadline: Deadline): Promise<AttemptEnd> {
  const lease = { id: claimed.id, attempt: claimed.attempt, lease: claimed.lease };
  const { keepDeadMs: keepMs } = task;
  if (claimed.attempt > task.retry.attempts) {
    // Attempts that end by themselves are counted by afterFailure(); more than there may be means that workers died with it.
    const error = tasksErrors.create("MILLRACE_TASKS_CRASHED", { task: task.name, attempts: claimed.attempt - 1 });
    return { settlement: { kind: "dead", task: lease, reason: "crashed", error: failureJson(error), keepMs }, error };
  }
  const meta = readMeta(claimed.meta);
  if (!knowsNext(meta, host.tasks)) {
    host.logger.warn(
      { taskId: claimed.id, task: task.name },
      "This worker does not know what follows the task; it is left to others.",
    );
    return { settlement: { kind: "release", task: lease, delayMs: unknownPauseMs }, error: undefined };
  }
  let input: unknown;
  try {
    input = task.input.read(claimed.input);
  } catch (error) {
    return { settlement: { kind: "dead", task: lease, reason: "input", error: failureJson(error), keepMs }, error };
  }
  try {
    const result = await handled(host, task, claimed, new Run(host, claimed, input, deadline, meta), deadline);
    const json = resultJson(task, result);
    if (meta.next && tasksErrors.is(deadline.reason, "MILLRACE_TASKS_CANCELLED")) {
      return { settlement: { kind: "cancelled", task: lease, keepMs: task.keepMs }, error: deadline.reason };
    }
    const next = nextBatch(meta, json, host.tasks);
    return { settlement: { kind: "complete", task: lease, result: json, keepMs: task.keepMs, next }, error: undefined };
  } catch (thrown) {
    const error = deadline.aborted ? deadline.reason : thrown;
    if (deadline.aborted && error instanceof MillraceError) {
      if (error.code === "MILLRACE_TASKS_LEASE_LOST") return { settlement: undefined, error };
      if (error.code === "MILLRACE_TASKS_CANCELLED")
        return { settlement: { kind: "cancelled", task: lease, keepMs: task.keepMs }, error };
      if (error.code === "MILLRACE_TASKS_DRAINED") return { settlement: { kind: "release", task: lease, delayMs: 0 }, error };
    }
    const after = afterFailure(task, error, claimed.attempt, host.random);
    const json = failureJson(error);
    return after.kind === "retry"
      ? { settlement: { kind: "retry", task: lease, delayMs: after.delayMs, error: json }, error }
      : { settlement: { kind: "dead", task: lease, reason: after.reason, error: json, keepMs }, error };
  }
}

/** The handler's result; rejects with the abort's reason when it has not ended within the grace after an abort. */
async function handled(host: AttemptHost, task: AnyTask, claimed: ClaimedTask, run: Run, deadline: Deadline): Promise<unknown> {
  deadline.throwIfAborted();
  const result = runInContext(run, () => (task.handler as (run: TaskRun<unknown>) => unknown)(run));
  if (!isPromise(result)) return result;
  const { promise: abandoned, reject } = Promise.withResolvers<never>();
  let grace: Disposable | undefined;
  const forget = deadline.onAbort((reason) => {
    grace = host.clock.timer(
      host.graceMs,
      () => {
        const { id, name, queue, attempt } = claimed;
        if (taskAbandonedChannel.hasSubscribers) taskAbandonedChannel.publish({ id, name, queue, attempt, reason });
        host.logger.warn({ taskId: id, task: name, attempt }, "The handler ignores its signal and is not waited for any more.");
        reject(reason);
      },
      true,
    );
  });
  try {
    return await Promise.race([result, abandoned]);
  } finally {
    forget();
    grace?.[Symbol.dispose]();
  }
}

const isPromise = (value: unknown): value is Promise<unknown> =>
  typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";

/** @throws MILLRACE_TASKS_RESULT_INVALID */
function resultJson(task: AnyTask, result: unknown): string | undefined {
  if (result === undefined) return undefined;
  let json: string | undefined;
  try {
    json = JSON.stringify(result) as string | undefined;
  } catch (error) {
    throw tasksErrors.create("MILLRACE_TASKS_RESULT_INVALID", { task: task.name, reason: "cannot be written as JSON" }, error);
  }
  if (json !== undefined && json.length > maxResultLength) {
    throw tasksErrors.create("MILLRACE_TASKS_RESULT_INVALID", {
      task: task.name,
      reason: `takes ${json.length} characters as JSON, and may take ${maxResultLength}`,
    });
  }
  return json;
}
