// Finds the rows of a CSV file (RFC 4180) in its bytes, checks their structure and counts lines. What is well-formed goes on byte by
// byte behind its line's number, so that the engine has nothing left to guess, skip or misread. See docs/etl.md.
//
// | what is found                                   | becomes                       | reading goes on             |
// | ----------------------------------------------- | ----------------------------- | --------------------------- |
// | a row with as many fields as the first          | a row                         | behind it                   |
// | one with fewer or more; bytes that are no UTF-8 | a bad row                     | behind it                   |
// | a quote that is misplaced or never closed       | a bad row: its first line     | in the next line            |
// | a line, or a quote, of more than maxRowBytes    | a bad row: its first line     | in the next line            |
// | an empty line                                   | nothing: it holds no row      | in the next line            |
//
// So a stray quote costs its line and not all up to the next quote. Lines are counted as an editor does, those inside quotes too; the
// first one is 1.

import { isUtf8 } from "node:buffer";
import type { RowSink } from "./row-sink.ts";

const newline = 10;
const carriageReturn = 13;
const quote = 34;

/** As much of a bad row as its report shows, in bytes. */
const shownBytes = 300;

/** A row whose structure is wrong. `lastLine` differs where quotes held line breaks. */
export type OnBadRow = (line: number, lastLine: number, reason: string, text: string) => void;

export interface CsvScannerOptions {
  readonly delimiter: string;
  readonly maxRowBytes: number;
  readonly sink: RowSink;
  readonly onBadRow: OnBadRow;
  /** Called with the first row when there is a header. Undefined: there is none. */
  readonly onHeader: ((names: string[]) => void) | undefined;
  /** Called when the header cannot be read as a row. */
  readonly onBadHeader: (reason: string) => never;
  /** Fields of a row, when there is no header. */
  readonly fields: number | undefined;
}

export class CsvScanner {
  /** The line at which the next row begins. */
  line = 1;
  /** Where rows go; may be another after each scan. */
  sink: RowSink;
  readonly #options: CsvScannerOptions;
  readonly #delimiter: number;
  #fields: number;
  #inHeader: boolean;
  /** Inside a line that was found too long. */
  #skipping = false;
  // Of the row that was last looked at:
  #problem: string | undefined;
  #blank = false;
  #next = 0;
  #lines = 1;

  constructor(options: CsvScannerOptions) {
    this.#options = options;
    this.sink = options.sink;
    this.#delimiter = options.delimiter.charCodeAt(0);
    this.#fields = options.fields ?? 0;
    this.#inHeader = options.onHeader !== undefined;
  }

  /** Whether the header has been read, if there is to be one. */
  get begun(): boolean {
    return !this.#inHeader;
  }

  /**
   * Reads the rows in `bytes` into the sink; returns how many bytes need not come again. Unless these are the `last`, at most
   * maxRowBytes are left.
   */
  scan(bytes: Buffer, last: boolean): number {
    const { maxRowBytes } = this.#options;
    const { sink } = this;
    const end = bytes.length;
    const clean = isUtf8(last ? bytes : bytes.subarray(0, bytes.lastIndexOf(newline) + 1));
    let at = 0;
    let nextQuote = -1;
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
        this.#refuse(bytes, at, lineEnd, 1, `it is longer than ${maxRowBytes} bytes`);
        this.#skipping = true;
        continue;
      }
      if (!complete) break;

      const { length, rows } = sink;
      this.#problem = undefined;
      this.#blank = false;
      if (nextQuote < at) nextQuote = indexOrEnd(bytes, quote, at);
      if (nextQuote > lineEnd) this.#plainRow(bytes, at, lineEnd);
      else if (!this.#quotedRow(bytes, at, lineEnd, last)) break;
      const rowEnd = Math.min(this.#next, end);
      if (this.#problem === undefined && !clean && !isUtf8(bytes.subarray(at, rowEnd))) this.#problem = "it is not in UTF-8";

      if (this.#problem !== undefined) {
        sink.length = length;
        sink.rows = rows;
        this.#refuse(bytes, at, rowEnd, this.#lines, this.#problem);
      } else if (this.#inHeader && !this.#blank) {
        sink.length = length;
        sink.rows = rows;
        this.#readHeader(bytes.toString("utf8", at, rowEnd));
      }
      this.line += this.#lines;
      at = this.#next;
    }
    return Math.min(at, end);
  }

  /** A row without quotes: one line. */
  #plainRow(bytes: Buffer, at: number, lineEnd: number): void {
    this.#next = lineEnd + 1;
    this.#lines = 1;
    const stop = lineEnd > at && bytes[lineEnd - 1] === carriageReturn ? lineEnd - 1 : lineEnd;
    if (stop === at) {
      this.#blank = true;
      return;
    }
    const { sink } = this;
    const delimiter = this.#delimiter;
    sink.reserve(stop - at);
    const out = sink.bytes;
    let to = sink.writeLine(sink.length, this.line, delimiter);
    let fields = 1;
    for (let index = at; index < stop; index++) {
      const byte = bytes[index]!;
      out[to++] = byte;
      if (byte === delimiter) fields++;
      else if (byte <= carriageReturn && (byte === carriageReturn || byte === 0)) this.#problem = describe(byte);
    }
    out[to++] = newline;
    this.#end(to, fields);
  }

