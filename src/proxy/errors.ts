// The error codes of proxy.

import { defineErrors } from "../core/index.ts";

export const proxyErrors = defineErrors({
  MILLRACE_PROXY_LISTEN_FAILED: {
    when: "The proxy cannot listen where it should: somebody else does, or the address or the right is missing.",
    next: "Choose another port, or stop what listens there; details.reason is the system's word.",
    retryable: false,
    message: (d: { host: string; port: number; reason: string }) =>
      d.reason === "EADDRINUSE"
        ? `Port ${d.port} of ${d.host} is taken. Choose another one, or stop what listens there.`
        : `The proxy cannot listen on port ${d.port} of ${d.host} (${d.reason}).`,
  },
  MILLRACE_PROXY_ORIGIN_FAILED: {
    when: "The origin could not be reached, or broke off before the head of its answer, and nothing stored may stand in.",
    next: "Look at the origin; details.reason says what happened.",
    retryable: true,
    message: (d: { origin: string; reason: string }) => `The origin ${d.origin} did not answer: ${d.reason}.`,
  },
  MILLRACE_PROXY_ORIGIN_TIMEOUT: {
    when: "The origin did not answer in time, and nothing stored may stand in.",
    next: "Look at the origin; raise headersTimeout if it is rightly so slow.",
    retryable: true,
    message: (d: { origin: string; reason: string }) => `The origin ${d.origin} did not answer in time: ${d.reason}.`,
  },
  MILLRACE_PROXY_REQUEST_INVALID: {
    when: "A request does not say which host it means, says it twice, or cannot be passed on as it is.",
    next: "Correct the client; details.reason says what is wrong.",
    retryable: false,
    message: (d: { reason: string }) => `The request cannot be passed on: ${d.reason}.`,
  },
  MILLRACE_PROXY_LOOP: {
    when: "A request comes through the same proxy a second time: the origin, or a name on the way, leads back to it.",
    next: "Check where `to` leads.",
    retryable: false,
    message: () => "The request has come through this proxy before.",
  },
  MILLRACE_PROXY_NOT_CACHED: {
    when: "The client wants a stored answer only (Cache-Control: only-if-cached), and there is none that may be used.",
    next: "Ask without it.",
    retryable: true,
    message: () => "There is no stored answer that may be used.",
  },
  MILLRACE_PROXY_INTERNAL: {
    when: "The proxy itself failed at a request: a defect.",
    next: "Report it with what the proxy wrote to its standard error.",
    retryable: false,
    message: () => "The proxy failed.",
  },
});
