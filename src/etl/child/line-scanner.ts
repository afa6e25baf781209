// Finds the lines of an NDJSON file; whether a line is JSON is the engine's to say. Each goes on behind its number.

import { isUtf8 } from "node:buffer";
import type { OnBadRow } from "./csv-scanner.ts";
import type { RowSink } from "./row-sink.ts";

const newline = 10;
const carriageReturn = 13;

/** Between a line's number and its text: a character that no JSON text holds as it is. */
export const lineSeparator = "\x01";

export interface LineScannerOptions {
  readonly maxRowBytes: number;
  readonly sink: RowSink;
  readonly onBadRow: OnBadRow;
}

export class LineScanner {
  line = 1;
  readonly begun = true;
  sink: RowSink;
  readonly #options: LineScannerOptions;
  #skipping = false;

  constructor(options: LineScannerOptions) {
    this.#options = options;
    this.sink = options.sink;
  }

  /** As CsvScanner's. */
  scan(bytes: Buffer, last: boolean): number {
    const { maxRowBytes } = this.#options;
    const end = bytes.length;
    let at = 0;
    while (at < end) {
      const found = bytes.indexOf(newline, at);
      const lineEnd = found === -1 ? end : found;
      const complete = found !== -1 || last;
      if (this.#skipping) {
        at = complete ? lineEnd + 1 : end;
        if (!complete) break;
        this.#skipping = false;
        this.line++;
        continue;
      }
      if (lineEnd - at > maxRowBytes) {
        this.#refuse(bytes, at, lineEnd, `it is longer than ${maxRowBytes} bytes`);
        this.#skipping = true;
        continue;
      }
      if (!complete) break;
      const stop = lineEnd > at && bytes[lineEnd - 1] === carriageReturn ? lineEnd - 1 : lineEnd;
      if (stop > at) this.#take(bytes, at, stop);
      this.line++;
      at = lineEnd + 1;
    }
    return Math.min(at, end);
  }

  #take(bytes: Buffer, at: number, stop: number): void {
    const text = bytes.subarray(at, stop);
    if (!isUtf8(text)) return this.#refuse(bytes, at, stop, "it is not in UTF-8");
    // Control characters cannot stand in JSON texts as they are, and the engine's reader would take these for its own.
    if (text.includes(1) || text.includes(0) || text.includes(carriageReturn)) {
      return this.#refuse(bytes, at, stop, "it holds a control character");
    }
    const { sink } = this;
    sink.reserve(text.length);
    const from = sink.writeLine(sink.length, this.line, 1);
    text.copy(sink.bytes, from);
    sink.bytes[from + text.length] = newline;
    sink.length = from + text.length + 1;
    sink.rows++;
  }

  #refuse(bytes: Buffer, at: number, stop: number, reason: string): void {
    this.#options.onBadRow(this.line, this.line, reason, bytes.toString("utf8", at, Math.min(stop, at + 300)).trimEnd());
  }
}
