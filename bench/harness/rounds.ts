// Interleaved rounds: A B C, A B C, … so that whatever else the machine does falls on all of them. What counts is the ratio to
// the baseline of the same round.

/** One thing to compare. `measure` returns the figure of one run; larger is better unless the table says otherwise. */
export interface Candidate {
  readonly name: string;
  measure(): Promise<number>;
}

export interface Samples {
  readonly name: string;
  readonly values: readonly number[];
}

/** Runs every candidate once per round, in order. */
export async function interleave(candidates: readonly Candidate[], rounds: number): Promise<Samples[]> {
  const samples = candidates.map(({ name }) => ({ name, values: [] as number[] }));
  for (let round = 1; round <= rounds; round++) {
    for (const [i, candidate] of candidates.entries()) {
      process.stderr.write(`\r\x1b[Kround ${round} of ${rounds}: ${candidate.name}`);
      samples[i]!.values.push(await candidate.measure());
    }
  }
  process.stderr.write("\r\x1b[K");
  return samples;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

const compact = (value: number): string =>
  value >= 10_000
    ? `${(value / 1000).toFixed(1)}k`
    : value >= 100
      ? value.toFixed(0)
      : value >= 1
        ? value.toFixed(2)
        : value.toPrecision(2);

/** Prints rows under headings, columns aligned. */
export function printTable(headings: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = headings.map((heading, i) => Math.max(heading.length, ...rows.map((row) => row[i]!.length)));
  const line = (cells: readonly string[]) =>
    cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join("  ");
  console.log(line(headings));
  for (const row of rows) console.log(line(row));
}

/**
 * Prints min, median and max of each candidate, and its ratio to each of `baselines`: the median over rounds of the ratios
 * within a round.
 */
export function printComparison(unit: string, samples: readonly Samples[], baselines: readonly string[]): void {
  const rows = samples.map(({ name, values }) => [
    name,
    compact(Math.min(...values)),
    compact(median(values)),
    compact(Math.max(...values)),
    ...baselines.map((baseline) => {
      const base = samples.find((other) => other.name === baseline);
      if (!base) return "–";
      return `× ${median(values.map((value, round) => value / base.values[round]!)).toFixed(2)}`;
    }),
  ]);
  printTable([unit, "min", "median", "max", ...baselines.map((baseline) => `to ${baseline}`)], rows);
}
