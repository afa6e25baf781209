// The error codes of core itself.

import { defineErrors } from "./errors.ts";

export const coreErrors = defineErrors({
  MILLRACE_DURATION_INVALID: {
    when: "A duration is not a number followed by ms, s, m, h or d.",
    next: 'Write it like "250ms", "30s", "5m", "1.5h" or "7d".',
    retryable: false,
    message: (d: { value: string }) =>
      `"${d.value}" is not a duration. Write a number with its unit, such as "250ms", "30s", "5m", "1.5h" or "7d".`,
  },
  MILLRACE_OPTION_UNKNOWN: {
    when: "An options object has a key that does not exist.",
    next: "Correct the spelling; the message suggests the nearest key.",
    retryable: false,
    message: (d: { subject: string; option: string; suggestion?: string | undefined; known: readonly string[] }) =>
      `${d.subject} has no option "${d.option}". ` +
      (d.suggestion ? `Did you mean "${d.suggestion}"?` : `It takes: ${d.known.join(", ")}.`),
  },
  MILLRACE_OPTION_INVALID: {
    when: "An option has a value of the wrong type or outside its range.",
    next: "Use a value as the message describes.",
    retryable: false,
    message: (d: { subject: string; option: string; value: string; expected: string }) =>
      `${d.subject}: option "${d.option}" is ${d.value}, expected ${d.expected}.`,
  },
  MILLRACE_CLOSED: {
    when: "Something is used after it was closed.",
    next: "Use it before close(), or create a new one.",
    retryable: false,
    message: (d: { subject: string }) => `${d.subject} is closed. Use it before close(), or create a new one.`,
  },
  MILLRACE_CLOSE_TIMEOUT: {
    when: "A part did not close within its time.",
    next: "Look at what it still holds; the message names it.",
    retryable: false,
    message: (d: { part: string; timeout: string }) => `${d.part} did not close within ${d.timeout}.`,
  },
});
