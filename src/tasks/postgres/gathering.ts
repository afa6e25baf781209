// Enqueues of callers that wait at the same time share a statement, and with it a round trip and a commit (group commit: DeWitt et al.,
// SIGMOD 1984). The first goes at once; what comes while its statement is on its way goes together with the next. Nobody waits for company.

import { AsyncLocalStorage } from "node:async_hooks";
import { setImmediate as turn } from "node:timers/promises";
import { type Ending, type Waiter, startWaiting } from "../../concurrency/index.ts";
import { storeUnavailable } from "../store-failure.ts";
import type { EnqueueOutcome, NewTask } from "../store.ts";
import { type EnqueueStatement, manyTasks, oneTask } from "./enqueue.ts";

/** Per statement. Who comes later is not held up by more than these take: some ten milliseconds. */
const most = { tasks: 500, characters: 512 * 1_024 };

/** On their way at once: a second one keeps a lone caller from waiting for the commit of another. More would only make batches smaller. */
const mostStatements = 2;

/** More than a server takes within the store's timeout. */
const mostWaiting = 10_000;

interface Waiting {
  readonly task: NewTask;
  readonly waiter: Waiter<EnqueueOutcome>;
}

const lengthOf = ({ task: { input, meta } }: Waiting): number => input.length + (meta?.length ?? 0);

/** Whether `error` may be the fault of one task: SQLSTATE classes 21 to 23 (what its values are), 54 (too much of something). */
const concernsOne = (error: unknown): boolean => /^(?:21|22|23|54)...$/.test(String((error as { code?: unknown }).code));

export class Gathering {
  /** Runs a statement in a transaction of its own, for nobody in particular. */
  readonly #send: (statement: EnqueueStatement) => Promise<readonly EnqueueOutcome[]>;
  /** Statements are nobody's: they do not run in the context of the caller who happened to come first. */
  readonly #apart = AsyncLocalStorage.snapshot();
  readonly #waiting = new Set<Waiting>();
  #running = 0;

  constructor(send: (statement: EnqueueStatement) => Promise<readonly EnqueueOutcome[]>) {
    this.#send = send;
  }

  /**
   * For a task without unique key and group. `ending` ends the wait: a task that was not on its way is then not enqueued; of one that
   * was, nobody knows.
   */
  enqueue(task: NewTask, ending: Ending | undefined): Promise<EnqueueOutcome> {
    if (ending?.aborted) return Promise.reject(ending.reason as Error);
    if (this.#waiting.size >= mostWaiting)
      return Promise.reject(storeUnavailable("postgresql", "enqueue", new Error(`${mostWaiting} enqueues wait for it already`)));
    const waiter = startWaiting<EnqueueOutcome>(ending, () => this.#waiting.delete(waiting));
    const waiting: Waiting = { task, waiter };
    this.#waiting.add(waiting);
    if (this.#running < mostStatements) void this.#apart(() => this.#run());
    return waiter.promise;
  }

  async #run(): Promise<void> {
    this.#running++;
    while (this.#waiting.size > 0) {
      await this.#sendTogether(this.#take());
      // Those who were answered may have more: it goes with the next statement, not with the one after it.
      await turn();
    }
    this.#running--;
  }

  #take(): readonly Waiting[] {
    const batch: Waiting[] = [];
    let characters = 0;
    for (const each of this.#waiting) {
      characters += lengthOf(each);
      if (batch.length === most.tasks || (batch.length > 0 && characters > most.characters)) break;
      batch.push(each);
      this.#waiting.delete(each);
    }
    return batch;
  }

  async #sendTogether(batch: readonly Waiting[]): Promise<void> {
    try {
      const [only] = batch;
      const statement = batch.length === 1 ? oneTask(only!.task) : manyTasks({ tasks: batch.map(({ task }) => task) });
      const outcomes = await this.#send(statement);
      for (const [i, { waiter }] of batch.entries()) waiter.resolve(outcomes[i]!);
    } catch (error) {
      if (batch.length === 1 || !concernsOne(error)) for (const { waiter } of batch) waiter.reject(error);
      // One of them is at fault, and nothing of the statement has happened.
      else for (const each of batch) await this.#sendTogether([each]);
    }
  }
}
