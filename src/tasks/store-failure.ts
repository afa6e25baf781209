// How every store says that its server did not answer.

import type { MillraceError } from "../core/index.ts";
import { tasksErrors } from "./errors.ts";

/** `operation` is the contract's method. The reason is shown to operators: no values of tasks in it. */
export function storeUnavailable(store: string, operation: string, cause: unknown): MillraceError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return tasksErrors.create("MILLRACE_TASKS_STORE_UNAVAILABLE", { store, operation, reason }, cause);
}
