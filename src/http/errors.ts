// The error codes of http. Each is also the `code` of a problem response; problem-table.ts says with which status.

import { defineErrors } from "../core/index.ts";
import type { FieldError } from "./problem.ts";

const listed = (errors: readonly FieldError[]): string =>
  errors
    .map(
      ({ in: place, field, message, suggestion }) =>
        `${place}: ${field === "" ? "" : `${field} `}${message}${suggestion ? ` (did you mean "${suggestion}"?)` : ""}`,
    )
    .join("; ");

export const httpErrors = defineErrors({
  MILLRACE_HTTP_ENDPOINT_INVALID: {
    when: "An endpoint's route, schemas or responses do not fit together.",
    next: "Correct the endpoint as the message says.",
    retryable: false,
    message: (d: { route: string; reason: string }) => `endpoint("${d.route}"): ${d.reason}`,
  },
  MILLRACE_HTTP_NO_DATABASE: {
    when: "A handler uses `db`, but the app was created without a database.",
    next: "Pass `database` to createApp() or to the plugin.",
    retryable: false,
    message: () => "This app has no database. Pass `database` to createApp() or to the plugin.",
  },
  MILLRACE_HTTP_REQUEST_INVALID: {
    when: "Parameters, query, headers or body do not match what the endpoint declares.",
    next: "Correct the fields that `errors` names.",
    retryable: false,
    message: (d: { errors: readonly FieldError[] }) => `The request is not valid. ${listed(d.errors)}.`,
  },
  MILLRACE_HTTP_BODY_INVALID: {
    when: "The request body is not valid JSON in UTF-8, or is nested too deeply.",
    next: "Send JSON as RFC 8259 defines it.",
    retryable: false,
    message: (d: { reason: string }) => `The body is not usable JSON: ${d.reason}.`,
  },
  MILLRACE_HTTP_BODY_TOO_LARGE: {
    when: "The request body exceeds the endpoint's limit.",
    next: "Send less, or raise the endpoint's bodyLimit or multipart limits.",
    retryable: false,
    message: (d: { limit?: number | undefined }) =>
      d.limit === undefined
        ? "The request body is too large."
        : `The request body is larger than the ${d.limit} bytes that are accepted here.`,
  },
  MILLRACE_HTTP_BODY_INCOMPLETE: {
    when: "The request body ended early or did not match its Content-Length.",
    next: "Send the whole body.",
    retryable: false,
    message: () => "The request body ended before it was complete.",
  },
  MILLRACE_HTTP_MEDIA_TYPE_UNSUPPORTED: {
    when: "The request body has a content type, charset or content encoding that the endpoint does not take.",
    next: "Send the content type that the message names, in UTF-8, not compressed.",
    retryable: false,
    message: (d: { accepted: string; reason?: string | undefined }) =>
      `${d.reason ?? "The body has a content type that is not accepted here"}. Send ${d.accepted}.`,
  },
  MILLRACE_HTTP_MULTIPART_INVALID: {
    when: "A multipart body is malformed, or has more parts than the endpoint accepts.",
    next: "Send multipart/form-data as RFC 7578 defines it, within the endpoint's limits.",
    retryable: false,
    message: (d: { reason: string }) => `The multipart body is not usable: ${d.reason}`,
  },
  MILLRACE_HTTP_ROUTE_NOT_FOUND: {
    when: "Nothing is served at the path.",
    next: "Look the path up in /docs.",
    retryable: false,
    message: () => "Nothing is served at this path.",
  },
  MILLRACE_HTTP_METHOD_NOT_ALLOWED: {
    when: "The path exists, but not with this method.",
    next: "Use one of the methods in the Allow header.",
    retryable: false,
    message: (d: { method: string; allow: string }) => `This path does not take ${d.method}. It takes ${d.allow}.`,
  },
  MILLRACE_HTTP_URL_INVALID: {
    when: "The URL is not a valid one: a percent-encoding is broken or does not spell UTF-8, or a character is not encoded.",
    next: "Percent-encode every byte of a UTF-8 text.",
    retryable: false,
    message: (d: { reason: string }) => `The URL is not valid: ${d.reason}.`,
  },
  MILLRACE_HTTP_MESSAGE_INVALID: {
    when: "What arrived on the connection is not HTTP, or not a request that can be answered.",
    next: "Send HTTP/1.1 as RFC 9112 defines it.",
    retryable: false,
    message: () => "What arrived is not a valid HTTP request.",
  },
  MILLRACE_HTTP_HEADERS_TOO_LARGE: {
    when: "The request's header section exceeds the server's limit.",
    next: "Send fewer or shorter headers; long cookies are the usual reason.",
    retryable: false,
    message: () => "The request's headers are larger than this server accepts.",
  },
  MILLRACE_HTTP_REQUEST_TIMEOUT: {
    when: "The request did not arrive completely within headersTimeout or requestTimeout.",
    next: "Send the whole request faster.",
    retryable: true,
    message: () => "The request did not arrive in time.",
  },
  MILLRACE_HTTP_REQUEST_REFUSED: {
    when: "A Fastify plugin or hook refused the request with a 4xx status and no problem code of its own.",
    next: "Read `detail`.",
    retryable: false,
    message: (d: { reason: string }) => d.reason,
  },
  MILLRACE_HTTP_RANGE_UNSATISFIABLE: {
    when: "The Range header asks for bytes beyond the end of the answer.",
    next: "Ask within the length that Content-Range names.",
    retryable: false,
    message: (d: { contentRange: string }) => `The range begins beyond the end of what there is, which is "${d.contentRange}".`,
  },
  MILLRACE_HTTP_UNAUTHENTICATED: {
    when: "The endpoint needs a principal, and the request has no credentials or unusable ones.",
    next: "Send valid credentials in the scheme that WWW-Authenticate names.",
    retryable: false,
    message: (d: { reason: string; challenge: string }) => d.reason,
  },
  MILLRACE_HTTP_VALUE_REFUSED: {
    when: "The database refused a value of the request: out of range, too long, or not valid for its type.",
    next: "Send a value that the field can hold. Declare its bounds in the endpoint's schema, and the problem names the field.",
    retryable: false,
    message: () => "A value in the request is out of range, too long, or not valid for its type.",
  },
  MILLRACE_HTTP_CONFLICT: {
    when: "A unique or foreign key of the database refused the change.",
    next: "Fetch the current state and decide again.",
    retryable: false,
    message: () => "The request conflicts with what exists, or refers to something that does not exist.",
  },
  MILLRACE_HTTP_UNAVAILABLE: {
    when: "Something that the request needs is not available at the moment.",
    next: "Repeat the request after the time in Retry-After.",
    retryable: true,
    message: () => "Something that this request needs is not available at the moment.",
  },
  MILLRACE_HTTP_PASSWORD_BUSY: {
    when: "Too many passwords are being hashed or verified at once.",
    next: "Repeat the request after the time in Retry-After; limit how often a client may log in.",
    retryable: true,
    message: (d: { waiting: number }) => `${d.waiting} passwords already wait to be hashed.`,
  },
  MILLRACE_HTTP_PASSWORD_HASH_INVALID: {
    when: "A stored password hash is not one that hashPassword() wrote.",
    next: "Store what hashPassword() returns, unchanged.",
    retryable: false,
    message: () => "A stored password hash is not an argon2id string in PHC format. Store what hashPassword() returns, unchanged.",
  },
  MILLRACE_HTTP_FILES_UNREADABLE: {
    when: "A directory of static files cannot be read, or has more files than it may have.",
    next: "Correct the directory that staticFiles() is given, or its maxFiles.",
    retryable: false,
    message: (d: { path: string; reason: string }) => `The static files in ${d.path} cannot be served: ${d.reason}.`,
  },
  MILLRACE_HTTP_CLIENT_CLOSED: {
    when: "The client closed the connection before the answer was complete; what was running for it has been cancelled.",
    next: "Nothing to do: nobody waits for the answer.",
    retryable: false,
    message: () => "The client closed the connection before the answer was complete.",
  },
  MILLRACE_HTTP_RESPONSE_INVALID: {
    when: "With `checkResponses`, a handler returned something that its response schema does not allow.",
    next: "Correct the handler or the schema; the log has the fields.",
    retryable: false,
    message: (d: { route: string; errors: readonly FieldError[] }) =>
      `The answer of ${d.route} does not match its response schema. ${listed(d.errors)}.`,
  },
  MILLRACE_HTTP_INTERNAL: {
    when: "Something failed that the client can do nothing about. The log has it under the request id.",
    next: "Search the log for the request id.",
    retryable: false,
    message: () => "Something went wrong. It is in the log under this request id.",
  },
});
