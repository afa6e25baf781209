// Waiting for tasks: whoever wants to know about one shares a look at it with the others, and looks seldom. See docs/task-results.md.
//
// A store tells nobody that a task has ended: at tens of thousands a second that would cost more than the tasks. What happens in this
// process is heard at once, by its channels; of other processes it is asked, first soon and then once a second.

import { type Ending, endingOf, Deadline, startWaiting } from "../concurrency/index.ts";
import { type Clock, type Timer, formatDuration } from "../core/index.ts";
import { taskEndChannel, taskStartChannel } from "./channels.ts";
import { tasksErrors } from "./errors.ts";
import { type TaskStatus, hasEnded, statusOf } from "./status.ts";
import type { TaskRecord, TaskStore } from "./store.ts";
import type { TaskHandle } from "./task.ts";

/** Pauses between looks at one task: doubled each time while nothing changes. Progress is kept once a second. */
const firstPauseMs = 25;
const longestPauseMs = 1_000;

/** A task of a transaction that has just committed, or that is relayed to Redis, may take a moment to be there. */
const unknownMs = 10_000;

/** Of many that come before a task, so many are looked at in one go. */
const beforePerLook = 10;

export interface WatchOptions {
  /** Ends the wait; it rejects with the reason. Default: the deadline of the running work. */
  readonly signal?: Ending | undefined;
}

type Look = { readonly record: TaskRecord | undefined } | { readonly error: unknown };
type Listener = (look: Look) => void;

/** One task that somebody wants to know about. */
class Watched {
  readonly #id: string;
  readonly #store: Pick<TaskStore, "show">;
  readonly #clock: Clock;
  readonly #listeners = new Set<Listener>();
  #timer: Timer | undefined;
  #pauseMs = firstPauseMs;
  #looking = false;
  /** Something happened during a look, which may not have seen it. */
  #again = false;
  #seen: string | undefined;

  constructor(id: string, store: Pick<TaskStore, "show">, clock: Clock) {
    this.#id = id;
    this.#store = store;
    this.#clock = clock;
  }

  get isWatched(): boolean {
    return this.#listeners.size > 0;
  }

  add(listener: Listener): void {
    this.#listeners.add(listener);
    this.hurry();
  }

