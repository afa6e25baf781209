// The error codes of freshness.

import { defineErrors } from "../core/index.ts";

export const freshnessErrors = defineErrors({
  MILLRACE_FEED_UNREACHABLE: {
    when: "A session of the change feed could not be opened, or the server did not answer on it in time.",
    next: "Check that the primary runs and that the feed's URL names it directly, not through a pooler in transaction mode; the feed keeps trying.",
    retryable: true,
    message: (d: { purpose: string; reason: string }) => `The change feed's session "${d.purpose}" has no server: ${d.reason}.`,
  },
  MILLRACE_FEED_SOURCE_UNUSABLE: {
    when: "The source of the change feed cannot run on this server or with this role.",
    next: "Do what the message says; the feed notices by itself, and nothing is served from cache until then.",
    retryable: true,
    message: (d: { source: string; problem: string }) => `The change feed by ${d.source} cannot run: ${d.problem}`,
  },
  MILLRACE_FEED_NOT_SET_UP: {
    when: "The change feed is created with setup: false, and what it needs in the database is missing.",
    next: "Run `millrace freshness setup` with a role that may create it.",
    retryable: true,
    message: (d: { missing: string }) =>
      `The change feed is not set up in this database: ${d.missing} Run \`millrace freshness setup\`.`,
  },
  MILLRACE_FEED_IN_USE: {
    when: "The change feed is to be removed from a database while processes use it.",
    next: "Stop the processes first, or say --yes: their caches close, and those that may will set the feed up again.",
    retryable: false,
    message: (d: { processes: number }) =>
      `${d.processes} ${d.processes === 1 ? "process uses" : "processes use"} the change feed of this database. Stop them first, or say --yes.`,
  },
  MILLRACE_CONTROL_KEY_TOO_LONG: {
    when: "A key that running processes are asked about is longer than a notification can carry.",
    next: "Ask cache.why() in the process itself.",
    retryable: false,
    message: (d: { length: number; max: number }) =>
      `A key of ${d.length} characters cannot be asked about from outside, at most ${d.max} can. Ask cache.why() in the process itself.`,
  },
  MILLRACE_FRESHNESS_RESTARTED: {
    when: "The change feed began anew while somebody waited for what it would bring.",
    next: "Ask again; the answers of before are void in any case.",
    retryable: true,
    message: () => "The change feed began anew meanwhile. Ask again.",
  },
  MILLRACE_CONTROL_NO_CACHE: {
    when: "`millrace cache` asks a process that has not exposed a cache.",
    next: "Call freshness.expose(cache) in it.",
    retryable: false,
    message: () => "This process has not exposed a cache: call freshness.expose(cache) in it.",
  },
});
