// What follows the work across awaits: which request it is, for whom, and when it must end. See docs/context.md.

import { AsyncLocalStorage } from "node:async_hooks";
import type { Deadline } from "./deadline.ts";

/** The circumstances of the work that is running. One object per request, task or script; its identity is the work's identity. */
export interface WorkContext {
  /** Identifies the request or task in logs and in messages to other services. */
  readonly requestId: string;
  /** When the work must end; what waits or runs a statement listens to it. */
  readonly deadline: Deadline;
  /** For whom: a stable identifier of the principal, or undefined when nobody is identified (yet). */
  principalId?: string | undefined;
}

const storage = new AsyncLocalStorage<WorkContext>();

/** The context of the running work, or undefined outside of any. */
export function currentContext(): WorkContext | undefined {
  return storage.getStore();
}

/** Runs `work` in `context`: everything it calls and awaits sees it in currentContext(). */
export function runInContext<Result>(context: WorkContext, work: () => Result): Result {
  return storage.run(context, work);
}
