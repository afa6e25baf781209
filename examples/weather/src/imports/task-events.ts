// A task that is watched, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). Each event is the whole of
// what it is at, so that whoever connects again has missed nothing.

import { type TaskStatus, type Tasks, drainChannel, systemClock, tasksErrors } from "millrace";

/** After so long without news a comment is sent: proxies close what is silent for a minute. */
const commentAfterMs = 15_000;

/** The id of the last event. A browser names it when it connects again, which it does also after the end. */
export const endId = "end";

const isLast = ({ state }: TaskStatus): boolean => state === "completed" || state === "cancelled" || state === "dead";

/** What a client gets to see of a task. */
export const shownStatus = ({ id, name, state, attempt, progress }: TaskStatus) => ({
  id,
  name,
  state: state as string,
  attempt,
  progress: (progress as Record<string, unknown> | undefined) ?? null,
});

const eventOf = (status: TaskStatus): string =>
  `${isLast(status) ? `id: ${endId}\nevent: end` : "event: progress"}\ndata: ${JSON.stringify(shownStatus(status))}\n\n`;

/**
 * An event for each change of a task, the last of them named "end". Ends without one when the service stops: its client connects again, and
 * comes to another process. `signal` aborts when the client leaves.
 */
export async function* taskEvents(tasks: Tasks, taskId: string, signal: AbortSignal): AsyncGenerator<string, void, undefined> {
  const ending = new AbortController(); // of the watch, however this ends
  const leave = (): void => ending.abort();
  signal.addEventListener("abort", leave);
  let wake = (): void => {};
  using _stopping = drainChannel.subscribe(() => {
    leave();
    wake();
  });
  const statuses = tasks.watch(taskId, { signal: ending.signal })[Symbol.asyncIterator]();
  try {
    for (;;) {
      let isHere = false;
      const next = statuses.next().finally(() => {
        isHere = true;
        wake();
      });
      next.catch(() => {}); // nobody may wait for it any more
      while (!isHere) {
        const woken = Promise.withResolvers<void>();
        wake = woken.resolve;
        using _silence = systemClock.timer(commentAfterMs, wake);
        await woken.promise;
        if (!isHere && !ending.signal.aborted) yield ": still there\n\n";
      }
      const { done, value } = await next;
      if (done) return;
      yield eventOf(value);
    }
  } catch (error) {
    // It was left, or the task was kept as long as it is.
    if (!ending.signal.aborted && !tasksErrors.is(error, "MILLRACE_TASKS_NO_RESULT")) throw error;
  } finally {
    signal.removeEventListener("abort", leave);
    leave();
  }
}
