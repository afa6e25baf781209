// The rows that a run refuses, up to the limit, and the report of them: one JSON object a line, in the order of the source.

import { writeFile } from "node:fs/promises";
import { etlErrors } from "../errors.ts";

/** One bad row, as the report has it. */
export interface RejectedRow {
  /** The first line of the row in the source, from 1; in Parquet the row's number. Absent: a transform made the row and did not say from which. */
  readonly line?: number;
  /** The last line, where quotes hold line breaks. */
  readonly lastLine?: number;
  /** The column, where one is to blame. */
  readonly column?: string;
  /** Its value as text, shortened to 200 characters. */
  readonly value?: string;
  readonly reason: string;
  /** The beginning of the row, where it could not be taken apart. */
  readonly text?: string;
}

export class Rejects {
  readonly #max: number;
  readonly #rows: RejectedRow[] = [];

  constructor(max: number) {
    this.#max = max;
  }

  get count(): number {
    return this.#rows.length;
  }

  /** How many may still come before one is too many. */
  get room(): number {
    return this.#max - this.#rows.length;
  }

  /** @throws MILLRACE_ETL_TOO_MANY_REJECTS */
  add(row: RejectedRow): void {
    if (this.#rows.length >= this.#max) {
      const first = this.#sorted()[0] ?? row;
      throw etlErrors.create("MILLRACE_ETL_TOO_MANY_REJECTS", {
        rejected: this.#rows.length + 1,
        maxRejects: this.#max,
        firstLine: first.line,
        firstReason: describe(first),
      });
    }
    this.#rows.push(row);
  }

  async write(path: string): Promise<void> {
    await writeFile(
      path,
      this.#sorted()
        .map((row) => `${JSON.stringify(row)}\n`)
        .join(""),
    );
  }

  #sorted(): RejectedRow[] {
    return this.#rows.toSorted((one, other) => (one.line ?? Infinity) - (other.line ?? Infinity) || 0);
  }
}

export const describe = ({ column, reason }: RejectedRow): string => (column === undefined ? reason : `${column}: ${reason}`);
