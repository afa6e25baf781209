// DataRow messages to CSV as RFC 4180 has it: a header, CRLF behind every record, quotes where they are needed. NULL is an
// empty field and the empty string is "", as PostgreSQL's COPY writes and reads them. See docs/streaming-export.md.

import type { ByteOutput } from "./byte-output.ts";
import { type ExportColumn, fieldKind } from "./export-columns.ts";
import { type RowEncoder, dataRowHeaderBytes, dataRowType, int32At } from "./row-encoder.ts";
import { writeAscii, writeInt32, writeInt64 } from "./write-number.ts";
import { maxTimestampBytes, writeDate, writeTimestamp } from "./write-timestamp.ts";

const comma = 0x2c;
const doubleQuote = 0x22;
const carriageReturn = 0x0d;
const lineFeed = 0x0a;

/** Per byte: 1 when a field that contains it must be quoted. */
const special = new Uint8Array(256);
for (const byte of [comma, doubleQuote, carriageReturn, lineFeed]) special[byte] = 1;

/** The most that a field takes beside its bytes: a comma, quotes, and the difference between 8 binary bytes and their text. */
const fieldSlackBytes = maxTimestampBytes + 4;

export class CsvRows implements RowEncoder {
  rows = 0;
  readonly #output: ByteOutput;
  readonly #columns: readonly ExportColumn[];
  readonly #kinds: Uint8Array;

  constructor(output: ByteOutput, columns: readonly ExportColumn[]) {
    this.#output = output;
    this.#columns = columns;
    this.#kinds = Uint8Array.from(columns, ({ kind }) => kind);
  }

  begin(): void {
    this.#output.writeText(`${this.#columns.map(({ name }) => quoteName(name)).join(",")}\r\n`);
  }

  end(): void {}

  encode(bytes: Buffer, start: number, end: number): number {
    const output = this.#output;
    const kinds = this.#kinds;
    const columns = kinds.length;
    const slackBytes = columns * fieldSlackBytes + 2;
    let out = output.bytes;
    let o = output.length;
    let offset = start;

    while (end - offset >= dataRowHeaderBytes && bytes[offset] === dataRowType) {
      const size = int32At(bytes, offset + 1);
      const next = offset + 1 + size;
      if (next > end) break;
      const room = size * 2 + slackBytes;
      if (o + room > out.length) {
        output.length = o;
        output.reserve(room);
        out = output.bytes;
        o = output.length;
      }

      let p = offset + dataRowHeaderBytes;
      for (let column = 0; column < columns; column++) {
        if (column > 0) out[o++] = comma;
        const length = int32At(bytes, p);
        p += 4;
        if (length < 0) continue;
        const stop = p + length;
        switch (kinds[column]) {
          case fieldKind.int4:
            o = writeInt32(out, o, int32At(bytes, p));
            break;
          case fieldKind.int8:
            o = writeInt64(out, o, int32At(bytes, p), int32At(bytes, p + 4));
            break;
          case fieldKind.int2:
            o = writeInt32(out, o, ((bytes[p]! << 24) >> 16) | bytes[p + 1]!);
            break;
          case fieldKind.boolean:
            o = writeAscii(out, o, bytes[p] === 1 ? "true" : "false");
            break;
          case fieldKind.date:
            o = writeDate(out, o, int32At(bytes, p));
            break;
          case fieldKind.timestamp:
          case fieldKind.timestamptz:
            o = writeTimestamp(out, o, int32At(bytes, p), int32At(bytes, p + 4), kinds[column] === fieldKind.timestamptz);
            break;
          default:
            o = writeField(out, o, bytes, p, stop);
        }
        p = stop;
      }
      out[o++] = carriageReturn;
      out[o++] = lineFeed;
      this.rows++;
      offset = next;
    }
    output.length = o;
    return offset;
  }
}

/** Copies a field, and starts again with quotes at the first byte that needs them. */
function writeField(out: Buffer, at: number, bytes: Buffer, start: number, end: number): number {
  if (start === end) return writeAscii(out, at, '""');
  let o = at;
  for (let i = start; i < end; i++) {
    const byte = bytes[i]!;
    if (special[byte] === 1) return writeQuoted(out, at, bytes, start, end);
    out[o++] = byte;
  }
  return o;
}

function writeQuoted(out: Buffer, at: number, bytes: Buffer, start: number, end: number): number {
  let o = at;
  out[o++] = doubleQuote;
  for (let i = start; i < end; i++) {
    const byte = bytes[i]!;
    if (byte === doubleQuote) out[o++] = doubleQuote;
    out[o++] = byte;
  }
  out[o++] = doubleQuote;
  return o;
}

const quoteName = (name: string): string => (/[",\r\n]/.test(name) || name === "" ? `"${name.replaceAll('"', '""')}"` : name);
