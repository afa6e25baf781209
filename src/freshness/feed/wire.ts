// How a batch travels on the bus: binary, in base64 (NOTIFY carries text without zero bytes), in parts below NOTIFY's limit of 8,000
// bytes. Parts are sent in one transaction, so they arrive together and in order; a batch counts once its last part has come.
//
// A part: version, flags, generation, batch, part, prev, upTo; then commits until there are no more, then followed ones. Numbers are
// varints (7 bits a byte, low bits first), commits' numbers counted from `prev`, hashes 8 bytes each.

import type { FeedCommit } from "../feed.ts";
import type { Batch, Followed } from "./source.ts";

/** Another version is not understood: the receiver treats it as a gap that does not end, and says so. */
export const wireVersion = 1;

/** Bytes of a part before base64, which makes 4 of 3: below the 8,000 bytes that NOTIFY takes, with room for its zero byte. */
export const maxPartBytes = 5_900;

/** Flags of a part. */
const last = 1;

/** What follows in a part. */
const ends = 0;
const commitFollows = 1;
const followedFollows = 2;

/** Flags of a commit. */
const hasXid = 1;
const isEverything = 2;
/** More hashes of the commit before, for which one part was too small. */
const continues = 4;

/** A batch as it arrives. */
export interface WireBatch extends Batch {
  readonly generation: number;
}

class Writer {
  readonly #buffer = Buffer.allocUnsafe(maxPartBytes);
  #at = 0;

  get free(): number {
    return maxPartBytes - this.#at;
  }

  byte(value: number): void {
    this.#buffer[this.#at++] = value;
  }

  /** At most 8 bytes. `value` is whole, at least 0 and below 2^53. */
  varint(value: number): void {
    while (value >= 0x80) {
      this.#buffer[this.#at++] = (value % 0x80) | 0x80;
      value = Math.floor(value / 0x80);
    }
    this.#buffer[this.#at++] = value;
  }

  /** 8 bytes. */
  int64(value: bigint): void {
    this.#at = this.#buffer.writeBigUInt64LE(BigInt.asUintN(64, value), this.#at);
  }

  uint32(value: number): void {
    this.#at = this.#buffer.writeUInt32LE(value, this.#at);
  }

  text(value: Buffer): void {
    this.varint(value.length);
    this.#at += value.copy(this.#buffer, this.#at);
  }

  take(): string {
    const text = this.#buffer.toString("base64", 0, this.#at);
    this.#at = 0;
    return text;
  }
}

/** Bytes that the end of a part needs. */
const tailBytes = 1;
/** The largest start of a commit: what it is, flags, number, xid, count. */
const commitStartBytes = 2 + 8 + 8 + 3;

/** The payloads that carry `batch`, at least one, in order. `sequence` tells batches apart. */
export function encodeBatch(batch: Batch, generation: number, sequence: number): string[] {
  const payloads: string[] = [];
  const writer = new Writer();
  let part = 0;
  const begin = (flags: number): void => {
    writer.byte(wireVersion);
    writer.byte(flags);
    writer.varint(generation);
    writer.varint(sequence);
    writer.varint(part++);
    writer.varint(batch.prev);
    writer.varint(batch.upTo);
  };
  const next = (): void => {
    writer.byte(ends);
    payloads.push(writer.take());
    begin(0);
  };
  begin(0);
  for (const { number, xid, dependencies, everything } of batch.commits) {
    let done = 0;
    do {
      if (writer.free < commitStartBytes + 8 + tailBytes) next();
      const room = Math.floor((writer.free - commitStartBytes - tailBytes) / 8) * 2;
      const count = Math.min(room, dependencies.length - done);
      writer.byte(commitFollows);
      writer.byte((xid === undefined ? 0 : hasXid) | (everything ? isEverything : 0) | (done > 0 ? continues : 0));
      writer.varint(number - batch.prev);
      if (xid !== undefined) writer.int64(xid);
      writer.varint(count / 2);
      for (let i = 0; i < count; i++) writer.uint32(dependencies[done + i]!);
      done += count;
    } while (done < dependencies.length);
  }
  for (const { table, column, number } of batch.followed) {
    const names = [Buffer.from(table), Buffer.from(column ?? "")] as const; // identifiers have 63 bytes at the most
    if (writer.free < 1 + 8 + names[0].length + names[1].length + 6 + tailBytes) next();
    writer.byte(followedFollows);
    writer.varint(number - batch.prev);
    writer.text(names[0]);
    writer.text(names[1]);
  }
  // The last part's flag cannot be known when the part begins, so the end says it.
  writer.byte(ends | (0x80 * last));
  payloads.push(writer.take());
  return payloads;
}