  /** A row with quotes in it: perhaps several lines. False: its end is not in `bytes` yet. */
  #quotedRow(bytes: Buffer, at: number, lineEnd: number, last: boolean): boolean {
    const { maxRowBytes } = this.#options;
    const { sink } = this;
    const delimiter = this.#delimiter;
    const end = bytes.length;
    const limit = Math.min(end, at + maxRowBytes + 1);
    sink.reserve(limit - at);
    const out = sink.bytes;
    let to = sink.writeLine(sink.length, this.line, delimiter);
    let fields = 1;
    let lines = 1;
    let inQuotes = false;
    let fieldStart = true;
    let index = at;
    this.#next = lineEnd + 1;
    this.#lines = 1;
    const malformed = (problem: string): true => {
      this.#problem = problem;
      return true;
    };

    for (; index < limit; index++) {
      const byte = bytes[index]!;
      if (inQuotes) {
        if (byte === 0) return malformed(describe(byte));
        if (byte === newline) lines++;
        if (byte === quote) {
          if (bytes[index + 1] === quote && index + 1 < end) {
            out[to++] = quote;
            index++;
          } else if (index + 1 >= end && !last) {
            return false; // the next byte says whether it is closed
          } else {
            inQuotes = false;
            const after = index + 1 < end ? bytes[index + 1]! : newline;
            const closes = after === delimiter || after === newline || (after === carriageReturn && bytes[index + 2] === newline);
            if (!closes) {
              if (after === carriageReturn && index + 2 >= end && !last) return false;
              if (!(after === carriageReturn && index + 2 >= end)) return malformed("something follows a closing quote");
            }
          }
        }
        out[to++] = byte;
      } else if (byte === newline) {
        break;
      } else if (byte === quote) {
        if (!fieldStart) return malformed("a quote stands inside a field that is not quoted");
        inQuotes = true;
        fieldStart = false;
        out[to++] = byte;
      } else if (byte === carriageReturn) {
        if (index + 1 < end ? bytes[index + 1] !== newline : !last) {
          if (index + 1 >= end) return false;
          return malformed(describe(byte));
        }
      } else if (byte === 0) {
        return malformed(describe(byte));
      } else {
        fieldStart = byte === delimiter;
        if (fieldStart) fields++;
        out[to++] = byte;
      }
    }

    if (index - at > maxRowBytes) {
      return malformed(inQuotes ? `a quote is not closed within ${maxRowBytes} bytes` : `it is longer than ${maxRowBytes} bytes`);
    }
    if (index >= end) {
      if (!last) return false;
      if (inQuotes) return malformed("a quote is not closed");
    }
    this.#next = index + 1;
    this.#lines = lines;
    out[to++] = newline;
    this.#end(to, fields);
    return true;
  }

  /** The row's bytes are in the sink up to `to`. */
  #end(to: number, fields: number): void {
    if (!this.#inHeader && fields !== this.#fields) {
      this.#problem ??= `it has ${fields} ${fields === 1 ? "field" : "fields"} where ${this.#fields} are expected`;
      return;
    }
    this.sink.length = to;
    this.sink.rows++;
  }

  #refuse(bytes: Buffer, at: number, rowEnd: number, lines: number, reason: string): void {
    if (this.#inHeader) this.#options.onBadHeader(reason);
    const text = bytes.toString("utf8", at, Math.min(rowEnd, at + shownBytes)).trimEnd();
    this.#options.onBadRow(this.line, this.line + lines - 1, reason, text);
  }

  #readHeader(text: string): void {
    const names = splitRow(text.replace(/\r?\n$/, ""), this.#options.delimiter);
    this.#fields = names.length;
    this.#inHeader = false;
    this.#options.onHeader!(names);
  }
}

const indexOrEnd = (bytes: Buffer, byte: number, from: number): number => {
  const index = bytes.indexOf(byte, from);
  return index === -1 ? Infinity : index;
};

const describe = (byte: number): string =>
  byte === 0 ? "it holds a NUL character" : "a carriage return stands inside a field that is not quoted";

/** The fields of one well-formed row. */
export function splitRow(text: string, delimiter: string): string[] {
  const fields: string[] = [];
  for (let at = 0; at <= text.length;) {
    if (text[at] === '"') {
      let close = at + 1;
      while (text[close] !== '"' || text[close + 1] === '"') close += text[close] === '"' ? 2 : 1;
      fields.push(text.slice(at + 1, close).replaceAll('""', '"'));
      at = close + 2;
    } else {
      const stop = text.indexOf(delimiter, at);
      fields.push(text.slice(at, stop === -1 ? undefined : stop));
      at = stop === -1 ? text.length + 1 : stop + 1;
    }
  }
  return fields;
}
