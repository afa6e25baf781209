// What an encoder of rows is, and the field formats that JSON and CSV share. See docs/streaming-export.md.

/** Turns DataRow messages into text, in place of pg's parser, its strings and its objects. */
export interface RowEncoder {
  /** Rows written so far. */
  readonly rows: number;
  /** What stands before the first row. */
  begin(): void;
  /** Encodes the complete DataRow messages that lie one behind the other from `start`; returns where the first other byte is. */
  encode(bytes: Buffer, start: number, end: number): number;
  /** What stands behind the last row of a whole export. */
  end(): void;
}

/** The type of a DataRow message (PostgreSQL documentation, 54.7). Its content: int16 fields; per field int32 length (−1: NULL), bytes. */
export const dataRowType = 0x44;
/** Bytes of a DataRow message in front of its first field: type, length, number of fields. */
export const dataRowHeaderBytes = 7;

/** Four bytes as a signed integer. The DataView and Buffer methods check more than an inner loop can afford. */
export const int32At = (bytes: Buffer, at: number): number =>
  (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
