// The one error shape of the kit. Every capability declares its codes in its own errors.ts through defineErrors;
// docs/errors.md lists them all, and test/errors.test.ts holds the two together.

/** What an error carries beside its message: the values it is about, for logs and for programs. Never a secret. */
export type ErrorDetails = Readonly<Record<string, unknown>>;

/** Every error that Millrace itself raises. Match on `code`, never on `message`. */
export class MillraceError extends Error {
  /** Stable, for programs: `MILLRACE_<CAPABILITY>_<WHAT>`. */
  readonly code: string;
  readonly details: ErrorDetails;
  /** True when the same call may succeed later without a change by the caller. */
  readonly retryable: boolean;

  constructor(code: string, message: string, options: { details?: ErrorDetails; retryable?: boolean; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "MillraceError";
    this.code = code;
    this.details = options.details ?? {};
    this.retryable = options.retryable ?? false;
  }
}

/** One row of the error table. */
export interface ErrorDefinition {
  /** One sentence for docs/errors.md: when it is raised. */
  readonly when: string;
  /** One sentence for docs/errors.md: what to do about it. */
  readonly next: string;
  readonly retryable: boolean;
  /** The message of one error: what happened, the value, the next step. */
  // oxlint-disable-next-line typescript/no-explicit-any -- each row names its own details; create() below checks them
  readonly message: (details: any) => string;
}

type DetailsOf<D extends ErrorDefinition> = Parameters<D["message"]> extends [infer Details] ? Details : Record<string, never>;

/** The codes of one capability and the only way to raise them. */
export interface ErrorCatalog<T extends Readonly<Record<string, ErrorDefinition>>> {
  readonly table: T;
  create<Code extends keyof T & string>(code: Code, details: DetailsOf<T[Code]>, cause?: unknown): MillraceError;
  /** Whether `error` is a MillraceError of this catalog, or of this one code. */
  is(error: unknown, code?: keyof T & string): error is MillraceError;
}

/** Declares the error codes of a capability; see any errors.ts. */
export function defineErrors<const T extends Readonly<Record<string, ErrorDefinition>>>(table: T): ErrorCatalog<T> {
  return {
    table,
    create(code, details, cause) {
      const definition = table[code]!;
      return new MillraceError(code, definition.message(details), {
        details: details as ErrorDetails,
        retryable: definition.retryable,
        cause,
      });
    },
    is: (error, code): error is MillraceError =>
      error instanceof MillraceError && (code === undefined ? Object.hasOwn(table, error.code) : error.code === code),
  };
}
