// Which status a failure gets, and what a client may read about it. The floors below know nothing of HTTP; this is the one
// place where their codes meet a status. See docs/problems.md.

import { STATUS_CODES } from "node:http";
import { MillraceError } from "../core/index.ts";
import { httpErrors } from "./errors.ts";
import { type FieldError, Problem, type ProblemDocument, type RequestPart } from "./problem.ts";

/** How one code is answered. */
export interface ProblemRow {
  readonly status: number;
  /** What the client reads. Absent: the error's own message, which must then be fit for strangers. */
  readonly detail?: string;
  readonly retryAfterSeconds?: number;
  /** The part of the request that the error is about. */
  readonly field?: { readonly in: RequestPart; readonly field: string };
}

const cursor = { in: "query", field: "cursor" } as const;
const unknownOutcome =
  "The connection to the database broke while this request was changing something. Check whether it took effect before you repeat it.";

const upstreamFailed = "A service that this one needs did not give a usable answer.";

/** Codes without a row are faults of the program: 500, and nothing about them leaves the process. */
export const problemTable: Readonly<Record<string, ProblemRow>> = {
  MILLRACE_HTTP_REQUEST_INVALID: { status: 400 },
  MILLRACE_HTTP_BODY_INVALID: { status: 400 },
  MILLRACE_HTTP_BODY_INCOMPLETE: { status: 400 },
  MILLRACE_HTTP_MULTIPART_INVALID: { status: 400 },
  MILLRACE_HTTP_URL_INVALID: { status: 400 },
  MILLRACE_HTTP_MESSAGE_INVALID: { status: 400 },
  MILLRACE_HTTP_REQUEST_REFUSED: { status: 400 },
  MILLRACE_HTTP_VALUE_REFUSED: { status: 400 },
  MILLRACE_HTTP_UNAUTHENTICATED: { status: 401 },
  MILLRACE_HTTP_ROUTE_NOT_FOUND: { status: 404 },
  MILLRACE_HTTP_METHOD_NOT_ALLOWED: { status: 405 },
  MILLRACE_HTTP_REQUEST_TIMEOUT: { status: 408 },
  MILLRACE_HTTP_CONFLICT: { status: 409 },
  MILLRACE_HTTP_BODY_TOO_LARGE: { status: 413 },
  MILLRACE_HTTP_MEDIA_TYPE_UNSUPPORTED: { status: 415 },
  MILLRACE_HTTP_RANGE_UNSATISFIABLE: { status: 416 },
  MILLRACE_HTTP_HEADERS_TOO_LARGE: { status: 431 },
  MILLRACE_HTTP_CLIENT_CLOSED: { status: 499 }, // nobody reads it; nginx's number, for the log
  MILLRACE_HTTP_INTERNAL: { status: 500 },
  MILLRACE_HTTP_UNAVAILABLE: { status: 503, retryAfterSeconds: 1 },
  MILLRACE_HTTP_PASSWORD_BUSY: { status: 503, retryAfterSeconds: 2, detail: "Too many log-ins at once. Try again in a moment." },

  MILLRACE_CURSOR_INVALID: { status: 400, field: cursor },
  MILLRACE_CURSOR_FOREIGN: { status: 400, field: cursor },
  MILLRACE_CURSOR_OUTDATED: { status: 400, field: cursor },
  MILLRACE_KEYSET_LIMIT_INVALID: { status: 400, field: { in: "query", field: "limit" } },

  // The database is expected back by itself: one second spreads the retries, and is about as long as a restart takes.
  MILLRACE_DATABASE_UNAVAILABLE: { status: 503, retryAfterSeconds: 1, detail: "The database cannot be reached at the moment." },
  MILLRACE_TASKS_STORE_UNAVAILABLE: {
    status: 503,
    retryAfterSeconds: 1,
    detail: "Work for later cannot be taken on at the moment.",
  },
  MILLRACE_DATABASE_POOL_EXHAUSTED: {
    status: 503,
    retryAfterSeconds: 1,
    detail: "The service is busy: no database connection became free in time.",
  },
  // No Retry-After: repeating blindly could do the change twice.
  MILLRACE_DATABASE_CONNECTION_LOST: { status: 503, detail: unknownOutcome },
  MILLRACE_DATABASE_COMMIT_UNKNOWN: { status: 503, detail: unknownOutcome },
  MILLRACE_SEMAPHORE_FULL: { status: 503, retryAfterSeconds: 1, detail: "The service is busy: too much of this waits already." },
  MILLRACE_WORKER_QUEUE_FULL: { status: 503, retryAfterSeconds: 1, detail: "The service is busy: too many tasks wait already." },
  // What an upstream does is its matter: the client learns that it failed, the log which attempt failed how.
  MILLRACE_UPSTREAM_FAILED: { status: 502, detail: upstreamFailed },
  MILLRACE_UPSTREAM_STATUS: { status: 502, detail: upstreamFailed },
  MILLRACE_UPSTREAM_REDIRECT: { status: 502, detail: upstreamFailed },
  MILLRACE_UPSTREAM_RESPONSE_TOO_LARGE: { status: 502, detail: upstreamFailed },
  MILLRACE_UPSTREAM_RESPONSE_INVALID: { status: 502, detail: upstreamFailed },
  MILLRACE_UPSTREAM_OPEN: { status: 503, retryAfterSeconds: 2, detail: "A service that this one needs is down at the moment." },
  MILLRACE_UPSTREAM_BUSY: { status: 503, retryAfterSeconds: 1, detail: "The service is busy: too many calls wait already." },
  MILLRACE_UPSTREAM_TIMEOUT: { status: 504, detail: "A service that this one needs did not answer in time." },
  MILLRACE_EXPORT_INTERRUPTED: { status: 503, retryAfterSeconds: 1, detail: "The export was interrupted." },
  MILLRACE_CLOSED: { status: 503, retryAfterSeconds: 1, detail: "The service is shutting down." },
  // The cache is being closed under requests that wait for it.
  MILLRACE_CACHE_FILL_ABANDONED: { status: 503, retryAfterSeconds: 1, detail: "The service is shutting down." },
  // 504 and not 503: the server is well, this request was too slow, and the same request would be again.
  MILLRACE_CACHE_FILL_TIMEOUT: { status: 504, detail: "The answer took longer to make than it may." },
  // No Retry-After: what the request changed has happened, and the invalidation is sent again by itself. Repeating the request would do
  // the change twice, and after a second Redis may be away still.
  MILLRACE_CACHE_LEDGER_UNAVAILABLE: {
    status: 503,
    detail:
      "Not all servers could be told of a change. They are told as soon as that is possible; check before you repeat the request.",
  },
  MILLRACE_DEADLINE_EXCEEDED: {
    status: 504,
    detail: "The request took longer than it may. What was still running for it has been cancelled.",
  },
};

