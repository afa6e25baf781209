// Entries as bytes, for the store that several processes share. Little-endian; anything that does not read as exactly one entry is refused,
// so that a damaged or foreign value is a miss and never half an answer.
//
//   u8 format   u8 flags   u16 status   u32 age   u16 headers   { text32 name   u16 values   { text32 value } }
//   text32 etag   text32 vary   bytes32 failure (JSON)   bytes32 body   u8 variants   { u8 name   bytes32 }

import type { Codec } from "../../cache/index.ts";
import type { Failure } from "../problem-table.ts";
import { type FilledAnswer, ResponseEntry, type StoredHeader } from "./entry.ts";
import { type EncodedName, encodedNames } from "./variants.ts";

const format = 2;
const compressible = 1;
const forAuthorized = 2;
const hasEtag = 4;
const hasFailure = 8;
const knownFlags = 15;

class Writer {
  readonly #parts: Uint8Array[] = [];

  number(value: number, size: 1 | 2 | 4): void {
    const bytes = Buffer.allocUnsafe(size);
    bytes.writeUIntLE(value, 0, size);
    this.#parts.push(bytes);
  }

  bytes(value: Uint8Array): void {
    this.number(value.length, 4);
    this.#parts.push(value);
  }

  /** Header values are bytes in Node: what is read as latin1 is written as latin1. */
  text(value: string): void {
    this.bytes(Buffer.from(value, "latin1"));
  }

  finish(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  number(size: 1 | 2 | 4): number {
    const value = this.#bytes.readUIntLE(this.#at, size); // throws beyond the end
    this.#at += size;
    return value;
  }

  bytes(): Buffer {
    const length = this.number(4);
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new RangeError("An entry ends in the middle.");
    const value = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return value;
  }

  text(): string {
    return this.bytes().toString("latin1");
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw new RangeError("An entry goes on after its end.");
  }
}

function encode(answer: FilledAnswer): Uint8Array {
  if (!(answer instanceof ResponseEntry)) throw new TypeError("Only entries are kept.");
  const { status, age, headers, etag, vary, failure, body, variants } = answer;
  const writer = new Writer();
  writer.number(format, 1);
  writer.number(
    (answer.compressible ? compressible : 0) |
      (answer.forAuthorized ? forAuthorized : 0) |
      (etag === undefined ? 0 : hasEtag) |
      (failure ? hasFailure : 0),
    1,
  );
  writer.number(status, 2);
  writer.number(age, 4);
  writer.number(headers.length, 2);
  for (const { name, values } of headers) {
    writer.text(name);
    writer.number(values.length, 2);
    for (const value of values) writer.text(value);
  }
  writer.text(etag ?? "");
  writer.text(vary);
  writer.bytes(failure ? Buffer.from(JSON.stringify(failure)) : Buffer.alloc(0));
  writer.bytes(body);
  const { encoded } = variants;
  writer.number(encoded.length, 1);
  for (const { name, body: bytes } of encoded) {
    writer.number(encodedNames.indexOf(name as EncodedName), 1); // the identity is not among them
    writer.bytes(bytes);
  }
  return writer.finish();
}

function readFailure(text: string): Failure {
  const { status, code, detail, errors, headers } = JSON.parse(text) as Partial<Failure>;
  if (typeof status !== "number" || typeof code !== "string" || typeof detail !== "string")
    throw new TypeError("An entry's problem is none.");
  return { status, code, detail, errors, headers };
}

function decode(bytes: Uint8Array): ResponseEntry {
  const reader = new Reader(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  if (reader.number(1) !== format) throw new RangeError("An entry has a format that is not known here.");
  const flags = reader.number(1);
  if (flags > knownFlags) throw new RangeError("An entry has flags that are not known here.");
  const status = reader.number(2);
  const age = reader.number(4);
  const headers: StoredHeader[] = [];
  for (let left = reader.number(2); left > 0; left--) {
    const name = reader.text();
    const values: string[] = [];
    for (let more = reader.number(2); more > 0; more--) values.push(reader.text());
    headers.push({ name, values });
  }
  const etag = reader.text();
  const vary = reader.text();
  const failure = reader.bytes();
  const body = reader.bytes();
  const encoded: [EncodedName, Buffer][] = [];
  for (let left = reader.number(1); left > 0; left--) {
    const name = encodedNames[reader.number(1)];
    if (name === undefined) throw new RangeError("An entry has a coding that is not known here.");
    encoded.push([name, reader.bytes()]);
  }
  reader.end();
  return new ResponseEntry(
    {
      status,
      headers,
      body,
      etag: flags & hasEtag ? etag : undefined,
      vary,
      compressible: (flags & compressible) !== 0,
      forAuthorized: (flags & forAuthorized) !== 0,
      age,
      failure: flags & hasFailure ? readFailure(failure.toString("utf8")) : undefined,
    },
    encoded,
  );
}

/** How entries travel to and from the shared store. */
export const entryCodec: Codec<FilledAnswer> = Object.freeze({
  id: 72, // "H"
  encode,
  decode,
  sizeOf: (answer: FilledAnswer) => (answer instanceof ResponseEntry ? answer.bytes : 0),
});