  delete(listener: Listener): void {
    this.#listeners.delete(listener);
    if (this.#listeners.size === 0) this.#timer?.clear();
  }

  /** Something has happened to it. */
  hurry(): void {
    this.#pauseMs = firstPauseMs;
    this.#timer?.clear();
    void this.#look();
  }

  async #look(): Promise<void> {
    if (this.#looking) {
      this.#again = true;
      return;
    }
    this.#looking = true;
    let look: Look | undefined;
    try {
      look = { record: await this.#store.show(this.#id) };
    } catch (error) {
      // A store that is away is waited for; whoever has no time for that has a deadline.
      if (!tasksErrors.is(error, "MILLRACE_TASKS_STORE_UNAVAILABLE")) look = { error };
    }
    this.#looking = false;
    if (look) for (const listener of [...this.#listeners]) listener(look);
    if (!this.isWatched) return;
    if (this.#again) {
      this.#again = false;
      void this.#look();
      return;
    }
    const seen = look && "record" in look ? `${look.record?.state} ${look.record?.attempt} ${look.record?.progress}` : this.#seen;
    this.#pauseMs = seen === this.#seen ? Math.min(longestPauseMs, this.#pauseMs * 2) : firstPauseMs;
    this.#seen = seen;
    this.#timer = this.#clock.timer(this.#pauseMs, () => void this.#look(), true);
  }
}

/** Everybody in a process who waits for tasks of one store. */
export class Watching {
  readonly #store: Pick<TaskStore, "show">;
  readonly #clock: Clock;
  readonly #watched = new Map<string, Watched>();
  #subscriptions: Disposable[] = [];

  constructor(store: Pick<TaskStore, "show">, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /** How many tasks are watched: 0 when nobody waits. */
  get size(): number {
    return this.#watched.size;
  }

  /** Calls `listener` with what each look sees, the first soon. */
  #watch(id: string, listener: Listener): Disposable {
    let watched = this.#watched.get(id);
    if (!watched) this.#watched.set(id, (watched = new Watched(id, this.#store, this.#clock)));
    if (this.#subscriptions.length === 0) {
      const hurry = (message: { readonly id: string }): void => this.#watched.get(message.id)?.hurry();
      this.#subscriptions = [taskEndChannel.subscribe(hurry), taskStartChannel.subscribe(hurry)];
    }
    watched.add(listener);
    return {
      [Symbol.dispose]: () => {
        watched.delete(listener);
        if (watched.isWatched) return;
        if (this.#watched.get(id) === watched) this.#watched.delete(id);
        if (this.#watched.size > 0) return;
        for (const subscription of this.#subscriptions) subscription[Symbol.dispose]();
        this.#subscriptions = [];
      },
    };
  }

  /**
   * What the task is at, each time that it has changed, until it has ended. The last one is the end; a task that fails and is tried again
   * goes on.
   * @throws MILLRACE_TASKS_NO_RESULT when it is not there, or will not be because of what should come before it
   */
  async *watch<Result>(handle: TaskHandle<Result>, options: WatchOptions = {}): AsyncGenerator<TaskStatus<Result>, void> {
    const ending = endingOf(options);
    const sinceMs = this.#clock.monotonic();
    let latest: Look | undefined;
    let wake: (() => void) | undefined;
    using _watch = this.#watch(handle.id, (look) => {
      latest = look;
      wake?.();
    });
    const passed = new Set<string>();
    let known = false;
    let before = "";
    for (;;) {
      if (ending?.aborted) throw ending.reason;
      if (!latest) {
        const waiter = startWaiting<void>(ending, () => {});
        wake = () => waiter.resolve();
        await waiter.promise;
        wake = undefined;
        continue;
      }
      const look = latest;
      latest = undefined;
      if ("error" in look) throw look.error;
      const { record } = look;
      if (!record) {
        if (known) throw noResult(handle.id, "gone");
        if (await this.#mayCome(handle, passed)) continue;
        if (this.#clock.monotonic() - sinceMs >= unknownMs) throw noResult(handle.id, "unknown");
        continue;
      }
      known = true;
      const now = `${record.state} ${record.attempt} ${record.progress}`;
      if (now === before) continue;
      before = now;
      yield statusOf<Result>(record);
      if (hasEnded(record.state)) return;
    }
  }

  /** Whether something that comes before the task is still on its way. @throws MILLRACE_TASKS_NO_RESULT when it will not come */
  async #mayCome({ id, before = [] }: TaskHandle<unknown>, passed: Set<string>): Promise<boolean> {
    let coming = false;
    for (const { id: earlier, endsWith } of before.filter((task) => !passed.has(task.id)).slice(0, beforePerLook)) {
      const record = await this.#store.show(earlier);
      if (!record) continue;
      if (endsWith.includes(record.state)) throw noResult(id, record.state, record);
      if (hasEnded(record.state)) passed.add(earlier);
      else coming = true;
    }
    return coming;
  }

  /** What its handler has returned. @throws MILLRACE_TASKS_NO_RESULT, MILLRACE_DEADLINE_EXCEEDED */
  async result<Result>(
    handle: TaskHandle<Result>,
    options: WatchOptions & { readonly timeoutMs?: number | undefined } = {},
  ): Promise<Result> {
    using deadline = new Deadline({ timeoutMs: options.timeoutMs, parent: endingOf(options), clock: this.#clock });
    let last: TaskStatus<Result> | undefined;
    for await (const status of this.watch(handle, { signal: deadline })) last = status;
    if (last?.state === "completed") return last.result as Result;
    throw noResult(handle.id, last?.state ?? "unknown", last);
  }
}

interface Ended {
  readonly name: string;
  readonly attempt: number;
  readonly error?: unknown;
}

function noResult(id: string, how: string, ended?: Ended): Error {
  const { error } = ended ?? {};
  const failure =
    typeof error === "string" ? (JSON.parse(error) as { message?: string }) : (error as { message?: string } | undefined);
  const reason =
    how === "gone"
      ? "it was kept as long as its task says, and is gone"
      : how === "unknown"
        ? `there is none of this id, and none came within ${formatDuration(unknownMs)}`
        : how === "cancelled"
          ? `"${ended?.name}" was cancelled`
          : `"${ended?.name}" is in the dead letter after ${ended?.attempt} attempts${failure?.message ? `: ${failure.message}` : ""}`;
  return tasksErrors.create("MILLRACE_TASKS_NO_RESULT", { id, how, reason });
}
