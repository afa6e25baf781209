// The error codes of concurrency.

import { defineErrors } from "../core/index.ts";

export const concurrencyErrors = defineErrors({
  MILLRACE_DEADLINE_EXCEEDED: {
    when: "Work did not finish within its deadline; what it was running has been cancelled.",
    next: "Make the work faster, or give it a longer deadline.",
    retryable: true,
    message: (d: { deadline: string }) => `The deadline of ${d.deadline} passed; what was still running has been cancelled.`,
  },
});
