// The error codes of tasks.

import { defineErrors } from "../core/index.ts";

export const tasksErrors = defineErrors({
  MILLRACE_TASKS_DEFINITION_INVALID: {
    when: "A task is declared in a way that cannot work.",
    next: "Correct the definition as the message says.",
    retryable: false,
    message: (d: { task: string; reason: string }) => `Task "${d.task}": ${d.reason}`,
  },
  MILLRACE_TASKS_INPUT_INVALID: {
    when: "The input of a task does not fit its schema, when it is enqueued or when it is run.",
    next: "Pass what the schema asks for; for tasks enqueued before a deploy changed the schema give the task `migrate`.",
    retryable: false,
    message: (d: { task: string; reason: string }) => `The input of task "${d.task}" is not valid: ${d.reason}`,
  },
  MILLRACE_TASKS_UNBOUND: {
    when: "A task is enqueued in a database for which this process has no createTasks() that lists the task.",
    next: "List it in createTasks({ database, tasks }); a process that only enqueues does not call start().",
    retryable: false,
    message: (d: { task: string }) =>
      `No createTasks() of this process has the task "${d.task}" for this database. List it in \`tasks\`; without start() it only enqueues.`,
  },
  MILLRACE_TASKS_STORE_UNAVAILABLE: {
    when: "The store of the tasks cannot be reached, or does not answer in time.",
    next: "Look after the store. Workers go on by themselves when it is back; whoever enqueued is told, and may try again.",
    retryable: true,
    message: (d: { store: string; operation: string; reason: string }) =>
      `The store of the tasks (${d.store}) did not take ${d.operation}: ${d.reason}`,
  },
  MILLRACE_TASKS_SETUP_REFUSED: {
    when: "The tables of the task store do not exist or are of an older version, and the database role may not make them.",
    next: "Let a role that may create the schema `millrace` run the program, or `millrace tasks setup`, once; then grant the other role usage of the schema, and select, insert, update and delete on its tables.",
    retryable: false,
    message: (d: { reason: string }) =>
      `The tables for tasks cannot be made: ${d.reason}. Let a role that may create the schema "millrace" set them up once.`,
  },
  MILLRACE_TASKS_NOT_SET_UP: {
    when: "The tables of the task store do not exist in this database.",
    next: "Call createTasks() on this database before you enqueue; it makes them.",
    retryable: false,
    message: (d: { reason: string }) =>
      `The tables for tasks are not there: ${d.reason}. Call createTasks() on this database first.`,
  },
  MILLRACE_TASKS_REDIS_UNSUITABLE: {
    when: "A Redis that cannot be trusted with tasks: it would evict them, it is a replica, or it is too old.",
    next: "Set maxmemory-policy to noeviction, or use a Redis of its own for tasks.",
    retryable: false,
    message: (d: { server: string; reason: string }) => `Redis at ${d.server} cannot keep tasks: ${d.reason}`,
  },
  MILLRACE_TASKS_OUTBOX_MISSING: {
    when: "A task that is kept in Redis is enqueued in a transaction of PostgreSQL, and there is no outbox.",
    next: "Pass redisTaskStore({ outbox: database }) and call setup() once, which createTasks() does.",
    retryable: false,
    message: (d: { reason: string }) =>
      `A transaction cannot enqueue into Redis without an outbox: ${d.reason} Pass redisTaskStore({ outbox: database }).`,
  },
  MILLRACE_TASKS_OUTBOX_REFUSED: {
    when: "The table of the outbox does not exist, and the database role may not make it.",
    next: "Let a role that may create the schema `millrace` run the program once; then grant usage of the schema, and select, insert and delete on the table.",
    retryable: false,
    message: (d: { reason: string }) => `The table millrace.task_outbox cannot be made: ${d.reason}`,
  },
  MILLRACE_TASKS_NO_DATABASE: {
    when: "A handler asks for its database, but createTasks() was given only a store.",
    next: "Pass `database` to createTasks().",
    retryable: false,
    message: (d: { task: string }) => `Task "${d.task}" asks for a database, and createTasks() was given none.`,
  },
  MILLRACE_TASKS_RESULT_INVALID: {
    when: "What a handler has returned cannot be kept: it is no JSON, or too large. The work is done, so that it is not tried again.",
    next: "Return plain data of less than a million characters; keep larger things elsewhere and return where.",
    retryable: false,
    message: (d: { task: string; reason: string }) => `The result of task "${d.task}" ${d.reason}.`,
  },
  MILLRACE_TASKS_CRASHED: {
    when: "A task is given up because its workers died or fell silent with it until no attempt was left.",
    next: "Look for what ends the process (memory, native code, an endless loop), then redrive it.",
    retryable: false,
    message: (d: { task: string; attempts: number }) =>
      `Task "${d.task}" was begun ${d.attempts} times, and no attempt has come to an end.`,
  },
  MILLRACE_TASKS_CANCELLED: {
    when: "The reason for which a running task is aborted after cancel().",
    next: "Nothing: whoever cancelled it needs no more of it.",
    retryable: false,
    message: (d: { task: string }) => `Task "${d.task}" was cancelled.`,
  },
  MILLRACE_TASKS_LEASE_LOST: {
    when: "The reason for which a running task is aborted when its worker could not prolong its lease: another one may have it by now.",
    next: "Nothing for the task; if it happens often, the process is blocked for longer than `lease`, or the store was away.",
    retryable: true,
    message: (d: { task: string }) => `Task "${d.task}" was taken from this worker: its lease was not prolonged in time.`,
  },
  MILLRACE_TASKS_DRAINED: {
    when: "The reason for which a running task is aborted when its worker stops and the time for draining is over. It is handed back.",
    next: "Nothing: another worker begins it anew. Give close() more time with `drain`.",
    retryable: true,
    message: (d: { task: string }) => `The worker stops, and task "${d.task}" did not end in time; it is handed back.`,
  },
  MILLRACE_TASKS_NO_RESULT: {
    when: "The result of a task is waited for, and will not come: it is dead, it was cancelled, or it is not there.",
    next: "`details.how` says which. For a dead one look at `millrace tasks show`; redriving it gives it another chance.",
    retryable: false,
    message: (d: { id: string; how: string; reason: string }) => `Task ${d.id} has no result: ${d.reason}.`,
  },
});