/** SQLSTATEs that a client's values or timing can cause, and the code that they become. Everything else is a fault of the program. */
const codeOfSqlState: Readonly<Record<string, keyof typeof httpErrors.table>> = {
  "22001": "MILLRACE_HTTP_VALUE_REFUSED", // string too long
  "22003": "MILLRACE_HTTP_VALUE_REFUSED", // number out of range
  "22007": "MILLRACE_HTTP_VALUE_REFUSED", // invalid date or time
  "22008": "MILLRACE_HTTP_VALUE_REFUSED", // date or time out of range
  "22021": "MILLRACE_HTTP_VALUE_REFUSED", // not valid in the database's encoding
  "22P02": "MILLRACE_HTTP_VALUE_REFUSED", // invalid text for the type
  "22P05": "MILLRACE_HTTP_VALUE_REFUSED", // character that cannot be translated
  "23514": "MILLRACE_HTTP_VALUE_REFUSED", // check constraint
  "23503": "MILLRACE_HTTP_CONFLICT", // foreign key
  "23505": "MILLRACE_HTTP_CONFLICT", // unique
  "23P01": "MILLRACE_HTTP_CONFLICT", // exclusion
  "25006": "MILLRACE_HTTP_UNAVAILABLE", // read-only: a failover is under way
  "40001": "MILLRACE_HTTP_UNAVAILABLE", // serialization failure
  "40P01": "MILLRACE_HTTP_UNAVAILABLE", // deadlock
  "55P03": "MILLRACE_HTTP_UNAVAILABLE", // lock not available
  "57014": "MILLRACE_HTTP_UNAVAILABLE", // cancelled by statement_timeout or an administrator
};
/** Connections lost, resources exhausted, server going down or coming up. */
const unavailableSqlState = /^(?:08|53|57P0)/;

const codeOfFastifyError: Readonly<Record<string, keyof typeof httpErrors.table>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: "MILLRACE_HTTP_BODY_TOO_LARGE",
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: "MILLRACE_HTTP_BODY_INCOMPLETE",
  FST_ERR_BAD_URL: "MILLRACE_HTTP_URL_INVALID",
  FST_ERR_MAX_PARAM_LENGTH: "MILLRACE_HTTP_ROUTE_NOT_FOUND",
  FST_REQ_FILE_TOO_LARGE: "MILLRACE_HTTP_BODY_TOO_LARGE",
};

