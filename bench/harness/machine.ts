// What the numbers were measured on; a figure without it means nothing.

import { availableParallelism, cpus, loadavg, release, totalmem } from "node:os";

/** One line about the machine. */
export function machine(): string {
  const model = cpus()[0]?.model.trim() ?? "unknown processor";
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  const load = loadavg()[0]!.toFixed(2);
  return `${model}, ${availableParallelism()} cores, ${memory}, Linux ${release()}, Node ${process.version}, load ${load} at start`;
}
