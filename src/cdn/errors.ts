// The error codes of cdn.

import { defineErrors } from "../core/index.ts";

export const cdnErrors = defineErrors({
  MILLRACE_CDN_PURGE_REFUSED: {
    when: "The API of a CDN did not take a purge: wrong credentials, a limit, or something it does not understand. It is tried again.",
    next: "Look at details.answer; until it is corrected, the CDN may serve answers beyond a write.",
    retryable: true,
    message: (d: { cdn: string; status: number; answer: string }) =>
      `${d.cdn} did not take a purge: ${d.status}${d.answer === "" ? "" : ` (${d.answer})`}.`,
  },
});
