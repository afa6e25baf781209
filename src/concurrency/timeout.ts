// Work with an end: after a time, or at a moment. See docs/deadlines.md.

import { type Clock, type Duration, maxTimerMs, parseDuration, systemClock } from "../core/index.ts";
import { type Ending, endingOf } from "./abortable.ts";
import { type WorkContext, contextOfPart, currentContext, runInContext } from "./context.ts";
import { Deadline } from "./deadline.ts";
import { newWorkId } from "./work-id.ts";

export interface TimeoutOptions {
  /** Ends the work before its time. Default: the deadline of the running work's context. */
  readonly signal?: Ending | undefined;
  readonly clock?: Clock | undefined;
}

/** The context of work under `deadline`: a part of the running work, or work of its own. */
export function contextUnder(deadline: Deadline): WorkContext {
  const context = currentContext();
  return context ? contextOfPart(context, deadline) : { requestId: newWorkId(), deadline };
}

async function under<Result>(
  timeoutMs: number | undefined,
  work: (deadline: Deadline) => Result | PromiseLike<Result>,
  options: TimeoutOptions | undefined,
): Promise<Result> {
  using end = new Deadline({ timeoutMs, parent: endingOf(options), clock: options?.clock });
  end.throwIfAborted();
  const { promise: ended, reject } = Promise.withResolvers<never>();
  end.onAbort(reject);
  return await Promise.race([runInContext(contextUnder(end), () => work(end)), ended]);
}

/**
 * Runs `work`, which must be done within `duration` ("800ms"). Its deadline, which is also its context's, aborts when the time has
 * passed or the work that it is a part of has ended; the promise rejects then, also when `work` does not listen. What it rejects
 * with afterwards is ignored.
 * @throws MILLRACE_DEADLINE_EXCEEDED, MILLRACE_DURATION_INVALID, the reason of the enclosing work's end, what `work` throws
 */
export async function timeout<Result>(
  duration: Duration,
  work: (deadline: Deadline) => Result | PromiseLike<Result>,
  options?: TimeoutOptions,
): Promise<Result> {
  return await under(parseDuration(duration), work, options);
}

/**
 * As timeout(), until a moment of the wall clock, such as one that another service has passed on. A moment in the past fails at
 * once; one beyond 24.8 days, the longest that a timer can run, is no end.
 */
export async function deadline<Result>(
  moment: Date,
  work: (deadline: Deadline) => Result | PromiseLike<Result>,
  options?: TimeoutOptions,
): Promise<Result> {
  const remainingMs = moment.getTime() - (options?.clock ?? systemClock).now();
  return await under(remainingMs > maxTimerMs ? undefined : Math.max(0, remainingMs), work, options);
}