class Reader {
  readonly #buffer: Buffer;
  #at = 0;

  constructor(payload: string) {
    this.#buffer = Buffer.from(payload, "base64");
  }

  byte(): number {
    const value = this.#buffer[this.#at++];
    if (value === undefined) throw new RangeError("A message of the bus ends too early.");
    return value;
  }

  varint(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 0x80) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) break;
      if (scale > 2 ** 49) throw new RangeError("A number on the bus is too large.");
    }
    if (value > Number.MAX_SAFE_INTEGER) throw new RangeError("A number on the bus is too large.");
    return value;
  }

  int64(): bigint {
    this.#need(8);
    this.#at += 8;
    return this.#buffer.readBigUInt64LE(this.#at - 8);
  }

  hashes(count: number): Uint32Array {
    this.#need(8 * count);
    const from = this.#at;
    this.#at += 8 * count;
    const hashes = new Uint32Array(2 * count);
    for (let i = 0; i < hashes.length; i++) hashes[i] = this.#buffer.readUInt32LE(from + 4 * i);
    return hashes;
  }

  text(): string {
    const length = this.varint();
    this.#need(length);
    this.#at += length;
    return this.#buffer.toString("utf8", this.#at - length, this.#at);
  }

  #need(bytes: number): void {
    if (this.#at + bytes > this.#buffer.length) throw new RangeError("A message of the bus ends too early.");
  }
}

function concat(one: Uint32Array, other: Uint32Array): Uint32Array {
  const both = new Uint32Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}

interface Gathered {
  readonly generation: number;
  readonly sequence: number;
  readonly prev: number;
  readonly upTo: number;
  readonly commits: FeedCommit[];
  readonly followed: Followed[];
  parts: number;
}

/** Puts the parts of batches together. */
export class BatchReader {
  #gathered: Gathered | undefined;

  /**
   * Reads one payload; returns the batch when this was its last part.
   * @throws RangeError when it is not a payload of this version, or a part is missing: what came before is of no use then.
   */
  read(payload: string): WireBatch | undefined {
    const unfinished = this.#gathered;
    this.#gathered = undefined;
    const reader = new Reader(payload);
    const version = reader.byte();
    if (version !== wireVersion) throw new RangeError(`A message of the bus has version ${version}, not ${wireVersion}.`);
    reader.byte(); // flags, for later
    const generation = reader.varint();
    const sequence = reader.varint();
    const part = reader.varint();
    const prev = reader.varint();
    const upTo = reader.varint();
    const batch: Gathered =
      part === 0 ? { generation, sequence, prev, upTo, commits: [], followed: [], parts: 0 } : (unfinished ?? fail());
    if (batch.sequence !== sequence || batch.parts !== part || batch.prev !== prev || batch.upTo !== upTo) fail();
    batch.parts++;
    for (;;) {
      const what = reader.byte();
      if (what === commitFollows) readCommit(reader, batch);
      else if (what === followedFollows) {
        const number = prev + reader.varint();
        const table = reader.text();
        const column = reader.text();
        batch.followed.push({ table, column: column === "" ? undefined : column, number });
      } else if (what === (ends | (0x80 * last))) return batch;
      else if (what === ends) break;
      else throw new RangeError(`A message of the bus holds the unknown part ${what}.`);
    }
    this.#gathered = batch;
    return undefined;
  }
}

function fail(): never {
  throw new RangeError("A part of a message of the bus is missing.");
}

function readCommit(reader: Reader, batch: Gathered): void {
  const flags = reader.byte();
  const number = batch.prev + reader.varint();
  const xid = flags & hasXid ? reader.int64() : undefined;
  const dependencies = reader.hashes(reader.varint());
  if ((flags & continues) === 0) {
    batch.commits.push({ number, xid, dependencies, everything: (flags & isEverything) !== 0 });
    return;
  }
  const before = batch.commits.pop() ?? fail();
  if (before.number !== number) fail();
  batch.commits.push({ ...before, dependencies: concat(before.dependencies, dependencies) });
}
