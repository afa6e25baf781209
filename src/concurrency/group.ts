// Structured concurrency: several pieces of work that begin and end together, as in Python's TaskGroup. See docs/task-groups.md.
//
// | state    | left by                                                       | what then happens                            |
// | -------- | ------------------------------------------------------------- | -------------------------------------------- |
// | open     | a child or the body fails, deadline, parent's abort, cancel() | aborting: the children's deadline is aborted |
// | open     | the body is done and no child is left                         | ended: the result is the body's              |
// | aborting | the body is done and no child is left                         | ended: the failures are thrown               |
// | ended    |                                                               | start() throws                               |

import { type Clock, type Duration, type ResolvedOptions, resolveOptions } from "../core/index.ts";
import { type Ending, endingOf } from "./abortable.ts";
import { type WorkContext, contextOfPart, currentContext, runInContext } from "./context.ts";
import { Deadline } from "./deadline.ts";
import { concurrencyErrors } from "./errors.ts";
import { LinkedQueue } from "./linked-queue.ts";
import { groupChecks, groupDefaults } from "./options.ts";
import { newWorkId } from "./work-id.ts";

export interface GroupOptions {
  /** Children that run at once at the most; the others start in the order of start(). Default: no limit. */
  readonly limit?: number | undefined;
  /** How long the whole group may take. Default: as long as the work that it is a part of. */
  readonly deadline?: Duration | undefined;
  /** Aborts the group, and with it all children. Default: the deadline of the running work's context. */
  readonly signal?: Ending | undefined;
  readonly clock?: Clock | undefined;
}

type ResolvedGroupOptions = ResolvedOptions<typeof groupChecks>;

/** The work of one child. It must end when the group's deadline aborts: the group waits for it. */
export type ChildWork<Result> = (deadline: Deadline) => Result | PromiseLike<Result>;

const withoutOptions: ResolvedGroupOptions = resolveOptions("group", {}, groupDefaults, groupChecks);
const ignore = () => {};

