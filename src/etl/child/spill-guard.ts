// Ends a run that spills more than it may. DuckDB has a setting for this, but a sort of 100 MB went past one of 8 MB (1.5.6).

import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { etlErrors } from "../errors.ts";

/** How often it looks. A disk takes some hundred MB in this time at the most. */
const everyMs = 200;

/** Rejects when the files of `directory` have more than `maxMb`; it never resolves. Disposed, it looks no more. */
export function guardSpill(directory: string, maxMb: number): Disposable & { readonly exceeded: Promise<never> } {
  const { promise, reject } = Promise.withResolvers<never>();
  promise.catch(() => {}); // whoever waits hears of it
  const look = async () => {
    const names = await readdir(directory).catch((): string[] => []);
    const sizes = await Promise.all(
      names.map((name) =>
        stat(join(directory, name)).then(
          ({ size }) => size,
          () => 0,
        ),
      ),
    );
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    if (bytes <= maxMb * 1_048_576) return;
    const reason = `it spilled ${Math.ceil(bytes / 1_048_576)} MB, more than maxSpillMb (${maxMb})`;
    reject(etlErrors.create("MILLRACE_ETL_DISK_FULL", { directory, reason }));
  };
  const timer = setInterval(() => void look(), everyMs);
  return { exceeded: promise, [Symbol.dispose]: () => clearInterval(timer) };
}