/** A failure, ready to be answered. */
export interface Failure {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly errors: readonly FieldError[] | undefined;
  readonly headers: Readonly<Record<string, string>> | undefined;
}

/** What errors of many origins may carry. */
interface Clues {
  readonly code?: unknown;
  readonly severity?: unknown;
  readonly statusCode?: unknown;
  readonly message?: unknown;
}

function fromRow(
  code: string,
  row: ProblemRow,
  message: string,
  errors?: readonly FieldError[],
  headers?: Record<string, string>,
): Failure {
  const detail = row.detail ?? message;
  const withRetry = row.retryAfterSeconds === undefined ? headers : { ...headers, "retry-after": String(row.retryAfterSeconds) };
  return {
    status: row.status,
    code,
    detail,
    errors: errors ?? (row.field && [{ ...row.field, message: detail }]),
    headers: withRetry,
  };
}

/** For the codes whose messages need no details. */
const fromKitCode = (code: keyof typeof httpErrors.table): Failure =>
  fromRow(code, problemTable[code]!, httpErrors.table[code].message({} as never));

/** What every fault of the program looks like from outside. */
const internal: Failure = fromKitCode("MILLRACE_HTTP_INTERNAL");

/** Details of errors that the client gets as a header. */
const headerOf = { challenge: "www-authenticate", allow: "allow", contentRange: "content-range" } as const;

function fromMillraceError(error: MillraceError): Failure {
  const row = problemTable[error.code];
  if (!row) return internal;
  const { errors, ...told } = error.details as { errors?: readonly FieldError[] } & Partial<Record<keyof typeof headerOf, string>>;
  const headers = Object.entries(headerOf).flatMap(([detail, header]) => {
    const value = told[detail as keyof typeof headerOf];
    return value ? [[header, value] as const] : [];
  });
  return fromRow(error.code, row, error.message, errors, headers.length > 0 ? Object.fromEntries(headers) : undefined);
}

/** Nested deeper than this nobody looks: errors may contain themselves. */
const mostDepth = 8;

/**
 * The failures that `error` stands for, in the order in which they happened: those of a group of tasks or of Promise.any, those of a block and
 * of its end; else itself.
 */
export function failuresIn(error: unknown, depth = 0): readonly unknown[] {
  if (depth === mostDepth) return [error];
  const parts =
    error instanceof AggregateError ? error.errors : error instanceof SuppressedError ? [error.suppressed, error.error] : [];
  return parts.length === 0 ? [error] : parts.flatMap((part) => failuresIn(part, depth + 1));
}

/** How `error`, whatever it is and wherever it comes from, is answered: several failures as the first, whose siblings may only have followed. */
export function failureOf(whole: unknown): Failure {
  const error = failuresIn(whole)[0];
  if (error instanceof Problem) {
    return { status: error.status, code: error.code, detail: error.message, errors: error.errors, headers: error.headers };
  }
  if (error instanceof MillraceError) return fromMillraceError(error);
  if (typeof error !== "object" || error === null) return internal;
  const { code, severity, statusCode, message } = error as Clues;
  if (typeof code === "string" && typeof severity === "string") {
    const kitCode = codeOfSqlState[code] ?? (unavailableSqlState.test(code) ? "MILLRACE_HTTP_UNAVAILABLE" : undefined);
    return kitCode ? fromKitCode(kitCode) : internal;
  }
  if (typeof code === "string" && Object.hasOwn(codeOfFastifyError, code)) {
    const kitCode = codeOfFastifyError[code]!;
    return kitCode === "MILLRACE_HTTP_URL_INVALID"
      ? fromRow(kitCode, problemTable[kitCode]!, "The URL is not valid: a percent-encoding is broken or does not spell UTF-8.")
      : fromKitCode(kitCode);
  }
  // The convention of Fastify's ecosystem: an error with a 4xx statusCode is meant for the client.
  if (typeof statusCode === "number" && statusCode >= 400 && statusCode < 500) {
    return { ...fromKitCode("MILLRACE_HTTP_REQUEST_REFUSED"), status: statusCode, detail: String(message) };
  }
  return internal;
}

/** The body of a failure's answer. */
export function problemDocument(failure: Failure, path: string | undefined, requestId: string): ProblemDocument {
  const { status, code, detail, errors } = failure;
  return {
    type: `/docs/problems#${code}`,
    title: STATUS_CODES[status] ?? (status < 500 ? "Request refused" : "Failed"),
    status,
    detail,
    ...(path !== undefined && { instance: path }),
    code,
    requestId,
    ...(errors && { errors }),
  };
}