/** Whether `error` only says that the work was aborted for `reason`, however it says so. */
function saysAborted(error: unknown, reason: unknown): boolean {
  if (error === reason) return true;
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors.every((one) => saysAborted(one, reason));
  if (!(error instanceof Error)) return false;
  if (error.name === "AbortError") return true; // what fetch, streams and timers of Node reject with
  let cause = error.cause;
  for (let depth = 0; depth < 8 && cause !== undefined; depth++) {
    if (cause === reason) return true;
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  return false;
}

/** A child's promise that knows whether somebody has asked for its outcome. */
class ChildPromise<Result> extends Promise<Result> {
  asked = false;

  static override get [Symbol.species]() {
    return Promise;
  }

  // oxlint-disable-next-line unicorn/no-thenable -- it is a promise, and await calls this
  override then<Fulfilled = Result, Rejected = never>(
    onFulfilled?: ((value: Result) => Fulfilled | PromiseLike<Fulfilled>) | null,
    onRejected?: ((reason: unknown) => Rejected | PromiseLike<Rejected>) | null,
  ): Promise<Fulfilled | Rejected> {
    this.asked = true;
    return super.then(onFulfilled, onRejected);
  }
}

interface Queued {
  start(): void;
  abort(reason: unknown): void;
}

/** A group that is open. Made by group() and createGroup(). */
export class Group implements AsyncDisposable {
  /** The end of the group: children and the body listen to it. */
  readonly deadline: Deadline;
  readonly #context: WorkContext;
  readonly #limit: number;
  /** Children whose failures the body may learn by itself, when the group cannot see the body's end. */
  readonly #watched: Map<unknown, ChildPromise<unknown>[]> | undefined;
  #running = 0;
  #queue: LinkedQueue<Queued> | undefined;
  /** In the order in which they happened. */
  #failures: unknown[] | undefined;
  #abortedByGroup = false;
  #ended = false;
  #allSettled: PromiseWithResolvers<void> | undefined;
  #joined: Promise<void> | undefined;

  constructor(options: ResolvedGroupOptions, seesBody: boolean) {
    this.#limit = options.limit;
    this.#watched = seesBody ? undefined : new Map();
    this.deadline = new Deadline({ timeoutMs: options.deadline, parent: endingOf(options), clock: options.clock });
    const context = currentContext();
    this.#context = context
      ? contextOfPart(context, this.deadline)
      : { requestId: newWorkId(), deadline: this.deadline, principalId: undefined };
    this.deadline.onAbort((reason) => this.#onAbort(reason));
  }

  /** Children that have started and not settled. */
  get running(): number {
    return this.#running;
  }

  /** Children that wait for the limit. */
  get waiting(): number {
    return this.#queue?.length ?? 0;
  }

  /**
   * Starts a child, at once or when the limit allows, and returns the promise of its result. The promise need not be awaited: what
   * the child fails with, the group throws.
   * @throws MILLRACE_GROUP_ENDED when the group has ended; the reason of the abort when the group is aborting.
   */
  start<Result>(work: ChildWork<Result>): Promise<Result> {
    if (this.#ended) throw concurrencyErrors.create("MILLRACE_GROUP_ENDED", {});
    this.deadline.throwIfAborted();
    let promise: Promise<Result>;
    if (this.#running < this.#limit) {
      promise = this.#launch(work);
    } else {
      const { promise: later, resolve, reject } = Promise.withResolvers<Result>();
      promise = later;
      (this.#queue ??= new LinkedQueue()).push({ start: () => resolve(this.#launch(work)), abort: reject });
      later.catch(ignore);
    }
    if (!this.#watched) return promise;
    const watched = new ChildPromise<Result>((resolve) => resolve(promise));
    promise.catch((error: unknown) => {
      const failed = this.#watched!.get(error); // the failure of one is what its siblings were aborted with
      if (failed) failed.push(watched);
      else this.#watched!.set(error, [watched]);
    });
    void Promise.prototype.then.call(watched, undefined, ignore); // by the standard's, which does not count as asking
    return watched;
  }

  /** Ends the group quietly: its children are aborted with MILLRACE_GROUP_CANCELLED, which is no failure. */
  cancel(): void {
    if (!this.#ended) this.#abort(concurrencyErrors.create("MILLRACE_GROUP_CANCELLED", {}));
  }

  /**
   * Waits until every child has settled and ends the group.
   * @throws what failed: the one failure itself, or an AggregateError of several.
   */
  join(): Promise<void> {
    return (this.#joined ??= this.#settle().then(() => this.#throwFailures()));
  }

  /** As join(), but throws only failures that nobody has learned from a child's promise: the block has thrown those already. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#joined) return this.#joined.catch(ignore);
    await this.#settle();
    this.#failures = this.#failures?.filter((failure) => !this.#watched?.get(failure)?.some(({ asked }) => asked));
    this.#throwFailures();
  }

  /** Runs the body, whose failure is the group's. Only for group(). */
  async runBody<Result>(body: (group: Group) => Result | PromiseLike<Result>): Promise<Result> {
    let outcome: { readonly result: Result } | { readonly error: unknown } | undefined;
    try {
      this.deadline.throwIfAborted(); // nothing is started for a work that has been given up
      outcome = { result: await runInContext(this.#context, () => body(this)) };
    } catch (error) {
      outcome = { error };
      this.#fail(error);
    }
    if (this.#running > 0) await this.#untilSettled();
    this.#end();
    this.#throwFailures();
    if ("error" in outcome) throw outcome.error; // cancelled, and the body says so: there is no result
    return outcome.result;
  }

  #launch<Result>(work: ChildWork<Result>): Promise<Result> {
    this.#running++;
    let result: Result | PromiseLike<Result>;
    try {
      result = runInContext(this.#context, () => work(this.deadline));
    } catch (error) {
      result = Promise.reject(error);
    }
    const promise = result instanceof Promise ? (result as Promise<Result>) : Promise.resolve(result);
    promise.then(
      () => this.#childSettled(),
      (error: unknown) => {
        this.#fail(error);
        this.#childSettled();
      },
    );
    return promise;
  }

  #childSettled(): void {
    this.#running--;
    this.#queue?.shift()?.start();
    if (this.#running > 0) return;
    this.#allSettled?.resolve();
    this.#allSettled = undefined;
  }

  #fail(error: unknown): void {
    if (this.#failures?.includes(error)) return; // the body let out what a child failed with
    if (this.deadline.aborted) {
      if (!saysAborted(error, this.deadline.reason)) (this.#failures ??= []).push(error);
      return;
    }
    (this.#failures ??= []).push(error);
    this.#abort(error);
  }

  #abort(reason: unknown): void {
    if (this.deadline.aborted) return;
    this.#abortedByGroup = true;
    try {
      this.deadline.abort(reason);
    } catch (error) {
      (this.#failures ??= []).push(error); // of a child's listener
    }
  }

  #onAbort(reason: unknown): void {
    if (!this.#abortedByGroup) (this.#failures ??= []).push(reason);
    for (let queued = this.#queue?.shift(); queued; queued = this.#queue!.shift()) queued.abort(reason);
  }

  /** Also until what is started meanwhile by whoever waits for a child has settled. */
  async #untilSettled(): Promise<void> {
    while (this.#running > 0) {
      this.#allSettled = Promise.withResolvers();
      await this.#allSettled.promise;
    }
  }

  async #settle(): Promise<void> {
    if (this.#running > 0) await this.#untilSettled();
    this.#end();
  }

  #end(): void {
    this.#ended = true;
    this.deadline[Symbol.dispose]();
  }

  #throwFailures(): void {
    const failures = this.#failures;
    if (!failures || failures.length === 0) return;
    if (failures.length === 1) throw failures[0];
    const messages = failures.map((failure) => (failure instanceof Error ? failure.message : String(failure)));
    throw new AggregateError(failures, `${failures.length} failures in one group: ${messages.join("; ")}`);
  }
}

const resolveGroup = (subject: string, options: GroupOptions | undefined): ResolvedGroupOptions =>
  options === undefined
    ? withoutOptions
    : resolveOptions<GroupOptions, typeof groupChecks>(subject, options, groupDefaults, groupChecks);

/**
 * Runs `body`, which starts children in the group that it is given, and resolves with its result when every child has settled.
 * The first failure of a child or of the body aborts the others. Children and body run in a context whose deadline is the group's,
 * so that statements and calls inside end with it.
 * @throws the one failure itself, or an AggregateError of several; MILLRACE_DEADLINE_EXCEEDED, or the parent's reason, when that
 * ended the group.
 */
export function group<Result>(body: (group: Group) => Result | PromiseLike<Result>, options?: GroupOptions): Promise<Result> {
  let opened: Group;
  try {
    opened = new Group(resolveGroup("group", options), true);
  } catch (error) {
    return Promise.reject(error);
  }
  return opened.runBody(body);
}

/**
 * Opens a group for `await using`: the end of the block waits for every child and throws what failed, unless the block has awaited
 * the failed child and so knows. It cannot see that the block itself threw, and then still waits for children to end by themselves:
 * where that can be long, use group().
 */
export function createGroup(options?: GroupOptions): Group {
  return new Group(resolveGroup("createGroup", options), false);
}
