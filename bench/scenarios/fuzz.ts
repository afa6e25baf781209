// The fast lane's reader against node's own parser, long: whatever the reader takes for a request, node must read as exactly this request.
// Not a measurement: it fails at the first difference. docs/fast-lane.md tells what is compared.

import { knownHeaders } from "../../src/http/fast-lane/known-headers.ts";
import { RequestReader } from "../../src/http/fast-lane/request-reader.ts";
import { type FuzzCounts, fuzz } from "../../test/http/fast-lane/fuzz/compare.ts";
import type { BenchOptions } from "../harness/options.ts";
import { printTable } from "../harness/rounds.ts";

const defaultInputs = 10_000_000;

export async function run({ operations: inputs = defaultInputs, seed = 1 }: BenchOptions): Promise<unknown> {
  const startedMs = performance.now();
  const show = (counts: Readonly<FuzzCounts>): void => {
    process.stderr.write(
      `\r\x1b[K${counts.inputs.toLocaleString("en")} inputs, ${counts.accepted.toLocaleString("en")} requests taken, ` +
        `${Math.round((performance.now() - startedMs) / 1_000)} s`,
    );
  };
  const counts = fuzz({ seed, inputs, createReader: () => new RequestReader(), knownHeaders, log: show });
  process.stderr.write("\r\x1b[K");
  const seconds = (performance.now() - startedMs) / 1_000;
  printTable(
    ["inputs", "requests taken", "cut at every byte", "read by a new reader, too", "differences", "seconds"],
    [
      [counts.inputs, counts.accepted, counts.cutEverywhere, counts.readAnew, 0, Math.round(seconds)].map((n) =>
        n.toLocaleString("en"),
      ),
    ],
  );
  return { ...counts, seed, seconds };
}
