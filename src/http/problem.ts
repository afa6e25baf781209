// Problem details (RFC 9457): the one shape of every failure that a client sees. See docs/problems.md.

/** Where in the request a field is. */
export type RequestPart = "params" | "query" | "headers" | "body";

/** One field that is not as it must be. */
export interface FieldError {
  readonly in: RequestPart;
  /** The name; in a body the path of names and positions, as in `tags.2`. Empty for the body as a whole. */
  readonly field: string;
  readonly message: string;
  /** The name that was probably meant. */
  readonly suggestion?: string;
}

/** The body of a problem response, `application/problem+json`. */
export interface ProblemDocument {
  /** `/docs/problems#<code>`: identifies the kind of problem, and is where people can read about it. */
  readonly type: string;
  /** The status in words. */
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  /** The path that was asked for, without its query; absent when the request could not be read that far. */
  readonly instance?: string;
  /** Stable, for programs. */
  readonly code: string;
  /** Find it in the log. */
  readonly requestId: string;
  readonly errors?: readonly FieldError[];
}

export interface ProblemOptions {
  readonly errors?: readonly FieldError[];
  /** Sent with the answer, such as `{ "retry-after": "5" }`. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Only for the log. */
  readonly cause?: unknown;
}

/** A failure that a handler answers with on purpose. Create it with problem(). */
export class Problem extends Error {
  readonly status: number;
  readonly code: string;
  readonly errors: readonly FieldError[] | undefined;
  readonly headers: Readonly<Record<string, string>> | undefined;

  constructor(status: number, code: string, detail: string, options: ProblemOptions) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "Problem";
    this.status = status;
    this.code = code;
    this.errors = options.errors;
    this.headers = options.headers;
  }
}

/**
 * A failure to throw from a handler: `throw problem(404, "CITY_NOT_FOUND", "No city has the id 5.")`.
 * `detail` goes to the client as it is, so it must not say anything internal.
 * @throws RangeError when `status` is not from 400 to 599, or `code` is not UPPER_CASE
 */
export function problem(status: number, code: string, detail: string, options: ProblemOptions = {}): Problem {
  if (!Number.isInteger(status) || status < 400 || status > 599)
    throw new RangeError(`A problem's status is from 400 to 599, not ${status}.`);
  if (!/^[A-Z][A-Z0-9_]*$/.test(code))
    throw new RangeError(`A problem's code is UPPER_CASE, such as CITY_NOT_FOUND, not ${JSON.stringify(code)}.`);
  return new Problem(status, code, detail, options);
}
