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
});
