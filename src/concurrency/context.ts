// What follows the work across awaits and into workers: which request it is, for whom, and when it must end. See docs/context.md.

import { AsyncLocalStorage } from "node:async_hooks";
import type { Deadline } from "./deadline.ts";
import type { TraceContext } from "./trace.ts";

/** The circumstances of the work that is running. One object per request, task or script; its identity is the work's identity. */
export interface WorkContext {
  /** Identifies the request or task in logs and in messages to other services. */
  readonly requestId: string;
  /** When the work must end; what waits or runs a statement listens to it. */
  readonly deadline: Deadline;
  /** For whom: a stable identifier of the principal, or undefined when nobody is identified (yet). */
  principalId?: string | undefined;
  /** Whose data the work is about, where a service keeps several customers apart. */
  tenant?: string | undefined;
  /** The distributed trace that the work belongs to. */
  readonly trace?: TraceContext | undefined;
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

/** Who asks to be read and written on the work itself; only the end is another. */
class PartContext implements WorkContext {
  readonly whole: WorkContext;
  readonly deadline: Deadline;

  constructor(whole: WorkContext, deadline: Deadline) {
    this.whole = whole;
    this.deadline = deadline;
  }

  get requestId(): string {
    return this.whole.requestId;
  }

  get principalId(): string | undefined {
    return this.whole.principalId;
  }

  set principalId(principalId: string | undefined) {
    this.whole.principalId = principalId;
  }

  get tenant(): string | undefined {
    return this.whole.tenant;
  }

  set tenant(tenant: string | undefined) {
    this.whole.tenant = tenant;
  }

  get trace(): TraceContext | undefined {
    return this.whole.trace;
  }
}

/** The context of a part of `context`'s work that has an end of its own: a group, a timeout. Everything else is the whole's. */
export function contextOfPart(context: WorkContext, deadline: Deadline): WorkContext {
  return new PartContext(wholeOf(context), deadline);
}

/** The work that `context` is a part of, or `context` itself: parts of one request share what is remembered per request. */
export function wholeOf(context: WorkContext): WorkContext {
  return context instanceof PartContext ? context.whole : context;
}

/** A context as data, for another thread or process. */
export interface PortableContext {
  readonly requestId: string;
  readonly principalId?: string | undefined;
  readonly tenant?: string | undefined;
  readonly trace?: TraceContext | undefined;
}

/** What of `context` can travel. The deadline does not: say how long is left, on the other side's clock. */
export function portableContext(context: WorkContext): PortableContext {
  const { requestId, principalId, tenant, trace } = context;
  return { requestId, principalId, tenant, trace };
}
