// Closing in order: what was opened last closes first, once, each part within its time, and one failure does not keep the rest open.

import { type Clock, systemClock } from "./clock.ts";
import { formatDuration } from "./duration.ts";
import { coreErrors } from "./error-table.ts";

/** Anything that can be closed. Closing twice returns the same promise or does nothing. */
export interface Closeable extends AsyncDisposable {
  close(): Promise<void>;
}

/** A stack of parts that close together. */
export interface Lifecycle extends Closeable {
  /** True from the first call of close(). */
  readonly closing: boolean;
  /**
   * Registers a part. `name` is for messages. Its `close` may take `timeoutMs` (default 10 s) before it is given up.
   * A part added while the others close is closed with them.
   * @throws MILLRACE_CLOSED when everything has closed: nobody would ever close it.
   */
  add(name: string, close: () => unknown, timeoutMs?: number): void;
  /** @throws MILLRACE_CLOSED once close() was called. */
  assertOpen(): void;
}

/** Ten seconds: half of the time that Kubernetes and most init systems wait after SIGTERM at the shortest common setting (30 s, less a drain). */
const defaultCloseTimeoutMs = 10_000;

async function closePart(clock: Clock, name: string, close: () => unknown, timeoutMs: number): Promise<void> {
  const { promise: timedOut, reject } = Promise.withResolvers<never>();
  using _timer = clock.timer(
    timeoutMs,
    () => reject(coreErrors.create("MILLRACE_CLOSE_TIMEOUT", { part: name, timeout: formatDuration(timeoutMs) })),
    true,
  );
  await Promise.race([Promise.resolve().then(close), timedOut]);
}

/** Creates an empty lifecycle for `subject`, which messages name. */
export function createLifecycle(subject: string, clock: Clock = systemClock): Lifecycle {
  const parts: { readonly name: string; readonly close: () => unknown; readonly timeoutMs: number }[] = [];
  let closed: Promise<void> | undefined;
  let allClosed = false;

  const closeAll = async (): Promise<void> => {
    const failures: unknown[] = [];
    for (let part = parts.pop(); part; part = parts.pop()) {
      try {
        await closePart(clock, part.name, part.close, part.timeoutMs);
      } catch (error) {
        failures.push(error);
      }
    }
    allClosed = true;
    if (failures.length === 1) throw failures[0];
    if (failures.length > 1) throw new AggregateError(failures, `${failures.length} parts of ${subject} failed to close.`);
  };
  const close = () => (closed ??= closeAll());
  const refuse = () => coreErrors.create("MILLRACE_CLOSED", { subject });

  return {
    get closing() {
      return closed !== undefined;
    },
    add(name, closeThis, timeoutMs = defaultCloseTimeoutMs) {
      if (allClosed) throw refuse();
      parts.push({ name, close: closeThis, timeoutMs });
    },
    assertOpen() {
      if (closed) throw refuse();
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
