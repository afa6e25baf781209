// Waiting for what has no channel of its own, within a bound.

import { setTimeout as sleep } from "node:timers/promises";

/** Resolves with the first result of `look` that is neither undefined nor false; `what` is for the failure's message. */
export async function eventually<Result>(
  what: string,
  look: () => Result | false | undefined | Promise<Result | false | undefined>,
  boundMs = 20_000,
): Promise<Result> {
  const untilMs = performance.now() + boundMs;
  for (;;) {
    const result = await look();
    if (result !== undefined && result !== false) return result;
    if (performance.now() > untilMs) throw new Error(`It did not happen within ${boundMs} ms: ${what}`);
    await sleep(10);
  }
}
