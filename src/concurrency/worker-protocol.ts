// What a pool and its threads say to each other: data that can be cloned into another thread.

import type { PortableContext } from "./context.ts";

/** One call of a function in a thread. */
export interface TaskMessage {
  /** URL of the module. */
  readonly module: string;
  readonly name: string;
  readonly input: unknown;
  readonly context: PortableContext;
  /** Milliseconds until the task is aborted; absent: never. The clocks of two threads are not compared. */
  readonly remainingMs: number | undefined;
}

/** What the thread says at the end; a thread that says nothing of it has been lost. */
export type TaskAnswer =
  | { readonly ok: true; readonly result: unknown }
  | { readonly ok: false; readonly error: unknown; readonly fields: Readonly<Record<string, unknown>> | undefined }
  | { readonly ok: false; readonly invalid: string; readonly cause: unknown };
