// An error as the store keeps it, for people and for `millrace tasks show`.

/** Longer messages and stacks say no more, and a batch of failures must not become megabytes. */
const maxMessage = 2_000;
const maxStack = 8_000;
const maxCauses = 5;

interface Described {
  readonly name: string;
  readonly message: string;
  readonly code?: string;
  readonly stack?: string;
  readonly cause?: Described;
}

function describe(error: unknown, depth: number): Described {
  if (!(error instanceof Error)) return { name: "Thrown", message: String(error).slice(0, maxMessage) };
  const { code } = error as { code?: unknown };
  return {
    name: error.name.slice(0, 100),
    message: error.message.slice(0, maxMessage),
    ...(typeof code === "string" && { code: code.slice(0, 100) }),
    ...(depth === 0 && error.stack !== undefined && { stack: error.stack.slice(0, maxStack) }),
    ...(error.cause !== undefined && depth < maxCauses && { cause: describe(error.cause, depth + 1) }),
  };
}

/** JSON of `error`: name, message, code, stack, causes. Never fails. */
export function failureJson(error: unknown): string {
  try {
    return JSON.stringify(describe(error, 0));
  } catch {
    return '{"name":"Thrown","message":"It cannot be described."}';
  }
}
