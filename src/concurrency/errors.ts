// The error codes of concurrency.

import { defineErrors } from "../core/index.ts";

export const concurrencyErrors = defineErrors({
  MILLRACE_DEADLINE_EXCEEDED: {
    when: "Work did not finish within its deadline; what it was running has been cancelled.",
    next: "Make the work faster, or give it a longer deadline.",
    retryable: true,
    message: (d: { deadline: string }) => `The deadline of ${d.deadline} passed; what was still running has been cancelled.`,
  },
  MILLRACE_GROUP_CANCELLED: {
    when: "The reason for which the children of a group are aborted after cancel().",
    next: "Nothing: whoever cancelled the group needs no more of it.",
    retryable: false,
    message: () => "The group was cancelled: nobody needs what is still running in it.",
  },
  MILLRACE_GROUP_ENDED: {
    when: "start() is called on a group that has ended: nobody would wait for that child.",
    next: "Start it before the group's body returns, or from a child that still runs.",
    retryable: false,
    message: () => "This group has ended, so nobody would wait for another child. Start it before the group's body returns.",
  },
  MILLRACE_SEMAPHORE_FULL: {
    when: "Too many already wait for permits of a semaphore.",
    next: "Do less at once, turn work away earlier, or raise maxWaiting.",
    retryable: true,
    message: (d: { waiting: number; permits: number }) =>
      `${d.waiting} already wait for the ${d.permits} permits of this semaphore. Do less at once, or raise maxWaiting.`,
  },
  MILLRACE_SEMAPHORE_WEIGHT_INVALID: {
    when: "More permits are asked for than a semaphore has, or not a whole number of at least one.",
    next: "Ask for 1 up to the semaphore's permits.",
    retryable: false,
    message: (d: { weight: number; permits: number }) =>
      `${d.weight} permits were asked for; this semaphore gives a whole number from 1 to ${d.permits}.`,
  },
  MILLRACE_CHANNEL_CLOSED: {
    when: "A value is sent to a channel that is closed, or was still waiting for room when it closed. It was not delivered.",
    next: "Close a channel only when its producers are done.",
    retryable: false,
    message: () => "The channel is closed, so this value was not delivered. Close a channel only when its producers are done.",
  },
  MILLRACE_CHANNEL_FULL: {
    when: "Too many producers already wait for room in a channel.",
    next: "Await each send() before the next, or raise maxWaiting.",
    retryable: true,
    message: (d: { waiting: number; capacity: number }) =>
      `${d.waiting} producers already wait for room in this channel of ${d.capacity}. Await each send() before the next.`,
  },
  MILLRACE_FLIGHT_ABANDONED: {
    when: "The reason for which shared work is aborted when the last of those who waited for it has left.",
    next: "Nothing: nobody waits for its result.",
    retryable: true,
    message: () => "Nobody waits for this any more, so it was aborted.",
  },
  MILLRACE_WORKER_QUEUE_FULL: {
    when: "Every worker thread is busy and too many tasks already wait.",
    next: "Turn work away earlier, make tasks smaller, or raise threads or maxQueue.",
    retryable: true,
    message: (d: { pool: string; threads: number; waiting: number }) =>
      `All ${d.threads} threads of ${d.pool} are busy and ${d.waiting} tasks already wait. Try again later.`,
  },
  MILLRACE_WORKER_LOST: {
    when: "A worker thread ended while it ran a task: it ran out of memory, exited, or an error in it was not caught.",
    next: "Look at the cause and at the task. Other tasks are not affected; the thread has been replaced.",
    retryable: false,
    message: (d: { pool: string; task: string; reason: string }) =>
      `The worker thread that ran ${d.task} for ${d.pool} ended: ${d.reason}. The thread has been replaced.`,
  },
  MILLRACE_WORKER_START_FAILED: {
    when: "No worker thread could be started for a task, several times in a row.",
    next: "Look at the cause; a maxHeapMb that is too small, or execArgv that fail in a thread, are the usual ones.",
    retryable: true,
    message: (d: { pool: string; task: string; attempts: number }) =>
      `${d.attempts} worker threads of ${d.pool} ended before they could run ${d.task}.`,
  },
  MILLRACE_WORKER_TASK_INVALID: {
    when: "A module for worker threads is not a file, has no such function, or cannot be loaded.",
    next: 'Pass new URL("./file.ts", import.meta.url) and the name of a function that it exports.',
    retryable: false,
    message: (d: { task: string; reason: string }) => `${d.task} cannot run in a worker thread: ${d.reason}.`,
  },
});
