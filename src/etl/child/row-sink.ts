// Where a scanner puts the rows that it accepts, each behind the number of its line, until there are enough of them for a segment
// that the engine reads.

/** Longest number of a line, and what stands around it. */
const prefixBytes = 18;

export class RowSink {
  /** Bytes written so far; only scanners write. */
  bytes: Buffer<ArrayBuffer>;
  length = 0;
  rows = 0;

  constructor(size: number) {
    this.bytes = Buffer.allocUnsafeSlow(size);
  }

  /** Makes room for a row of so many bytes. */
  reserve(rowBytes: number): void {
    const needed = this.length + rowBytes + prefixBytes;
    if (needed <= this.bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.bytes.length));
    this.bytes.copy(larger, 0, 0, this.length);
    this.bytes = larger;
  }

  /** Writes the number of a line and a separator at `at`; returns where the row begins. */
  writeLine(at: number, line: number, separator: number): number {
    let digits = 1;
    for (let rest = line; rest >= 10; rest = Math.floor(rest / 10)) digits++;
    let rest = line;
    for (let index = at + digits - 1; index >= at; index--) {
      const tenth = Math.floor(rest / 10);
      this.bytes[index] = 48 + rest - 10 * tenth;
      rest = tenth;
    }
    this.bytes[at + digits] = separator;
    return at + digits + 1;
  }

  clear(): void {
    this.length = 0;
    this.rows = 0;
  }
}
