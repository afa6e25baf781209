// Moving memory between threads instead of copying it. See docs/worker-pool.md.

import type { Transferable } from "node:worker_threads";

const lists = new WeakMap<object, readonly Transferable[]>();

/**
 * Marks what of a task's input or result is moved instead of copied: `transfer(pixels, [pixels.buffer])`. It is gone on this side
 * afterwards. Returns `value` itself.
 */
export function transfer<Value extends object>(value: Value, transferables: readonly Transferable[]): Value {
  lists.set(value, transferables);
  return value;
}

/** What was marked, once. */
export function transferablesOf(value: unknown): readonly Transferable[] | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const list = lists.get(value);
  lists.delete(value);
  return list;
}
