// The error codes of upstream. Those that end a call say in `details.attempts` which attempt failed how.

import { defineErrors } from "../core/index.ts";
import type { AttemptReport } from "./attempt.ts";

/** What every error that ends a call says of it. */
export interface CallDetails {
  readonly upstream: string;
  readonly request: string;
  readonly attempts: readonly AttemptReport[];
}

const tried = ({ attempts }: CallDetails): string =>
  attempts.map(({ replica, failure, ms }, i) => `${i + 1}. ${replica}: ${failure} after ${Math.round(ms)} ms`).join("; ");

export const upstreamErrors = defineErrors({
  MILLRACE_UPSTREAM_FAILED: {
    when: "Every attempt of a call failed; `details.attempts` says which one how, and `details.stopped` why there was no other.",
    next: "Look at the attempts; the upstream is down, overloaded or cannot be reached.",
    retryable: true,
    message: (d: CallDetails & { stopped: string; retryAfterMs?: number | undefined }) =>
      `${d.request} of ${d.upstream} failed (${tried(d)}); not tried again: ${d.stopped}.`,
  },
  MILLRACE_UPSTREAM_TIMEOUT: {
    when: "A call did not succeed within its deadline; `details.attempts` says what its attempts did with the time.",
    next: "Look at the attempts; give the call more time if the upstream is rightly so slow.",
    retryable: true,
    message: (d: CallDetails & { deadline: string }) =>
      `${d.request} of ${d.upstream} did not succeed within ${d.deadline}${d.attempts.length > 0 ? ` (${tried(d)})` : ""}.`,
  },
  MILLRACE_UPSTREAM_OPEN: {
    when: "The breaker is open: the upstream failed too often lately, and is left alone for a while.",
    next: "Answer without it, or try again after details.retryAfterMs.",
    retryable: true,
    message: (d: CallDetails & { retryAfterMs: number }) =>
      `${d.upstream} failed too often lately and is left alone for ${Math.round(d.retryAfterMs)} ms more.`,
  },
  MILLRACE_UPSTREAM_BUSY: {
    when: "As many calls as may run do run, and too many wait already.",
    next: "Answer without it, or raise maxConcurrent or maxQueue if the upstream can take more.",
    retryable: true,
    message: (d: CallDetails & { running: number; waiting: number }) =>
      `${d.running} calls of ${d.upstream} are running and ${d.waiting} already wait.`,
  },
  MILLRACE_UPSTREAM_STATUS: {
    when: "json() was answered with a status that is neither success nor worth another attempt.",
    next: "Correct the request; details.status and details.body say what the upstream thinks of it.",
    retryable: false,
    message: (d: CallDetails & { status: number; body: string }) => `${d.upstream} answered ${d.request} with ${d.status}.`,
  },
  MILLRACE_UPSTREAM_REDIRECT: {
    when: "The upstream answered with a redirect, which is never followed: it could lead anywhere.",
    next: "Call the address in details.location, if it is the right one.",
    retryable: false,
    message: (d: CallDetails & { status: number; location: string }) =>
      `${d.upstream} answered ${d.request} with a redirect to ${d.location}, which is not followed.`,
  },
  MILLRACE_UPSTREAM_RESPONSE_TOO_LARGE: {
    when: "An answer is larger than maxResponseBytes. It was not read to its end.",
    next: "Ask for less, or raise maxResponseBytes.",
    retryable: false,
    message: (d: CallDetails & { maxBytes: number }) =>
      `${d.upstream} answered ${d.request} with more than ${d.maxBytes} bytes. Ask for less, or raise maxResponseBytes.`,
  },
  MILLRACE_UPSTREAM_RESPONSE_INVALID: {
    when: "An answer is not JSON, or not what the check expects.",
    next: "Compare what the upstream sends with the check; details.reason says what is wrong.",
    retryable: false,
    message: (d: CallDetails & { reason: string }) => `${d.upstream} answered ${d.request} with ${d.reason}.`,
  },
  MILLRACE_UPSTREAM_ADDRESS_REFUSED: {
    when: "The upstream's address, or what its name resolves to, is private, local or reserved, which allowPrivate does not allow.",
    next: "Check the URL and its DNS entry; set allowPrivate if it is meant.",
    retryable: false,
    message: (d: { host: string; address: string }) =>
      `${d.host} leads to ${d.address}, a private, local or reserved address. Set allowPrivate if that is meant.`,
  },
  MILLRACE_UPSTREAM_REQUEST_INVALID: {
    when: "A call's path does not begin with a slash, leads to another host, or its body cannot be sent.",
    next: "Write the path from the root of the upstream's URL; pass values in `query`.",
    retryable: false,
    message: (d: { upstream: string; reason: string }) => `A call of ${d.upstream} cannot be made: ${d.reason}.`,
  },
});
