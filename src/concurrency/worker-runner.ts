// Runs in the threads of a worker pool: loads the module that a task names and calls its function, in the context of the work
// that asked for it. See docs/worker-pool.md.

import type { Transferable } from "node:worker_threads";
import { runInContext } from "./context.ts";
import { Deadline } from "./deadline.ts";
import { transferablesOf } from "./transfer.ts";
import type { TaskAnswer, TaskMessage } from "./worker-protocol.ts";

/** Loaded modules are remembered by Node; this saves the way through its loader. */
const modules = new Map<string, Readonly<Record<string, unknown>>>();

/** What of an error structured cloning would lose: everything but name, message, stack and cause. */
function fieldsOf(error: unknown): Readonly<Record<string, unknown>> | undefined {
  if (!(error instanceof Error)) return undefined;
  const fields: Record<string, unknown> = {};
  for (const [field, value] of Object.entries(error)) {
    try {
      fields[field] = structuredClone(value);
    } catch {
      // What cannot be cloned stays behind.
    }
  }
  return { ...fields, name: error.name };
}

/** An error that can be sent: one with a field or a cause that cannot be cloned would end the thread. */
function cloneable(error: unknown): unknown {
  try {
    structuredClone(error);
    return error;
  } catch {
    if (!(error instanceof Error)) return new Error(`The task threw what cannot leave its thread: ${typeof error}`);
    const copy = new Error(error.message);
    copy.stack = error.stack ?? "";
    return copy;
  }
}

async function load(url: string): Promise<Readonly<Record<string, unknown>>> {
  let loaded = modules.get(url);
  if (!loaded) {
    loaded = (await import(url)) as Readonly<Record<string, unknown>>;
    modules.set(url, loaded);
  }
  return loaded;
}

/** An answer of which `transferables` are moved. */
async function moved(answer: TaskAnswer, transferables: readonly Transferable[]): Promise<TaskAnswer> {
  const { move, transferableSymbol, valueSymbol } = await import("piscina");
  return move({ [transferableSymbol]: transferables, [valueSymbol]: answer } as never) as unknown as TaskAnswer;
}

/** Called by piscina for every task. Answers and never rejects: what rejects is the end of the thread. */
export async function runTask(message: TaskMessage): Promise<TaskAnswer> {
  let work: unknown;
  try {
    work = (await load(message.module))[message.name];
  } catch (error) {
    return { ok: false, invalid: "the module cannot be loaded", cause: cloneable(error) };
  }
  if (typeof work !== "function") return { ok: false, invalid: "the module exports no such function", cause: undefined };
  using deadline = new Deadline({ timeoutMs: message.remainingMs });
  try {
    const call = work as (input: unknown) => unknown;
    const result: unknown = await runInContext({ ...message.context, deadline }, () => call(message.input));
    const transferables = transferablesOf(result);
    return transferables ? await moved({ ok: true, result }, transferables) : { ok: true, result };
  } catch (error) {
    return { ok: false, error: cloneable(error), fields: fieldsOf(error) };
  }
}
