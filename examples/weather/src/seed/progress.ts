// Shows how far the loading is: a bar that moves on a terminal, one line per data set elsewhere.

import type { OnProgress } from "./seed.ts";

const width = 30;

/** Returns the function that seed() reports to. */
export function showProgress(stream: NodeJS.WriteStream): OnProgress {
  return (name, done, total) => {
    const filled = Math.round((done / total) * width);
    const text = `${name.padEnd(15)} ${"█".repeat(filled)}${"░".repeat(width - filled)} ${done.toLocaleString("en")} of ${total.toLocaleString("en")}`;
    if (stream.isTTY) stream.write(`\r${text}${done === total ? "\n" : ""}`);
    else if (done === total) stream.write(`Loaded ${total.toLocaleString("en")} ${name}.\n`);
  };
}
