// Reads the messages of pgoutput, protocol version 1 (PostgreSQL's manual, "Logical Replication Message Formats"), without making
// objects of rows: a tuple becomes the places of its values in the message.

/** First bytes of messages. */
export const messageKinds = {
  begin: 0x42, // B
  commit: 0x43, // C
  origin: 0x4f, // O
  relation: 0x52, // R
  type: 0x59, // Y
  insert: 0x49, // I
  update: 0x55, // U
  delete: 0x44, // D
  truncate: 0x54, // T
  message: 0x4d, // M
} as const;

/** What stands before a tuple. */
export const tupleKinds = {
  key: 0x4b, // K: only the columns of the replica identity have values
  old: 0x4f, // O: the whole old row
  new: 0x4e, // N
} as const;

export interface RelationColumn {
  readonly name: string;
  readonly typeOid: number;
  /** Whether it belongs to the replica identity. */
  readonly key: boolean;
}

export interface RelationMessage {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly columns: readonly RelationColumn[];
}

export interface LogicalMessage {
  readonly transactional: boolean;
  readonly prefix: string;
  readonly content: Buffer;
}

/** Where the text that begins at `at` and ends with a zero byte ends. */
function endOfText(message: Buffer, at: number): number {
  const end = message.indexOf(0, at);
  if (end === -1) throw new RangeError("A pgoutput message ends in the middle of a text.");
  return end;
}

/** `message` begins with R. */
export function readRelation(message: Buffer): RelationMessage {
  const oid = message.readUInt32BE(1);
  let at = 5;
  let end = endOfText(message, at);
  const schema = message.toString("utf8", at, end);
  at = end + 1;
  end = endOfText(message, at);
  const name = message.toString("utf8", at, end);
  at = end + 2; // the replica identity's letter says less than the columns' flags
  const count = message.readUInt16BE(at);
  at += 2;
  const columns: RelationColumn[] = [];
  for (let i = 0; i < count; i++) {
    const key = (message[at]! & 1) === 1;
    end = endOfText(message, at + 1);
    columns.push({ name: message.toString("utf8", at + 1, end), typeOid: message.readUInt32BE(end + 1), key });
    at = end + 9;
  }
  return { oid, schema: schema === "" ? "pg_catalog" : schema, name, columns };
}

/** `message` begins with T: the oids of the tables that were emptied. */
export function readTruncate(message: Buffer): number[] {
  const count = message.readUInt32BE(1);
  return Array.from({ length: count }, (_, i) => message.readUInt32BE(6 + 4 * i));
}

/** `message` begins with M. */
export function readLogicalMessage(message: Buffer): LogicalMessage {
  const end = endOfText(message, 10);
  const length = message.readUInt32BE(end + 1);
  return {
    transactional: (message[1]! & 1) === 1,
    prefix: message.toString("utf8", 10, end),
    content: message.subarray(end + 5, end + 5 + length),
  };
}

/** What a column of a tuple holds instead of a value. */
export const columnStates = { null: -1, unchanged: -2, absent: -3 } as const;

/** The places of one tuple's values; used again for the next one. */
export class Tuple {
  /** Where each column's text begins in the message, or one of columnStates. */
  starts = new Int32Array(32);
  ends = new Int32Array(32);
  count = 0;

  /** Reads the tuple that begins at `at` in `message` and returns where it ends. */
  read(message: Buffer, at: number): number {
    const count = message.readUInt16BE(at);
    at += 2;
    if (count > this.starts.length) {
      this.starts = new Int32Array(2 * count);
      this.ends = new Int32Array(2 * count);
    }
    this.count = count;
    for (let i = 0; i < count; i++) {
      const kind = message[at++];
      if (kind === 0x6e /* n */) this.starts[i] = columnStates.null;
      else if (kind === 0x75 /* u */) this.starts[i] = columnStates.unchanged;
      else if (kind === 0x74 /* t */ || kind === 0x62 /* b */) {
        const end = at + 4 + message.readUInt32BE(at);
        if (end > message.length) throw new RangeError("A pgoutput message ends in the middle of a value.");
        this.starts[i] = at + 4;
        this.ends[i] = end;
        at = end;
      } else throw new RangeError(`A column of a pgoutput tuple is of the unknown kind ${kind}.`);
    }
    return at;
  }

  /** Where column `i` begins, or its state; absent when the tuple has fewer columns. */
  state(i: number): number {
    return i < this.count ? this.starts[i]! : columnStates.absent;
  }

  text(message: Buffer, i: number): string {
    return message.toString("utf8", this.starts[i], this.ends[i]);
  }
}
